#include "launcher/caps_cache.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sys/mman.h>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <cerrno>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/files.hpp"
#include "launcher/exit_watch.hpp"
#include "launcher/qemu_failure.hpp"
#include "launcher/spawn.hpp"
#include "qmp/client.hpp"
#include "qmp/error.hpp"
#include "qmp/probe.hpp"
#include "qmp/unix_socket.hpp"

namespace vmrig {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kMaxCacheBytes = std::size_t{16} << 20;
constexpr std::size_t kMaxWordsBytes = 8192;
constexpr std::chrono::seconds kQuitTimeout{2};

Error unusable(const std::string& path, std::string cause, std::string mend = {}) {
  return Error({.status = ExitStatus::kHost,
                .operation = "use QEMU",
                .object = path,
                .cause = std::move(cause),
                .mend = std::move(mend)});
}

enum class Fitness { kGood, kMissing, kBad };

Fitness fitness(const std::string& path, std::string& cause) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return Fitness::kMissing;
    cause = system_error({}, {}, errno).parts().cause;
    return Fitness::kBad;
  }
  if (S_ISDIR(status.st_mode)) {
    cause = "it is a folder";
    return Fitness::kBad;
  }
  if (!S_ISREG(status.st_mode)) {
    cause = "it is not a regular file";
    return Fitness::kBad;
  }
  if (::access(path.c_str(), X_OK) != 0) {
    cause = "it is not executable";
    return Fitness::kBad;
  }
  return Fitness::kGood;
}

std::string absolute(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), std::free);
  if (real) return real.get();
  throw unusable(path, system_error({}, {}, errno).parts().cause);
}

// What tells one binary from another without reading it.
std::string identity_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    throw unusable(path, system_error({}, {}, errno).parts().cause);
  }
  return fmt::format("{} {} {} {} {}.{:09} {}", path, status.st_dev, status.st_ino, status.st_size,
                     status.st_mtim.tv_sec, status.st_mtim.tv_nsec, qmp::kCapsFormat);
}

// FNV-1a: stable over builds and versions, which std::hash is not.
std::uint64_t stable_hash(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3U;
  }
  return hash;
}

std::optional<qmp::QemuCaps> read_cache(const std::string& file, const std::string& identity,
                                        const std::function<void(const std::string&)>& log) {
  try {
    const std::optional<std::string> text = read_file_if_exists(file, kMaxCacheBytes);
    if (!text) return std::nullopt;
    // The first line is the identity: another binary may have the same hash.
    const std::size_t line_end = text->find('\n');
    if (line_end == std::string::npos ||
        std::string_view(*text).substr(0, line_end) != quote(identity)) {
      if (log) log(file + ": of another binary or damaged, probed anew");
      return std::nullopt;
    }
    return qmp::QemuCaps::parse(std::string_view(*text).substr(line_end + 1));
  } catch (const std::exception& fault) {
    if (log) log(fmt::format("{}: {}, probed anew", file, fault.what()));
    return std::nullopt;
  }
}

void make_folders(const std::string& path) {
  for (std::size_t slash = path.find('/', 1); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    if (::mkdir(path.substr(0, slash).c_str(), 0700) != 0 && errno != EEXIST) {
      throw system_error("make the folder", path.substr(0, slash), errno);
    }
  }
  (void)ensure_private_folder(path);
}

// A file without a name that takes what the probed QEMU prints.
Fd words_file() {
  Fd fd(::memfd_create("qemu-words", MFD_CLOEXEC));
  if (!fd) throw system_error("make a memory file", "qemu-words", errno);
  return fd;
}

std::string read_words(int fd) {
  std::string words(kMaxWordsBytes, '\0');
  const ssize_t got = ::pread(fd, words.data(), words.size(), 0);
  words.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return words;
}

struct ProbeRun {
  std::optional<qmp::QemuCaps> caps;
  std::string fault;  // of the QMP conversation
  bool timed_out = false;
};

asio::awaitable<void> converse(qmp::Client& monitor, ExitWatch& exit, qmp::Deadline deadline,
                               ProbeRun& run) {
  try {
    (void)co_await monitor.handshake(deadline);
    run.caps = co_await qmp::probe(monitor, deadline);
  } catch (const qmp::Error& error) {
    run.fault = error.what();
    run.timed_out = error.kind() == qmp::ErrorKind::timeout;
  }
  if (run.caps) {
    try {
      qmp::Json none = qmp::Json::object();
      qmp::ExecuteOptions options;
      options.deadline = qmp::deadline_in(kQuitTimeout);
      (void)co_await monitor.execute("quit", std::move(none), std::move(options));
    } catch (const qmp::Error&) {
      // QEMU may reset the connection after quit.
    }
  }
  // A QEMU that closed its monitor is about to end: its own status says more than ours.
  const bool may_end_by_itself = run.caps.has_value() || !run.timed_out;
  if (may_end_by_itself) (void)co_await exit.wait(qmp::deadline_in(kQuitTimeout));
}

qmp::QemuCaps probe_qemu(const std::string& path, std::chrono::milliseconds timeout) {
  auto [ours, its] = qmp::socket_pair();
  const Fd words = words_file();
  constexpr int kMonitorFd = 10;
  SpawnRequest request;
  request.argv = {path,
                  "-M",
                  "none",
                  "-nodefaults",
                  "-no-user-config",
                  "-display",
                  "none",
                  "-S",
                  "-chardev",
                  fmt::format("socket,id=vmrig,fd={}", kMonitorFd),
                  "-mon",
                  "chardev=vmrig,mode=control"};
  request.fds = {{.number = kMonitorFd, .source = its.get()}};
  request.output = words.get();
  request.error_output = words.get();
  request.parent_death = SpawnRequest::ParentDeath::kKill;
  const Child child = spawn(request);
  its.reset();

  ProbeRun run;
  std::exception_ptr unexpected;
  {
    asio::io_context context(1);
    ExitWatch exit(context.get_executor(), child.pidfd.get());
    qmp::Client monitor(context.get_executor(), ours.release());
    asio::co_spawn(context, converse(monitor, exit, qmp::deadline_in(timeout), run),
                   [&](std::exception_ptr fault) {
                     unexpected = std::move(fault);
                     context.stop();
                   });
    context.run();
  }

  std::optional<ExitReport> report = reap(child.pidfd.get());
  const bool ended_by_itself = report.has_value();
  if (!report) {
    send_signal(child.pidfd.get(), SIGKILL);
    (void)wait_for_exit(child.pidfd.get(), qmp::kNoDeadline);
    report = reap(child.pidfd.get());
  }
  if (unexpected) std::rethrow_exception(unexpected);
  if (run.caps) return std::move(*run.caps);

  std::string how = run.timed_out ? fmt::format("it did not answer within {} ms", timeout.count())
                    : ended_by_itself ? to_string(*report)
                                      : run.fault;
  Error failure = qemu_failure(path, how, read_words(words.get()));
  Error::Parts parts = failure.parts();
  parts.operation = "probe QEMU";
  if (parts.status == ExitStatus::kQemu && parts.mend.empty()) {
    parts.mend = "check that it is a QEMU: " + path + " --version";
  }
  throw Error(std::move(parts));
}

}  // namespace

std::string find_qemu(const std::string& qemu, const std::string& search_path) {
  const std::string wanted = qemu.empty() ? kDefaultQemu : qemu;
  constexpr const char* kInstall = "apt install qemu-system-x86, or set \"qemu\" in the config";
  std::string cause;
  if (wanted.find('/') != std::string::npos) {
    switch (fitness(wanted, cause)) {
      case Fitness::kGood:
        return absolute(wanted);
      case Fitness::kMissing:
        throw unusable(wanted, "there is no such file", kInstall);
      case Fitness::kBad:
        break;
    }
    throw unusable(wanted, cause, cause == "it is not executable" ? "chmod +x " + wanted : "");
  }
  std::string_view rest = search_path;
  std::string bad_path;
  std::string bad_cause;
  while (!rest.empty()) {
    const std::size_t colon = rest.find(':');
    const std::string folder(rest.substr(0, colon));
    rest.remove_prefix(colon == std::string_view::npos ? rest.size() : colon + 1);
    if (folder.empty() || folder.front() != '/') continue;  // never from the working folder
    const std::string candidate = folder + "/" + wanted;
    const Fitness found = fitness(candidate, cause);
    if (found == Fitness::kGood) return absolute(candidate);
    if (found == Fitness::kBad && bad_path.empty()) {
      bad_path = candidate;
      bad_cause = cause;
    }
  }
  if (!bad_path.empty()) throw unusable(bad_path, bad_cause, kInstall);
  throw unusable(wanted, "it is not in PATH", kInstall);
}

std::string default_cache_folder(uid_t uid, const std::string& xdg_cache_home,
                                 const std::string& home) {
  if (uid == 0) return "/var/cache/vmrig";
  if (xdg_cache_home.starts_with('/')) return xdg_cache_home + "/vmrig";
  if (home.starts_with('/')) return home + "/.cache/vmrig";
  return {};
}

qmp::QemuCaps load_caps(const std::string& qemu_path, const CapsOptions& options) {
  std::string cause;
  if (fitness(qemu_path, cause) != Fitness::kGood) {
    throw unusable(qemu_path, cause.empty() ? "there is no such file" : cause);
  }
  const std::string identity = identity_of(qemu_path);
  std::string file;
  if (!options.cache_folder.empty()) {
    file = fmt::format("{}/caps-{:016x}.json", options.cache_folder, stable_hash(identity));
    if (options.use == CapsOptions::Use::kCache) {
      std::optional<qmp::QemuCaps> cached = read_cache(file, identity, options.log);
      if (cached) return std::move(*cached);
    }
  }
  qmp::QemuCaps caps = probe_qemu(qemu_path, options.probe_timeout);
  if (!file.empty()) {
    try {
      make_folders(options.cache_folder);
      write_file_atomically(file, quote(identity) + "\n" + caps.to_json().dump() + "\n");
    } catch (const std::exception& fault) {
      if (options.log) options.log(fmt::format("capabilities not cached: {}", fault.what()));
    }
  }
  return caps;
}

}  // namespace vmrig
