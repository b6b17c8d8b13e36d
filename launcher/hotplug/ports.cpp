// Hotplug: the root port that a device comes into.
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>
#include <utility>

#include "devices/pci_slots.hpp"
#include "hostcfg/base/error.hpp"
#include "launcher/hotplug/hotplug.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

// By number.
std::vector<std::string> root_ports(const Json& peripherals) {
  std::vector<std::string> ports;
  for (const Json& entry : peripherals) {
    std::string name = entry.value("name", std::string());
    if (name.starts_with(kRootPortPrefix)) ports.push_back(std::move(name));
  }
  std::sort(ports.begin(), ports.end(), [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() < b.size() : a < b;
  });
  return ports;
}

bool is_taken(const Json& bus) {
  return std::any_of(bus.begin(), bus.end(), [](const Json& property) {
    return property.value("name", std::string()).starts_with("child[");
  });
}

}  // namespace

void Hotplug::give_up_ports(const PortSearch& search) {
  for (const std::string& port : search.reserved) {
    if (!search.is_used || port != search.reserved.back()) taken_.erase(port);
  }
}

// On pc QEMU finds the slot itself.
asio::awaitable<std::string> Hotplug::bus_for(std::string id, PortSearch& search,
                                              qmp::Deadline deadline) {
  if (config().machine.type == MachineType::kPc) co_return "pci.0";
  if (!search.is_free) co_await find_free_port(search, deadline);
  search.is_used = true;
  taken_[search.reserved.back()] = id;
  co_return search.reserved.back();
}

// Into `search`: the last of its ports then. Those before it hold what a client plugged in by
// itself; a port takes a second device without a word (QEMU 7.2), and the guest never sees it.
asio::awaitable<void> Hotplug::find_free_port(PortSearch& search, qmp::Deadline deadline) {
  if (ports_.empty()) {
    const Json present = co_await peripherals(deadline);
    ports_ = root_ports(present);
  }
  // The last are the spare ones, most likely free.
  const std::vector<std::string> ports(ports_.rbegin(), ports_.rend());
  for (const std::string& port : ports) {
    if (!taken_.emplace(port, std::string()).second) continue;
    search.reserved.push_back(port);
    QmpCommand look{"qom-list", Json{{"path", fmt::format("{0}/{1}/{1}", kPeripherals, port)}}};
    const Json bus = co_await execute(std::move(look), deadline);
    search.is_free = !is_taken(bus);
    if (search.is_free) co_return;
  }
  throw Error(
      {.status = ExitStatus::kFailed,
       .operation = "find a PCIe port",
       .object = {},
       .cause = ports.empty() ? "the VM has none"
                              : fmt::format("all {} of the VM are taken", ports.size()),
       .mend = fmt::format(R"(detach a device, or start with "machine": {{"hotplug_ports": {}}})",
                           config().machine.hotplug_ports + 4)});
}

// While the host is looked at; what goes wrong is told when a port is really wanted.
asio::awaitable<void> Hotplug::search_ahead(PortSearch& search, qmp::Deadline deadline) {
  try {
    co_await find_free_port(search, deadline);
  } catch (const std::exception&) {
    search.is_free = false;
  }
}

}  // namespace vmrig
