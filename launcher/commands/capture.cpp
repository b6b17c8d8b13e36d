// vmrig capture: the packets of one NIC, as a pcap file.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "devices/nic.hpp"
#include "hostcfg/base/nearest.hpp"
#include "hostcfg/packet_capture.hpp"
#include "hostcfg/pcap_file.hpp"
#include "launcher/cli/output.hpp"
#include "launcher/cli/report.hpp"
#include "launcher/cli/signal_input.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/seconds.hpp"
#include "launcher/commands/vm_connection.hpp"
#include "launcher/config/load_config.hpp"
#include "launcher/config/vm_config.hpp"
#include "launcher/process.hpp"

namespace vmrig {
namespace {

constexpr std::size_t kFlushBytes = std::size_t{256} << 10;

struct CaptureOptions {
  std::string name;
  std::string nic;
  std::optional<std::string> file;
  std::optional<double> seconds;
  std::optional<std::string> count;
  std::optional<std::string> snaplen;
  bool force = false;
  bool json = false;  // faults
};

std::optional<std::uint64_t> number_of(const std::optional<std::string>& text,
                                       std::string_view option, std::uint64_t most) {
  if (!text) return std::nullopt;
  std::uint64_t number = 0;
  const char* end = text->data() + text->size();
  const auto [stop, fault] = std::from_chars(text->data(), end, number);
  if (fault == std::errc{} && stop == end && number >= 1 && number <= most) return number;
  throw Error({.status = ExitStatus::kUsage,
               .operation = fmt::format("read {}", option),
               .object = *text,
               .cause = fmt::format("it takes a whole number from 1 to {}", most),
               .mend = "vmrig capture --help"});
}

// The file, or standard output; what is written is gathered until flush().
class PcapOutput {
 public:
  PcapOutput(const CaptureOptions& options, std::uint32_t snaplen)
      : path_(*options.file), snaplen_(snaplen), waiting_(pcap_header(snaplen)) {
    if (path_ == "-") {
      if (!stdout_is_terminal()) return;
      throw Error({.status = ExitStatus::kUsage,
                   .operation = "write packets to",
                   .object = "standard output",
                   .cause = "it is a terminal",
                   .mend = fmt::format("vmrig capture {} {} -w - | tcpdump -r -", options.name,
                                       options.nic)});
    }
    const int how = options.force ? O_TRUNC : O_EXCL;
    file_.reset(
        ::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | how, 0600));
    if (!file_) {
      const bool exists = errno == EEXIST;
      throw Error({.status = exists ? ExitStatus::kUsage : ExitStatus::kFailed,
                   .operation = "make the capture file",
                   .object = path_,
                   .cause = system_error({}, {}, errno).parts().cause,
                   .mend = exists ? "--force overwrites it" : ""});
    }
  }

  void add(const CapturedPacket& packet) {
    append_pcap_record(waiting_, packet, snaplen_);
    if (waiting_.size() >= kFlushBytes) flush();
  }

  void flush() {
    if (!file_) {
      write_out(waiting_);
      waiting_.clear();
      return;
    }
    for (std::string_view rest = waiting_; !rest.empty();) {
      const ssize_t written = ::write(file_.get(), rest.data(), rest.size());
      if (written < 0 && errno != EINTR) throw system_error("write", path_, errno);
      if (written > 0) rest.remove_prefix(static_cast<std::size_t>(written));
    }
    waiting_.clear();
  }

  std::string name() const { return file_ ? quote(path_) : "standard output"; }

 private:
  std::string path_;
  std::uint32_t snaplen_;
  Fd file_;  // empty: standard output
  std::string waiting_;
};

// Where packets come from; next() until there is none waits for nothing.
class PacketSource {
 public:
  virtual ~PacketSource() = default;
  virtual int fd() const = 0;
  virtual std::optional<CapturedPacket> next() = 0;
  virtual bool has_ended() const = 0;
  // Ends the capture; how many packets it lost, where that is known.
  virtual std::optional<std::uint64_t> finish() = 0;
};

class DeviceSource : public PacketSource {
 public:
  DeviceSource(const std::string& device, std::uint32_t snaplen) : capture_(device, snaplen) {}
  int fd() const override { return capture_.fd(); }
  std::optional<CapturedPacket> next() override { return capture_.next(); }
  bool has_ended() const override { return capture_.is_gone(); }
  std::optional<std::uint64_t> finish() override { return capture_.dropped(); }

 private:
  PacketCapture capture_;
};

// QEMU's filter, by the supervisor, which ends it when the FIFO is closed.
class FilterSource : public PacketSource {
 public:
  FilterSource(const Context& context, const CaptureOptions& options, std::uint32_t snaplen)
      : context_(context), vm_(options.name) {
    const std::string name = fmt::format("capture-{}", ::getpid());
    const VmFolder folder = open_root_for(context, vm_).folder(vm_);
    const std::string path = folder.path_of(name);
    ::unlink(path.c_str());  // of one who had this pid and was killed
    if (::mkfifo(path.c_str(), 0600) < 0) throw system_error("make a FIFO", path, errno);
    try {
      fifo_.reset(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
      if (!fifo_) throw system_error("open", path, errno);
      // The supervisor's, whom root need not be.
      if (::fchown(fifo_.get(), folder.owner(), static_cast<gid_t>(-1)) < 0) {
        throw system_error("make a FIFO", path, errno);
      }
      constexpr int kPipeBytes = 1 << 20;
      ::fcntl(fifo_.get(), F_SETPIPE_SZ, kPipeBytes);  // a smaller one works, too
      Json arguments = {{"nic", options.nic}, {"fifo", name}, {"snaplen", snaplen}};
      const Json reply =
          ask_supervisor(context_, vm_, "vmrig-capture", std::move(arguments), std::nullopt,
                         fmt::format("beginning to capture {}", quote(options.nic)));
      id_ = reply.at("id").get<std::string>();
    } catch (...) {
      ::unlink(path.c_str());
      throw;
    }
    ::unlink(path.c_str());
  }

  int fd() const override { return fifo_.get(); }
  bool has_ended() const override { return has_ended_; }

  std::optional<CapturedPacket> next() override {
    for (;;) {
      if (const std::optional<CapturedPacket> packet = stream_.next()) return packet;
      const ssize_t got = ::read(fifo_.get(), buffer_.data(), buffer_.size());
      if (got < 0 && errno == EINTR) continue;
      if (got == 0) has_ended_ = true;
      if (got <= 0) return std::nullopt;
      stream_.feed({buffer_.data(), static_cast<std::size_t>(got)});
    }
  }

  std::optional<std::uint64_t> finish() override {
    if (has_ended_) return std::nullopt;
    try {
      const Json reply = ask_supervisor(context_, vm_, "vmrig-capture-end", {{"id", id_}},
                                        std::nullopt, "ending the capture");
      return reply.at("dropped").get<std::uint64_t>();
    } catch (const Error&) {
      return std::nullopt;  // the VM has just ended
    }
  }

 private:
  Context context_;
  std::string vm_;
  std::string id_;
  Fd fifo_;
  PcapStream stream_;
  bool has_ended_ = false;
  std::array<char, 65536> buffer_{};
};

Error refusal(const CaptureOptions& options, std::string cause, std::string mend) {
  return Error({.status = ExitStatus::kUsage,
                .operation = "capture on NIC",
                .object = options.nic,
                .cause = std::move(cause),
                .mend = std::move(mend)});
}

const NicConfig& find_nic(const VmConfig& config, const CaptureOptions& options) {
  std::vector<std::string_view> ids;
  for (const NicConfig& nic : config.nics) {
    if (nic.id == options.nic) return nic;
    ids.push_back(nic.id);
  }
  throw refusal(options,
                fmt::format("VM {} has none of that name{}", quote(options.name),
                            did_you_mean(options.nic, ids)),
                fmt::format("vmrig status {}", options.name));
}

// vhost and vhost-user move packets past QEMU, whose filters would see none.
std::unique_ptr<PacketSource> open_source(const Context& context, const CaptureOptions& options,
                                          const VmState& state, std::uint32_t snaplen) {
  const VmConfig config = config_from_json(state.config);
  const NicConfig& nic = find_nic(config, options);
  switch (nic.type) {
    case NicType::kTap:
    case NicType::kMacvtap:
      return std::make_unique<DeviceSource>(interface_name(nic, config.name), snaplen);
    case NicType::kUser:
    case NicType::kPasst:
      return std::make_unique<FilterSource>(context, options, snaplen);
    case NicType::kVf:
      throw refusal(options, "its packets go from the VF to the guest, past the host",
                    "tcpdump in the guest, or on the PF where its switch mirrors the VF");
    case NicType::kVhostUser:
      throw refusal(options, "its packets go through shared memory, past QEMU",
                    "capture in the switch: ovs-tcpdump, or dpdk-dumpcap");
    case NicType::kNone:
      break;
  }
  throw refusal(options, "it is connected to nothing, and has no packets", {});
}

enum class End { kAsked, kVmEnded };

End carry(PacketSource& source, PcapOutput& output, const SignalInput& signals, const Fd& vm,
          std::optional<std::uint64_t> count, qmp::Deadline deadline, std::uint64_t& packets,
          ProgressLine& progress) {
  for (;;) {
    int timeout_ms = -1;
    if (deadline != qmp::kNoDeadline) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - qmp::Deadline::clock::now());
      constexpr std::chrono::milliseconds::rep kMost = 3'600'000;
      timeout_ms =
          static_cast<int>(std::clamp<std::chrono::milliseconds::rep>(left.count(), 0, kMost));
    }
    std::array<pollfd, 3> fds = {pollfd{.fd = source.fd(), .events = POLLIN, .revents = 0},
                                 pollfd{.fd = signals.fd(), .events = POLLIN, .revents = 0},
                                 pollfd{.fd = vm.get(), .events = POLLIN, .revents = 0}};
    if (::poll(fds.data(), fds.size(), timeout_ms) < 0 && errno != EINTR) {
      throw system_error("wait for packets", {}, errno);
    }
    // Bounded, so that a flood can't keep a signal or the time from being seen.
    constexpr int kBatch = 4096;
    std::optional<CapturedPacket> packet;
    for (int i = 0; i < kBatch && (packet = source.next()); ++i) {
      output.add(*packet);
      if (++packets == count) return End::kAsked;
    }
    output.flush();
    progress.tell(fmt::format("{} packets", packets));
    if (fds[1].revents != 0) {
      // Taken, so that it does not end the program once it is let through again.
      (void)signals.take();
      return End::kAsked;
    }
    if (source.has_ended() || (fds[2].revents != 0 && !packet)) return End::kVmEnded;
    if (qmp::Deadline::clock::now() >= deadline) return End::kAsked;
  }
}

ExitStatus capture(const CaptureOptions& options, const Context& context) {
  const auto count = number_of(options.count, "--count", std::numeric_limits<std::uint64_t>::max());
  const auto snaplen = static_cast<std::uint32_t>(
      number_of(options.snaplen, "--snaplen", kMaxSnaplen).value_or(kMaxSnaplen));
  if (!options.file) {
    throw Error(
        {.status = ExitStatus::kUsage,
         .operation = "capture",
         .object = {},
         .cause = "-w is missing: where to write the packets to",
         .mend = fmt::format("vmrig capture {} {} -w FILE.pcap", options.name, options.nic)});
  }
  const VmEntry entry = find_vm(open_root_for(context, options.name), options.name);
  if (!entry.living() || !entry.state) {
    throw Error({.status = ExitStatus::kNoSuchVm,
                 .operation = "capture on VM",
                 .object = options.name,
                 .cause = entry.living() ? entry.problem : "it has ended",
                 .mend = "vmrig list"});
  }
  const Fd vm = open_pidfd(entry.qemu_alive ? entry.state->qemu : entry.state->supervisor);
  const SignalInput signals{SIGTERM, SIGINT, SIGHUP, SIGQUIT};
  // The file last: none is left behind by a capture that could not begin.
  const std::unique_ptr<PacketSource> source = open_source(context, options, *entry.state, snaplen);
  PcapOutput output(options, snaplen);
  output.flush();
  const bool to_file = *options.file != "-";
  note(fmt::format("capturing {} of {}{}", quote(options.nic), quote(options.name),
                   to_file ? " to " + output.name() : ""));
  const qmp::Deadline deadline =
      options.seconds ? qmp::deadline_in(to_milliseconds(*options.seconds)) : qmp::kNoDeadline;
  std::uint64_t packets = 0;
  std::optional<std::chrono::milliseconds> limit;
  if (options.seconds) limit = to_milliseconds(*options.seconds);
  ProgressLine progress(fmt::format("capturing {}", quote(options.nic)), limit);
  const End end = carry(*source, output, signals, vm, count, deadline, packets, progress);
  progress.end();
  output.flush();
  const std::uint64_t dropped = source->finish().value_or(0);
  note(fmt::format("{} packets captured{}{}", packets,
                   dropped == 0 ? "" : fmt::format(", {} dropped", dropped),
                   end == End::kVmEnded ? "; the VM has ended" : ""));
  return ExitStatus::kDone;
}

}  // namespace

RunCommand define_capture(CommandLine& line) {
  auto options = std::make_shared<CaptureOptions>();
  line.positional("NAME", "The VM", options->name);
  line.positional("NIC", "Its NIC", options->nic);
  line.option("-w,--write", "FILE", "Where to, in pcap format; - is standard output",
              options->file);
  line.seconds("--seconds", "End after this time", options->seconds);
  line.option("--count", "N", "End after so many packets", options->count);
  line.option("--snaplen", "BYTES", "Keep no more of a packet", options->snaplen);
  line.flag("--force", "Overwrite the file", options->force);
  line.flag("--json", "Faults as JSON", options->json);
  return [options](const Context& context) { return capture(*options, context); };
}

}  // namespace vmrig
