#include "tests/support/full_life.hpp"

#include <fmt/format.h>
#include <sys/mount.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/support/host_snapshot.hpp"
#include "tests/support/network_sandbox.hpp"

namespace vmrig::testing {
namespace {

constexpr int kMissingPages = 24;  // that are to be reserved

// The lines that only one of the two has.
std::string difference(const std::string& before, const std::string& after) {
  const auto lines_of = [](const std::string& text) {
    std::multiset<std::string> lines;
    std::size_t at = 0;
    while (at < text.size()) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      lines.insert(text.substr(at, end - at));
      at = end + 1;
    }
    return lines;
  };
  std::string told;
  const std::multiset<std::string> old_lines = lines_of(before);
  const std::multiset<std::string> new_lines = lines_of(after);
  for (const std::string& line : old_lines) {
    if (new_lines.count(line) < old_lines.count(line)) told += "- " + line + "\n";
  }
  for (const std::string& line : new_lines) {
    if (old_lines.count(line) < new_lines.count(line)) told += "+ " + line + "\n";
  }
  return told;
}

bool has_name(const Json& entries, const std::string& name) {
  return std::any_of(entries.begin(), entries.end(),
                     [&name](const Json& entry) { return entry.value("name", "") == name; });
}

}  // namespace

std::string test_program(const std::string& name) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return (self.parent_path() / name).string();
}

FullLife::FullLife() {
  run_ok("ip link add veth0 type veth peer name veth1");
  run_ok("ip link set veth0 up");
  run_ok("ip link set veth1 up");
  image_ = guard_.folder() / "d.raw";
  write_text(image_, std::string(1 << 20, '\0'));
  Json config = guard_.config("k");
  config["machine"]["type"] = "pc";  // whose slots are ejected by a reset, without a guest
  config["memory"] = {{"size", fmt::format("{}MiB", 2 * (pool_.free() + kMissingPages))},
                      {"hugepages", "2MiB"},
                      {"prealloc", true},
                      {"reserve", true}};
  config["nics"] =
      Json::array({{{"id", "net0"},
                    {"type", "tap"},
                    {"bridge", {{"name", "kbr0"}, {"create", true}, {"address", "10.77.0.1/24"}}},
                    {"rate", {{"egress", "10Mbit"}}}},
                   {{"id", "net1"}, {"type", "macvtap"}, {"parent", "veth0"}}});
  config_ = guard_.write_config(config);
  // So that there has to be a mount of vmrig's own; those of this namespace are nobody else's.
  while (::umount2("/dev/hugepages", MNT_DETACH) == 0) {
  }
}

std::optional<std::string> FullLife::lack() const {
  if (system_qemu().empty()) return "no qemu-system-x86_64";
  const PagePoolGuard room(kMissingPages);
  if (!room.fault().empty()) return room.fault();
  return std::nullopt;
}

CommandResult FullLife::take(Step step, const std::string& program,
                             const std::map<std::string, std::string>& environment) {
  std::vector<std::string> words;
  switch (step) {
    case Step::kStart:
      words = {"start", "--paused", config_};
      break;
    case Step::kAttachNic:
      words = {"attach", "k", "nic",
               R"({"id": "net2", "type": "tap", "bridge": {"name": "kbr0", "create": true,
                   "address": "10.77.0.1/24"}})"};
      break;
    case Step::kAttachDisk:
      words = {"attach", "k", "disk",
               Json{{"id", "d1"}, {"path", image_}, {"format", "raw"}}.dump()};
      break;
    case Step::kDetachNic:
      words = {"detach", "k", "net2", "--timeout", "5"};
      break;
    case Step::kStop:
      words = {"stop", "k", "--force"};
      break;
  }
  CommandRequest request = guard_.request(std::move(words));
  request.argv.front() = program;
  for (const auto& [name, value] : environment) request.environment[name] = value;
  if (step == Step::kDetachNic) return detach(std::move(request));
  return run_command(std::move(request));
}

// No guest gives the NIC free: a reset does.
CommandResult FullLife::detach(CommandRequest request) {
  RunningCommand running(std::move(request));
  const std::string state = guard_.state_dir() + "/k/state.json";
  eventually([&] {
    if (running.has_ended() || running.wait_for_err(":", std::chrono::milliseconds(1))) return true;
    const Json now = Json::parse(read_text(state), nullptr, false);
    return !now.is_object() || !now.value("pending_unplugs", Json::array()).empty();
  });
  (void)guard_.vmrig({"reset", "k"});
  return running.wait();
}

std::string FullLife::host() const { return host_snapshot({image_}); }

std::string FullLife::difference_to(const std::string& before) const {
  std::string told;
  eventually(
      [&] {
        told = difference(before, host());
        return told.empty();
      },
      std::chrono::seconds(2));
  return told;
}

pid_t FullLife::pid_of(const std::string& who) const {
  const Json state = Json::parse(read_text(guard_.state_dir() + "/k/state.json"), nullptr, false);
  return state.is_object() ? state.at(who).at("pid").get<pid_t>() : -1;
}

std::string FullLife::disagreement() const {
  const Json status = guard_.vmrig_json({"status", "k", "--json"});
  if (!status.is_object()) return "there is no status\n";
  const Json devices =
      guard_.vmrig_json({"qmp", "k", "qom-list", R"({"path": "/machine/peripheral"})"});
  const Json nodes = guard_.vmrig_json({"qmp", "k", "query-named-block-nodes"});
  const Json config = status.at("config");
  std::string told;
  std::set<std::string> interfaces;
  for (const char* list : {"nics", "disks"}) {
    for (const Json& device : config.at(list)) {
      const auto id = device.at("id").get<std::string>();
      if (!has_name(devices, id)) told += fmt::format("{} is in the state, not in QEMU\n", id);
    }
  }
  for (const char* id : {"net0", "net1", "net2", "d1"}) {
    if (!has_name(devices, id)) continue;
    const bool is_known = config.dump().find(fmt::format("\"id\":\"{}\"", id)) != std::string::npos;
    if (!is_known) told += fmt::format("{} is in QEMU, not in the state\n", id);
  }
  if (config.at("disks").empty() && !nodes.empty()) told += "QEMU keeps a block node\n";
  for (const Json& nic : status.at("nics")) {
    interfaces.insert(nic.at("interface").get<std::string>());
  }
  for (const char* interface : {"k-net0", "k-net1", "k-net2"}) {
    const bool is_there = std::filesystem::exists(fmt::format("/sys/class/net/{}", interface));
    if (is_there != (interfaces.count(interface) != 0)) {
      told += fmt::format("{} is {}\n", interface, is_there ? "left over" : "gone");
    }
  }
  for (const Json& change : status.at("host_changes")) {
    const auto text = change.at("text").get<std::string>();
    for (const char* interface : {"k-net0", "k-net1", "k-net2"}) {
      if (text.find(interface) != std::string::npos && interfaces.count(interface) == 0) {
        told += fmt::format("host change without a NIC: {}\n", text);
      }
    }
  }
  return told;
}

std::string_view name_of(FullLife::Step step) {
  switch (step) {
    case FullLife::Step::kStart:
      return "start";
    case FullLife::Step::kAttachNic:
      return "attach of a NIC";
    case FullLife::Step::kAttachDisk:
      return "attach of a disk";
    case FullLife::Step::kDetachNic:
      return "detach of the NIC";
    case FullLife::Step::kStop:
      return "stop";
  }
  return "";
}

}  // namespace vmrig::testing
