#include "launcher/launch_recipe.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <stdexcept>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "launcher/config/load_config.hpp"
#include "launcher/hotplug/attach_plan.hpp"

namespace vmrig {
namespace {

Json texts_of(const std::vector<CpuSet>& sets) {
  Json texts = Json::array();
  for (const CpuSet& cpus : sets) texts.push_back(cpus.to_string());
  return texts;
}

std::vector<CpuSet> cpu_sets_of(const Json& texts) {
  std::vector<CpuSet> sets;
  for (const Json& text : texts) sets.push_back(CpuSet::parse(text.get<std::string>()));
  return sets;
}

Json to_json(const ThreadPlacement& placement) {
  Json iothreads = Json::object();
  for (const auto& [id, cpus] : placement.iothreads) iothreads[id] = cpus.to_string();
  return {{"vcpus", texts_of(placement.vcpus)},
          {"emulator", placement.emulator.to_string()},
          {"iothreads", std::move(iothreads)},
          {"vhost", texts_of(placement.vhost)}};
}

// The nodes were for the arguments.
ThreadPlacement placement_of(const Json& json) {
  ThreadPlacement placement;
  placement.vcpus = cpu_sets_of(json.at("vcpus"));
  placement.emulator = CpuSet::parse(json.at("emulator").get<std::string>());
  for (const auto& [id, cpus] : json.at("iothreads").items()) {
    placement.iothreads[id] = CpuSet::parse(cpus.get<std::string>());
  }
  placement.vhost = cpu_sets_of(json.at("vhost"));
  return placement;
}

Json to_json(const ChildFd& fd) {
  return {{"number", fd.number},
          {"kind", static_cast<int>(fd.source.kind)},
          {"name", fd.source.name},
          {"queue", fd.source.queue},
          {"is_writable", fd.source.is_writable},
          {"is_direct", fd.source.is_direct},
          {"origin", fd.origin}};
}

ChildFd child_fd_of(const Json& json) {
  return {.number = json.at("number").get<int>(),
          .source = {.kind = static_cast<FdSource::Kind>(json.at("kind").get<int>()),
                     .name = json.at("name").get<std::string>(),
                     .queue = json.at("queue").get<int>(),
                     .is_writable = json.at("is_writable").get<bool>(),
                     .is_direct = json.at("is_direct").get<bool>()},
          .origin = json.at("origin").get<std::string>()};
}

Json to_json(const MemoryRegion& region) {
  return {{"name", region.name},
          {"origin", region.origin},
          {"size", region.size.value},
          {"page_size", region.page_size.value},
          {"policy", static_cast<int>(region.policy)},
          {"nodes", region.nodes.to_string()},
          {"mount", region.mount},
          {"cpus", region.cpus.to_string()},
          {"owner", region.owner ? Json(*region.owner) : Json(nullptr)}};
}

MemoryRegion region_of(const Json& json) {
  const Json& owner = json.at("owner");
  return {.name = json.at("name").get<std::string>(),
          .origin = json.at("origin").get<std::string>(),
          .size = Bytes{json.at("size").get<std::uint64_t>()},
          .page_size = Bytes{json.at("page_size").get<std::uint64_t>()},
          .policy = static_cast<MemoryPolicy>(json.at("policy").get<int>()),
          .nodes = CpuSet::parse(json.at("nodes").get<std::string>()),
          .mount = json.at("mount").get<std::string>(),
          .cpus = CpuSet::parse(json.at("cpus").get<std::string>()),
          .owner = owner.is_null() ? std::nullopt : std::optional(owner.get<unsigned>())};
}

Json to_json(const NicHostEnd& end) {
  return {{"interface", end.interface}, {"queues", end.queues}, {"vhost", end.vhost}};
}

NicHostEnd host_end_of(const Json& json) {
  return {.interface = json.at("interface").get<std::string>(),
          .queues = json.at("queues").get<int>(),
          .vhost = json.at("vhost").get<bool>()};
}

Json to_json(const Helper& helper) {
  return {{"id", helper.id},
          {"program", helper.program},
          {"arguments", helper.arguments},
          {"cgroup", helper.cgroup}};
}

Helper helper_of(const Json& json) {
  return {.id = json.at("id").get<std::string>(),
          .program = json.at("program").get<std::string>(),
          .arguments = json.at("arguments").get<std::vector<std::string>>(),
          .cgroup = json.at("cgroup").get<std::string>()};
}

Json to_json(const QemuArgument& argument) {
  return {{"words", argument.words}, {"origin", argument.origin}};
}

QemuArgument argument_of(const Json& json) {
  return {.words = json.at("words").get<std::vector<std::string>>(),
          .origin = json.at("origin").get<std::string>()};
}

template <class T>
Json list_of(const std::vector<T>& items) {
  Json list = Json::array();
  for (const T& item : items) list.push_back(to_json(item));
  return list;
}

template <class Reader>
auto read_list(const Json& json, Reader reader) {
  std::vector<decltype(reader(json))> items;
  for (const Json& each : json) items.push_back(reader(each));
  return items;
}

Plan read_recipe(const Json& recipe) {
  if (const auto version = recipe.at("vmrig_version").get<std::string>();
      version != VMRIG_VERSION) {
    throw std::invalid_argument("it is of version " + version);
  }
  Plan plan;
  plan.config = config_from_json(recipe.at("config"));
  plan.qemu = recipe.at("qemu").get<std::string>();
  plan.accel = static_cast<Accel>(recipe.at("accel").get<int>());
  plan.placement = placement_of(recipe.at("placement"));
  plan.locked_memory = static_cast<LockedMemory>(recipe.at("locked_memory").get<int>());
  plan.user = qemu_user_from_json(recipe.at("user"));
  plan.cgroup = recipe.at("cgroup").get<std::string>();
  plan.arguments = read_list(recipe.at("arguments"), argument_of);
  plan.fds = read_list(recipe.at("fds"), child_fd_of);
  plan.regions = read_list(recipe.at("regions"), region_of);
  plan.host_ends = read_list(recipe.at("host_ends"), host_end_of);
  plan.helpers = read_list(recipe.at("helpers"), helper_of);
  plan.links_down = recipe.at("links_down").get<std::vector<std::string>>();
  return plan;
}

// The config paths of the devices with these ids, which are their arguments' and fds' origins.
std::set<std::string> origins_of(const VmConfig& config, const std::vector<std::string>& ids) {
  std::set<std::string> origins;
  const auto look = [&](const auto& list, std::string_view name) {
    for (std::size_t i = 0; i < list.size(); ++i) {
      const bool is_one = std::find(ids.begin(), ids.end(), list[i].id) != ids.end();
      if (is_one) origins.insert(fmt::format("{}[{}]", name, i));
    }
  };
  look(config.disks, "disks");
  look(config.nics, "nics");
  look(config.vfio, "vfio");
  look(config.usb, "usb");
  look(config.rngs, "rngs");
  look(config.channels, "channels");
  look(config.memory.devices, "memory.devices");
  return origins;
}

}  // namespace

Json recipe_of(const Plan& plan) {
  return {{"vmrig_version", VMRIG_VERSION},
          {"config", to_json(plan.config)},
          {"qemu", plan.qemu},
          {"accel", static_cast<int>(plan.accel)},
          {"placement", to_json(plan.placement)},
          {"locked_memory", static_cast<int>(plan.locked_memory)},
          {"user", to_json(plan.user)},
          {"cgroup", plan.cgroup},
          {"arguments", list_of(plan.arguments)},
          {"fds", list_of(plan.fds)},
          {"regions", list_of(plan.regions)},
          {"host_ends", list_of(plan.host_ends)},
          {"helpers", list_of(plan.helpers)},
          {"links_down", plan.links_down}};
}

Plan plan_of_recipe(const Json& recipe) {
  std::string fault;
  try {
    return read_recipe(recipe);
  } catch (const std::exception& error) {  // Json's, CpuSet's, the config's and our own
    fault = error.what();
  }
  throw Error(
      {.operation = "start QEMU once more by", .object = kRecipeName, .cause = fault, .mend = {}});
}

Plan without_devices(Plan plan, const std::vector<std::string>& ids) {
  const std::set<std::string> origins = origins_of(plan.config, ids);
  std::set<std::string> memory;
  for (const ChildFd& fd : plan.fds) {
    const bool goes = origins.contains(fd.origin) && fd.source.kind == FdSource::Kind::kMemory;
    if (goes) memory.insert(fd.source.name);
  }
  const auto is_one = [&ids](const std::string& id) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  std::erase_if(plan.arguments,
                [&](const QemuArgument& each) { return origins.contains(each.origin); });
  std::erase_if(plan.fds, [&](const ChildFd& each) { return origins.contains(each.origin); });
  std::erase_if(plan.regions, [&](const MemoryRegion& each) { return memory.contains(each.name); });
  std::erase_if(plan.helpers, [&](const Helper& each) { return is_one(each.id); });
  std::erase_if(plan.links_down, is_one);
  for (const std::string& id : ids) plan.config = without_device(std::move(plan.config), id);
  return plan;
}

}  // namespace vmrig
