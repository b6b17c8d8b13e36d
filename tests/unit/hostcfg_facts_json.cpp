#include <doctest/doctest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/facts.hpp"
#include "hostcfg/files.hpp"
#include "hostcfg_support.hpp"

using namespace vmrig;

namespace {

constexpr std::size_t kCaptureLimit = 1 << 20;

Json capture(const std::string& name) {
  const auto path = test::data_folder() / "facts" / (name + ".json");
  return Json::parse(read_small_file(path.string(), kCaptureLimit));
}

// The message that a capture gives after `change`; empty when it is still read.
std::string refusal_after(const std::function<void(Json&)>& change) {
  Json json = capture("two-socket-72cpu");
  change(json);
  try {
    facts_from_json(json);
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::kUsage);
    return error.what();
  }
  return {};
}

bool names(const std::string& message, const std::string& key) {
  return message.find("key \"" + key + "\"") != std::string::npos;
}

HostFacts large_host(int cpus) {
  HostFacts facts = facts_from_json(capture("two-socket-72cpu"));
  facts.cpus.clear();
  facts.present = {};
  for (int id = 0; id < cpus; ++id) {
    facts.cpus.push_back({id, id / 2, id / 256, id / 256, id / 16});
    facts.present.insert(id);
  }
  return facts;
}

}  // namespace

TEST_CASE("every recorded host is the same after reading and writing") {
  const auto folder = test::data_folder() / "facts";
  int captures = 0;
  for (const std::string& name : list_folder(folder.string())) {
    if (!name.ends_with(".json")) continue;
    CAPTURE(name);
    const Json json = capture(name.substr(0, name.size() - 5));
    CHECK(to_json(facts_from_json(json)) == json);
    ++captures;
  }
  CHECK(captures >= 5);
}

TEST_CASE("the recorded reference host says what it is") {
  const HostFacts facts = facts_from_json(capture("two-socket-72cpu"));
  CHECK(facts.cpus.size() == 72);
  CHECK(facts.online().to_string() == "0-71");
  CHECK(facts.siblings(1) == CpuSet{1, 37});
  CHECK(facts.siblings(99).empty());
  REQUIRE(facts.find_node(0) != nullptr);
  CHECK(facts.find_node(0)->cpus.to_string() == "0-17,36-53");
  CHECK(facts.find_node(0)->distances.at(1) == 21);
  CHECK(facts.find_node(0)->hugepages.at(1).free == 30);
  CHECK(facts.find_node(2) == nullptr);
  CHECK(facts.find_cpu(71)->node == 1);
  CHECK(facts.find_cpu(72) == nullptr);
  CHECK(facts.allowed.includes(facts.isolated));
  CHECK_FALSE(facts.memlock_limit.has_value());
  CHECK(facts.pci.at(3).vf_index == 0);
  CHECK(facts.pci.at(3).physical_function == facts.pci.at(2).address);
  CHECK(facts.net.at(2).numa_node == 0);
}

TEST_CASE("facts of 512 CPUs round-trip and stay below 64 KiB") {
  const HostFacts facts = large_host(512);
  const Json json = to_json(facts);
  CHECK(json.dump().size() < 64 * 1024);
  CHECK(to_json(facts_from_json(Json::parse(json.dump()))) == json);
}

TEST_CASE("a number that would have to be converted is refused with its key") {
  for (const Json& wrong : {Json(3.9), Json(-2), Json(4294967296ULL), Json(18446744073709551615ULL),
                            Json(-4294967295LL), Json("3"), Json(true), Json(nullptr), Json(1.0)}) {
    CAPTURE(wrong.dump());
    CHECK(
        names(refusal_after([&](Json& json) { json["cpus"][3]["core"] = wrong; }), "cpus[3].core"));
    CHECK(
        names(refusal_after([&](Json& json) { json["nodes"][1]["hugepages"][1]["total"] = wrong; }),
              "nodes[1].hugepages[1].total") == (wrong != Json(4294967296ULL)));
    CHECK(names(refusal_after([&](Json& json) { json["nodes"][0]["distances"]["1"] = wrong; }),
                "nodes[0].distances.1"));
    if (wrong != Json(true)) {
      CHECK(names(refusal_after([&](Json& json) { json["vmx"] = wrong; }), "vmx"));
    }
    if (wrong != Json("3")) {
      CHECK(names(refusal_after([&](Json& json) { json["isolated"] = wrong; }), "isolated"));
    }
  }
}

TEST_CASE("a container's memory limits survive being written and read") {
  HostFacts facts = facts_from_json(capture("two-socket-72cpu"));
  CHECK(facts.memory_limits == MemoryLimits{});
  facts.memory_limits.memory = Bytes::gib(6);
  facts.memory_limits.hugepages[Bytes::mib(2)] = Bytes::gib(1);
  CHECK(facts_from_json(to_json(facts)).memory_limits == facts.memory_limits);
  CHECK(names(refusal_after([](Json& json) {
                json["memory_limits"] = {{"hugepages", {{{"page_size", "2MiB"}}}}};
              }),
              "memory_limits.hugepages[0].limit"));
}

TEST_CASE("a key of facts that is missing, unknown or of another type is named") {
  const Json whole = capture("two-socket-72cpu");
  for (const auto& [key, value] : whole.items()) {
    CAPTURE(key);
    const std::string name = key;
    // Older captures have none of these.
    const bool is_optional = name == "can_sys_nice" || name == "cgroup" ||
                             name == "can_change_ids" || name == "can_kill" ||
                             name == "can_sys_ptrace" || name == "ids";
    CHECK(names(refusal_after([&](Json& json) { json.erase(name); }), name) != is_optional);
    CHECK(names(refusal_after([&](Json& json) { json[name] = nullptr; }), name));
  }
  CHECK(names(refusal_after([](Json& json) { json["cpus"][0]["colour"] = 1; }), "cpus[0].colour"));
  CHECK(names(refusal_after([](Json& json) { json["extra"] = 1; }), "extra"));
  CHECK(names(refusal_after([](Json& json) { json["pci"][0] = 1; }), "pci[0]"));
  CHECK_THROWS_AS(facts_from_json(Json::array()), Error);
  CHECK_THROWS_AS(facts_from_json(Json()), Error);
}

TEST_CASE("facts that contradict themselves are refused") {
  using Change = std::function<void(Json&)>;
  const std::vector<std::pair<std::string, Change>> cases = {
      {"format", [](Json& j) { j["format"] = 2; }},
      {"cpus[1].id", [](Json& j) { j["cpus"][1]["id"] = 0; }},
      {"cpus[71].id", [](Json& j) { j["present"] = "0-70"; }},
      {"cpus[0].node", [](Json& j) { j["cpus"][0]["node"] = 7; }},
      {"nodes[1].id", [](Json& j) { j["nodes"][1]["id"] = 0; }},
      {"nodes[0].hugepages[1].free", [](Json& j) { j["nodes"][0]["hugepages"][1]["free"] = 33; }},
      {"nodes[0].hugepages[0].page_size",
       [](Json& j) { j["nodes"][0]["hugepages"][0]["page_size"] = "0B"; }},
      {"nodes[0].memory_free", [](Json& j) { j["nodes"][0]["memory_free"] = "1TiB"; }},
      {"nodes[0].memory_total", [](Json& j) { j["nodes"][0]["memory_total"] = "128"; }},
      {"nodes[0].distances.01", [](Json& j) { j["nodes"][0]["distances"]["01"] = 10; }},
      {"nodes[0].cpus", [](Json& j) { j["nodes"][0]["cpus"] = "0-9999"; }},
      {"kvm.opens", [](Json& j) { j["kvm"]["exists"] = false; }},
      {"memlock_limit", [](Json& j) { j["memlock_limit"] = "lots"; }},
      {"pci[1].address", [](Json& j) { j["pci"][1]["address"] = "0000:3b:00.9"; }},
      {"pci[2].address", [](Json& j) { j["pci"][2]["address"] = j["pci"][1]["address"]; }},
      {"pci[2].num_vfs", [](Json& j) { j["pci"][2]["num_vfs"] = 65; }},
      {"pci[1].vf_index", [](Json& j) { j["pci"][1]["vf_index"] = 0; }},
      {"pci[1].vendor", [](Json& j) { j["pci"][1]["vendor"] = "0x86"; }},
      {"net[1].kind", [](Json& j) { j["net"][1]["kind"] = "quantum"; }},
      {"net[1].name", [](Json& j) { j["net"][1]["name"] = std::string("a\0b", 3); }},
  };
  for (const auto& [key, change] : cases) {
    CAPTURE(key);
    const std::string message = refusal_after(change);
    CAPTURE(message);
    CHECK(names(message, key));
  }
}

TEST_CASE("a name that is not UTF-8 can be printed and does not break the file") {
  HostFacts facts = facts_from_json(capture("vm-2cpu"));
  facts.kernel_parameters.push_back("a=\xff\xfe");
  std::string text;
  REQUIRE_NOTHROW(text = to_json(facts).dump());
  CHECK(facts_from_json(Json::parse(text)).kernel_parameters.back() == "a=\uFFFD\uFFFD");
}
