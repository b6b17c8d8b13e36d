#include "launcher/child_fds.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/retry.hpp"
#include "hostcfg/files.hpp"
#include "hostcfg/net_fds.hpp"
#include "launcher/helper_process.hpp"
#include "launcher/image_fds.hpp"

namespace vmrig {
namespace {

constexpr int kSocketBacklog = 4;  // room for a new supervisor while QEMU serves the old one

Fd open_device(const std::string& path) {
  Fd fd(retrying([&path] { return ::open(path.c_str(), O_RDWR | O_CLOEXEC); }));
  if (fd) return fd;
  Error::Parts parts = system_error("open", path, errno).parts();
  parts.status = ExitStatus::kHost;
  throw Error(std::move(parts));
}

// The kernel numbers the nodes as devices come to their driver.
// Source: linux Documentation/driver-api/vfio.rst, "IOMMUFD and VFIO" (6.6).
Fd open_vfio_device(const std::string& address) {
  const std::string folder = "/sys/bus/pci/devices/" + address + "/vfio-dev";
  const std::vector<std::string> names = list_folder(folder);
  if (names.empty()) {
    throw Error({.status = ExitStatus::kHost,
                 .operation = "find the VFIO node of",
                 .object = address,
                 .cause = folder + " is empty",
                 .mend = {}});
  }
  return open_device("/dev/vfio/devices/" + names.front());
}

Fd open_passt(const VmFolder& folder, const std::string& id, const std::vector<Helper>& helpers) {
  const auto helper = std::find_if(helpers.begin(), helpers.end(),
                                   [&id](const Helper& each) { return each.id == id; });
  if (helper == helpers.end()) {
    throw Error(
        {.operation = "start passt for", .object = id, .cause = "it is not planned", .mend = {}});
  }
  return start_passt(*helper, folder);
}

bool is_queue(FdSource::Kind kind) {
  return kind == FdSource::Kind::kTapQueue || kind == FdSource::Kind::kMacvtapQueue ||
         kind == FdSource::Kind::kVhostNet;
}

// How many from `first` on are queues of the same device: they are opened together.
std::size_t count_queues(const std::vector<FdSource>& sources, std::size_t first) {
  std::size_t end = first + 1;
  while (end < sources.size() && sources[end].kind == sources[first].kind &&
         sources[end].name == sources[first].name) {
    ++end;
  }
  return end - first;
}

std::vector<Fd> open_queues(const VmFolder& folder, const FdSource& source, int count) {
  if (source.kind == FdSource::Kind::kTapQueue) return open_tap_queues(source.name, count);
  if (source.kind == FdSource::Kind::kMacvtapQueue) {
    return open_macvtap_queues(source.name, count, folder.path());
  }
  return open_vhost_net(count);
}

Fd copy_of_memory(const std::string& name, const std::vector<MemoryFile>& memory) {
  const auto file = std::find_if(memory.begin(), memory.end(),
                                 [&name](const MemoryFile& each) { return each.name() == name; });
  if (file == memory.end()) {
    throw Error({.operation = "hand over memory",
                 .object = name,
                 .cause = "it is not populated",
                 .mend = {}});
  }
  Fd fd(::fcntl(file->fd(), F_DUPFD_CLOEXEC, 0));
  if (!fd) throw system_error("hand over memory", name, errno);
  return fd;
}

Fd open_one(const VmFolder& folder, const FdSource& source, const std::vector<Helper>& helpers,
            const std::vector<MemoryFile>& memory) {
  switch (source.kind) {
    case FdSource::Kind::kListeningSocket:
      return folder.listen(source.name, kSocketBacklog);
    case FdSource::Kind::kIommufd:
      return open_device("/dev/iommu");
    case FdSource::Kind::kVfioDevice:
      return open_vfio_device(source.name);
    case FdSource::Kind::kPasst:
      return open_passt(folder, source.name, helpers);
    case FdSource::Kind::kMemory:
      return copy_of_memory(source.name, memory);
    case FdSource::Kind::kImage:
      return open_image(source);
    case FdSource::Kind::kLogFile:
      return open_log_file(source.name);
    case FdSource::Kind::kKvm:
      return open_device(source.name);
    case FdSource::Kind::kCopy:
      return copy_to_memory(source.name);
    case FdSource::Kind::kTapQueue:
    case FdSource::Kind::kMacvtapQueue:
    case FdSource::Kind::kVhostNet:
      break;
  }
  std::vector<Fd> fds = open_queues(folder, source, 1);
  return std::move(fds.front());
}

}  // namespace

std::vector<Fd> open_child_fds(const VmFolder& folder, const std::vector<FdSource>& sources,
                               const std::vector<Helper>& helpers,
                               const std::vector<MemoryFile>& memory) {
  std::vector<Fd> fds;
  while (fds.size() < sources.size()) {
    const FdSource& source = sources[fds.size()];
    if (!is_queue(source.kind)) {
      fds.push_back(open_one(folder, source, helpers, memory));
      continue;
    }
    const std::size_t count = count_queues(sources, fds.size());
    for (Fd& fd : open_queues(folder, source, static_cast<int>(count))) {
      fds.push_back(std::move(fd));
    }
  }
  return fds;
}

}  // namespace vmrig
