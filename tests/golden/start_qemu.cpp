#include "tests/golden/start_qemu.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "hostcfg/base/fd.hpp"
#include "launcher/guest_nodes.hpp"
#include "launcher/image_fds.hpp"
#include "launcher/spawn.hpp"
#include "qmp/sync_client.hpp"
#include "qmp/unix_socket.hpp"
#include "tests/support/linux_kernel.hpp"
#include "tests/support/run_command.hpp"
#include "tests/support/temp_folder.hpp"

namespace vmrig::testing {
namespace {

constexpr std::string_view kImages = "/images/";

bool kvm_opens() { return static_cast<bool>(Fd(open("/dev/kvm", O_RDWR | O_CLOEXEC))); }

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos;
       at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

void make_image(const std::string& path, DiskFormat format) {
  if (format == DiskFormat::kRaw) {
    write_text(path, "");
    const Fd file(open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (ftruncate(file.get(), 1 << 20) != 0) return;
    return;
  }
  CommandRequest create;
  create.argv = {"qemu-img", "create", "-q", "-f", std::string(name_of(format)), path, "1M"};
  run_command(create);
}

class Fitting {
 public:
  // `memory_parts`: how many backends the guest's memory has.
  Fitting(const TempFolder& folder, std::size_t memory_parts)
      : folder_(folder), memory_parts_(memory_parts), kvm_(kvm_opens()) {
    mkdir((folder_ / "images").c_str(), 0700);
    mkdir((folder_ / "huge").c_str(), 0700);
  }

  void make_images(const VmConfig& config) {
    for (const auto& [disk, origin] : storages_of(config)) {
      make_image(here(disk.path), effective_format(disk));
    }
    if (config.boot.kernel) write_text(here(*config.boot.kernel), linux_kernel_header());
    if (config.boot.initrd) write_text(here(*config.boot.initrd), std::string(8192, '\0'));
  }

  std::vector<std::string> fit(const std::vector<std::string>& argument) const {
    std::vector<std::string> words = argument;
    if (words.front() == "-overcommit") return {};
    if (words.front() == "-m") {
      const std::size_t comma = words[1].find(',');
      words[1] = fmt::format("size={}M", 64 * memory_parts_) +
                 (comma == std::string::npos ? "" : words[1].substr(comma));
    }
    if (words.front() == "-object" && words[1].find("memory-backend") != std::string::npos) {
      words[1] = fit_memory(words[1]);
    }
    if (!kvm_ && words.front() == "-accel") words[1] = "tcg";
    if (!kvm_ && words.front() == "-add-fd" && words[1].ends_with("/dev/kvm")) return {};
    if (!kvm_ && words.front() == "-cpu") words[1] = "max";
    // The recorded hosts are Intel's; what a plan for AMD's has, see plan.cpp.
    if (kvm_ && words.front() == "-cpu" && words[1].starts_with("host") &&
        __builtin_cpu_is("amd") != 0) {
      words[1] += ",arch-capabilities=off";
    }
    if (!kvm_ && words.front() == "-global" && words[1].rfind("kvm-pit", 0) == 0) return {};
    for (std::string& word : words) replace_all(word, kImages, folder_ / "images/");
    return words;
  }

  Fd open(FdSource source) const {
    source.name = here(source.name);
    switch (source.kind) {
      case FdSource::Kind::kImage:
        return open_image(source);
      case FdSource::Kind::kLogFile:
        return open_log_file(source.name);
      case FdSource::Kind::kCopy:
        return copy_to_memory(source.name);
      case FdSource::Kind::kKvm:
        return Fd(::open(kvm_ ? source.name.c_str() : "/dev/null", O_RDWR | O_CLOEXEC));
      default:
        return Fd(qmp::listen_unix(folder_ / source.name).release());
    }
  }

 private:
  std::string here(std::string path) const {
    replace_all(path, kImages, folder_ / "images/");
    return path;
  }

  // The flat form, as QEMU 5.2 takes it.
  std::string fit_flat_memory(const std::string& text) const {
    static constexpr std::array<std::string_view, 5> kLeftOut = {
        "hugetlb=", "hugetlbsize=", "host-nodes=", "policy=", "prealloc="};
    std::string fitted;
    std::istringstream in(text);
    for (std::string part; std::getline(in, part, ',');) {
      const bool is_left_out =
          std::any_of(kLeftOut.begin(), kLeftOut.end(),
                      [&part](std::string_view key) { return part.starts_with(key); });
      if (is_left_out) continue;
      if (part.starts_with("size=")) part = "size=64M";
      if (part.starts_with("mem-path=")) part = "mem-path=" + (folder_ / "huge");
      fitted += (fitted.empty() ? "" : ",") + part;
    }
    return fitted;
  }

  std::string fit_memory(const std::string& text) const {
    if (!text.starts_with('{')) return fit_flat_memory(text);
    Json object = Json::parse(text);
    object["size"] = std::uint64_t{64} << 20;
    if (object.contains("mem-path")) object["mem-path"] = folder_ / "huge";
    for (const char* key : {"hugetlb", "hugetlbsize", "host-nodes", "policy", "prealloc"}) {
      object.erase(key);
    }
    return object.dump();
  }

  const TempFolder& folder_;
  std::size_t memory_parts_;
  bool kvm_;
};

}  // namespace

std::string start_and_quit(const Plan& plan, const std::string& qemu) {
  const TempFolder folder;
  Fitting fitting(folder, memory_parts(plan.config.memory, plan.placement).size());
  fitting.make_images(plan.config);

  SpawnRequest request;
  request.argv = {qemu};
  for (const QemuArgument& argument : plan.arguments) {
    for (std::string& word : fitting.fit(argument.words)) request.argv.push_back(std::move(word));
  }
  std::vector<Fd> passed;
  for (const ChildFd& fd : plan.fds) {
    passed.push_back(fitting.open(fd.source));
    request.fds.push_back({fd.number, passed.back().get()});
  }
  const std::string log = folder / "qemu.log";
  const Fd output(open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  request.output = output.get();
  request.error_output = output.get();
  request.parent_death = SpawnRequest::ParentDeath::kKill;
  const Child child = spawn(request);
  // From here on the sockets are QEMU's alone: its end ends the connection.
  passed.clear();

  std::string fault;
  const qmp::Deadline deadline = qmp::deadline_in(std::chrono::seconds(30));
  try {
    qmp::SyncClient client = qmp::SyncClient::connect(folder / kMonitorSocketName, deadline);
    client.handshake(deadline);
    const auto vcpus =
        client.execute("query-cpus-fast", Json::object(), {.deadline = deadline, .fds = {}});
    if (vcpus.size() != static_cast<std::size_t>(plan.config.cpu.vcpus)) {
      fault = fmt::format("{} vCPUs instead of {}", vcpus.size(), plan.config.cpu.vcpus);
    }
    client.execute("quit", Json::object(), {.deadline = deadline, .fds = {}});
  } catch (const qmp::Error& error) {
    // QEMU may drop the connection after `quit` before the reply is read.
    if (error.kind() != qmp::ErrorKind::closed || !read_text(log).empty()) fault = error.what();
  }
  if (!wait_for_exit(child.pidfd.get(), deadline)) {
    send_signal(child.pidfd.get(), SIGKILL);
    wait_for_exit(child.pidfd.get(), qmp::kNoDeadline);
    fault += "; it did not quit";
  }
  const auto report = reap(child.pidfd.get());
  if (report && !report->clean()) fault += "; " + to_string(*report);
  if (!fault.empty()) fault += "; QEMU said: " + read_text(log);
  return fault;
}

}  // namespace vmrig::testing
