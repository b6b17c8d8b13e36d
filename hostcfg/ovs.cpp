#include "hostcfg/ovs.hpp"

#include <fmt/format.h>
#include <stdlib.h>

#include <utility>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/checkpoint.hpp"
#include "hostcfg/run_program.hpp"

namespace vmrig {
namespace {

constexpr const char* kOperation = "set up the Open vSwitch port";
constexpr const char* kMarkKey = "external_ids:vmrig";

Error ovs_fault(const std::string& port, std::string cause, std::string mend = {}) {
  return Error({.status = ExitStatus::kHost,
                .operation = kOperation,
                .object = port,
                .cause = std::move(cause),
                .mend = std::move(mend)});
}

ProgramResult run_vsctl(const std::string& port, std::vector<std::string> arguments) {
  const std::string program =
      find_program({"/usr/bin/ovs-vsctl", "/usr/local/bin/ovs-vsctl", "/bin/ovs-vsctl"});
  if (program.empty()) {
    throw ovs_fault(port, "there is no ovs-vsctl", "apt install openvswitch-switch");
  }
  // A switch that is not running does not hang a launch.
  std::vector<std::string> command = {program, "--timeout=10"};
  command.insert(command.end(), std::make_move_iterator(arguments.begin()),
                 std::make_move_iterator(arguments.end()));
  std::vector<std::string> environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  if (const char* folder = ::getenv("OVS_RUNDIR")) {
    environment.push_back(fmt::format("OVS_RUNDIR={}", folder));
  }
  return run_program(command, environment, kOperation, port);
}

std::string vsctl(const std::string& port, std::vector<std::string> arguments) {
  ProgramResult result = run_vsctl(port, std::move(arguments));
  if (result.succeeded()) return std::move(result.output);
  throw ovs_fault(port,
                  result.errors.empty() ? fmt::format("ovs-vsctl failed (status {})", result.status)
                                        : result.errors,
                  "systemctl status openvswitch-switch");
}

// ovs-vsctl writes a string of its database with quotes where it is more than one word.
std::string unquoted(std::string text) {
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
    return text.substr(1, text.size() - 2);
  }
  return text;
}

}  // namespace

std::optional<OvsPort> read_ovs_port(const std::string& port) {
  // Without a port of this name the first fails with status 1, and so it does without a switch.
  const ProgramResult bridge = run_vsctl(port, {"port-to-br", port});
  if (!bridge.succeeded()) {
    if (bridge.errors.find("no port named") != std::string::npos) return std::nullopt;
    throw ovs_fault(port, bridge.errors, "systemctl status openvswitch-switch");
  }
  const std::string mark = vsctl(port, {"--if-exists", "get", "Port", port, kMarkKey});
  return OvsPort{bridge.output, unquoted(mark)};
}

void add_ovs_port(const AddOvsPort& action, const std::string& mark) {
  std::vector<std::string> arguments = {"add-port", action.bridge, action.port};
  if (action.tag) arguments.push_back(fmt::format("tag={}", *action.tag));
  if (!action.trunks.empty()) {
    arguments.push_back(fmt::format("trunks={}", fmt::join(action.trunks, ",")));
    if (action.tag) arguments.emplace_back("vlan_mode=native-untagged");
  }
  for (const char* word : {"--", "set", "Port"}) arguments.emplace_back(word);
  arguments.push_back(action.port);
  arguments.push_back(fmt::format("{}=\"{}\"", kMarkKey, mark));
  checkpoint("before ovs port");
  vsctl(action.port, std::move(arguments));
  checkpoint("after ovs port");
}

void remove_ovs_port(const AddOvsPort& action) {
  checkpoint("before ovs port removal");
  vsctl(action.port, {"--if-exists", "del-port", action.bridge, action.port});
  checkpoint("after ovs port removal");
}

}  // namespace vmrig
