#include "launcher/guest_cell.hpp"

#include <nlohmann/json.hpp>
#include <string>

namespace vmrig {

Json to_json(const GuestCell& cell) {
  return {{"vcpus", cell.vcpus.to_string()},
          {"memory", to_string(cell.memory)},
          {"node", cell.node ? Json(*cell.node) : Json(nullptr)},
          {"bound", cell.bound},
          {"distances", cell.distances},
          {"pxb", cell.pxb}};
}

GuestCell guest_cell_from_json(const Json& json) {
  GuestCell cell;
  cell.vcpus = CpuSet::parse(json.at("vcpus").get<std::string>());
  cell.memory = parse_bytes(json.at("memory").get<std::string>());
  if (!json.at("node").is_null()) cell.node = json.at("node").get<int>();
  cell.bound = json.at("bound").get<bool>();
  cell.distances = json.at("distances").get<std::vector<int>>();
  cell.pxb = json.at("pxb").get<bool>();
  return cell;
}

}  // namespace vmrig
