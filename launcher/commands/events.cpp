// vmrig events: a VM's QMP events, one JSON object a line.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hostcfg/base/nearest.hpp"
#include "launcher/cli/output.hpp"
#include "launcher/cli/report.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/commands/numbers.hpp"
#include "launcher/commands/seconds.hpp"
#include "launcher/commands/vm_connection.hpp"
#include "launcher/text.hpp"
#include "qmp/error.hpp"
#include "qmp/schema.hpp"

namespace vmrig {
namespace {

struct EventsOptions {
  std::string name;
  std::vector<std::string> match;
  std::optional<std::string> count;
  std::optional<std::string> ready_fd;
  std::optional<double> timeout_s;
  bool json = false;  // events are JSON anyway; faults are, too, then
};

constexpr const char* kHelp = "vmrig events --help";

std::set<std::string> names_in(const std::vector<std::string>& lists) {
  std::set<std::string> names;
  for (const std::string& list : lists) {
    std::string_view rest = list;
    for (;;) {
      const std::size_t comma = rest.find(',');
      if (const std::string_view name = rest.substr(0, comma); !name.empty()) names.emplace(name);
      if (comma == std::string_view::npos) break;
      rest.remove_prefix(comma + 1);
    }
  }
  return names;
}

// A name with a typing error would be waited for for ever.
void refuse_unknown(const std::set<std::string>& names, VmConnection& vm) {
  const qmp::Deadline deadline = qmp::deadline_in(kTalkTimeout);
  const qmp::Schema schema(vm.execute("query-qmp-schema", Json::object(), deadline));
  const std::set<std::string> events = schema.events();
  for (const std::string& name : names) {
    if (events.contains(name) || name.starts_with("VMRIG_")) continue;
    const std::vector<std::string_view> known(events.begin(), events.end());
    throw Error({.status = ExitStatus::kUsage,
                 .operation = "match event",
                 .object = name,
                 .cause = "this QEMU has none of that name" + did_you_mean(name, known),
                 .mend = {}});
  }
}

// Tells whoever waits that no event is missed from here on: a line on standard error for a person
// or a shell, a newline on the fd for a program (the same as s6's notification-fd).
void tell_ready(const std::string& name, std::optional<int> fd) {
  if (!fd) {
    note(fmt::format("following the events of {}", quote(name)));
    return;
  }
  while (::write(*fd, "\n", 1) < 0) {
    if (errno != EINTR) throw system_error("write to --ready-fd", std::to_string(*fd), errno);
  }
  if (*fd > STDERR_FILENO) ::close(*fd);
}

ExitStatus follow(const EventsOptions& options, const Context& context) {
  const auto count = number_of<std::size_t>(options.count, "--count", 1, kHelp);
  const auto ready_fd = number_of<int>(options.ready_fd, "--ready-fd", 0, kHelp);
  const std::set<std::string> names = names_in(options.match);
  const qmp::Deadline deadline =
      options.timeout_s ? qmp::deadline_in(to_milliseconds(*options.timeout_s)) : qmp::kNoDeadline;
  VmConnection vm = [&] {
    const ProgressLine progress = waiting_for(options.name);
    return VmConnection::open(context, options.name);
  }();
  if (!names.empty()) refuse_unknown(names, vm);
  tell_ready(options.name, ready_fd);

  const auto match = [&names](const qmp::Event& event) {
    return names.empty() || names.contains(event.name);
  };
  for (std::size_t printed = 0; !count || printed < *count; ++printed) {
    try {
      const qmp::Event event = vm.client().wait_event(match, deadline);
      write_out(json_text(event.to_json()) + "\n");
    } catch (const qmp::Error& fault) {
      if (fault.kind() == qmp::ErrorKind::timeout) return ExitStatus::kTimeUp;
      if (fault.kind() != qmp::ErrorKind::closed) throw vm.explain(fault);
      if (!count) {
        note(fmt::format("VM {} has ended", quote(options.name)));
        return ExitStatus::kDone;
      }
      throw Error({.status = ExitStatus::kFailed,
                   .operation = "wait for events of VM",
                   .object = options.name,
                   .cause = fmt::format("it ended after {} of {}", printed, *count),
                   .mend = {}});
    }
  }
  return ExitStatus::kDone;
}

}  // namespace

RunCommand define_events(CommandLine& line) {
  auto options = std::make_shared<EventsOptions>();
  line.positional("NAME", "The VM", options->name);
  line.repeated("--match", "EVENT[,EVENT]", "Only events of these names", options->match);
  line.option("--count", "N", "Leave with status 0 after so many; when the VM ends before, 1",
              options->count);
  line.seconds("--timeout", "Leave after this time, with exit status 124", options->timeout_s);
  line.option("--ready-fd", "FD",
              "Write a newline there once no event is missed any more, instead of a line on "
              "standard error",
              options->ready_fd);
  line.flag("--json", "Faults as JSON, too", options->json);
  return [options](const Context& context) { return follow(*options, context); };
}

}  // namespace vmrig
