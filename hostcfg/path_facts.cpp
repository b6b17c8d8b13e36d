#include "hostcfg/path_facts.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <set>
#include <system_error>

#include "hostcfg/base/fd.hpp"
#include "hostcfg/folder_reader.hpp"
#include "hostcfg/image_links.hpp"
#include "hostcfg/image_locks.hpp"

namespace vmrig {
namespace {

using namespace std::string_view_literals;

struct Magic {
  std::size_t offset;
  std::string_view bytes;
  std::string_view format;
};

constexpr std::array<Magic, 13> kMagics = {{
    {0, "QFI\xfb\0\0\0\1"sv, "qcow"},
    {0, "QFI\xfb"sv, "qcow2"},
    {0, "KDMV"sv, "vmdk"},
    {0, "COWD"sv, "vmdk"},
    {0, "# Disk DescriptorFile"sv, "vmdk"},
    {0, "vhdxfile"sv, "vhdx"},
    {0x40, "\x7f\x10\xda\xbe"sv, "vdi"},
    {0, "conectix"sv, "vpc"},
    {0, "QED\0"sv, "qed"},
    {0, "LUKS\xba\xbe"sv, "luks"},
    {0, "WithoutFreeSpace"sv, "parallels"},
    {0, "WithouFreSpacExt"sv, "parallels"},
    {0, "Bochs Virtual HD Image"sv, "bochs"},
}};

PathFacts::Type type_of(mode_t mode) {
  if (S_ISREG(mode)) return PathFacts::Type::kFile;
  if (S_ISDIR(mode)) return PathFacts::Type::kDirectory;
  if (S_ISBLK(mode)) return PathFacts::Type::kBlockDevice;
  if (S_ISCHR(mode)) return PathFacts::Type::kCharDevice;
  return PathFacts::Type::kOther;
}

FileRights rights_of(const struct stat& status) {
  constexpr unsigned kModeBits = 07777;
  return {.uid = status.st_uid, .gid = status.st_gid, .mode = status.st_mode & kModeBits};
}

constexpr std::size_t kMostImages = 200;  // below one another; QEMU's own limit is its stack

bool has_content(PathFacts::Type type) {
  return type == PathFacts::Type::kFile || type == PathFacts::Type::kBlockDevice;
}

std::string text_of(int error_number) { return std::generic_category().message(error_number); }

// Source: open(2), O_DIRECT; a file system without it says EINVAL.
bool opens_direct(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  return file || errno != EINVAL;
}

void read_content(const std::string& path, PathFacts& facts) {
  // O_NONBLOCK: the path may have become a FIFO since it was looked at.
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) < 0) {
    facts.readable = false;
    facts.error = text_of(errno);
    return;
  }
  facts.type = type_of(status.st_mode);
  if (!has_content(facts.type)) return;
  // A block device has no size in its inode; its end is where a seek to the end lands.
  const off_t end = ::lseek(file.get(), 0, SEEK_END);
  facts.size = Bytes{end < 0 ? 0 : static_cast<std::uint64_t>(end)};
  std::array<char, 512> first;
  const ssize_t got = ::pread(file.get(), first.data(), first.size(), 0);
  if (got < 0) {
    facts.readable = false;
    facts.error = text_of(errno);
    return;
  }
  facts.magic_format = image_format_of({first.data(), static_cast<std::size_t>(got)});
  facts.direct = opens_direct(path);
  facts.locks = read_image_locks(file.get());
  if (facts.magic_format == "qcow2") facts.links = read_image_links(file.get());
}

// Of each folder on the way, that its name leads to; `path` is absolute.
void add_closed_folders(const std::string& path, std::vector<ClosedFolder>& closed) {
  for (std::size_t slash = 0; slash != std::string::npos; slash = path.find('/', slash + 1)) {
    const std::string folder = path.substr(0, std::max<std::size_t>(slash, 1));
    struct stat status {};
    if (::stat(folder.c_str(), &status) != 0 || (status.st_mode & S_IXOTH) != 0) continue;
    const auto is_same = [&folder](const ClosedFolder& one) { return one.path == folder; };
    if (std::any_of(closed.begin(), closed.end(), is_same)) continue;
    closed.push_back({.path = folder, .rights = rights_of(status)});
  }
}

// By its own name, and by where symlinks lead.
std::vector<ClosedFolder> closed_folders(const std::string& path) {
  std::vector<ClosedFolder> closed;
  if (!path.starts_with('/')) return closed;
  add_closed_folders(path, closed);
  const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), std::free);
  if (real && path != real.get()) add_closed_folders(real.get(), closed);
  return closed;
}

// A partition's folder stands in its disk's. Source: linux Documentation/ABI/stable/sysfs-block.
std::string disk_of(dev_t device) {
  const std::string number = fmt::format("{}:{}", major(device), minor(device));
  const auto folder = FolderReader::open("/sys/dev/block/" + number);
  if (!folder) return {};
  if (!folder->exists("partition")) return number;
  return folder->attribute("../dev").value_or(std::string());
}

}  // namespace

PathFacts read_path_facts(const std::string& path) {
  PathFacts facts;
  struct stat status {};
  if (path.find('\0') != std::string::npos) {
    facts.error = text_of(EINVAL);
    return facts;
  }
  facts.closed = closed_folders(path);
  if (::stat(path.c_str(), &status) < 0) {
    facts.error = text_of(errno);
    return facts;
  }
  facts.type = type_of(status.st_mode);
  facts.rights = rights_of(status);
  const auto may = [&path](int access) {
    return ::faccessat(AT_FDCWD, path.c_str(), access, AT_EACCESS) == 0;
  };
  facts.readable = may(R_OK);
  if (!facts.readable) facts.error = text_of(errno);
  facts.writable = may(W_OK);
  if (facts.type == PathFacts::Type::kFile) {
    facts.size = Bytes{static_cast<std::uint64_t>(status.st_size)};
  }
  if (has_content(facts.type)) {
    facts.disk = disk_of(S_ISBLK(status.st_mode) ? status.st_rdev : status.st_dev);
  }
  if (facts.readable && has_content(facts.type)) read_content(path, facts);
  return facts;
}

std::map<std::string, PathFacts> read_paths(const std::vector<std::string>& paths,
                                            const std::string& root) {
  struct Open {
    std::string path;
    bool is_image;  // else a guest may have written what looks like an image's links
  };
  std::map<std::string, PathFacts> facts;
  std::set<std::string> followed;
  std::vector<Open> open;
  for (const std::string& path : paths) open.push_back({path, true});
  while (!open.empty()) {
    const Open next = std::move(open.back());
    open.pop_back();
    auto found = facts.find(next.path);
    if (found == facts.end()) {
      if (facts.size() > paths.size() + kMostImages) continue;
      found = facts.emplace(next.path, read_path_facts(root + next.path)).first;
    }
    const std::optional<ImageLinks>& links = found->second.links;
    if (!links || !next.is_image || !followed.insert(next.path).second) continue;
    if (auto below = linked_path(next.path, links->backing_file)) {
      open.push_back({std::move(*below), has_linked_qcow2(*links)});
    }
    if (auto data = linked_path(next.path, links->data_file)) {
      open.push_back({std::move(*data), false});
    }
  }
  return facts;
}

std::string_view image_format_of(std::string_view first_bytes) {
  for (const Magic& magic : kMagics) {
    if (first_bytes.size() < magic.offset + magic.bytes.size()) continue;
    if (first_bytes.substr(magic.offset, magic.bytes.size()) == magic.bytes) return magic.format;
  }
  return {};
}

}  // namespace vmrig
