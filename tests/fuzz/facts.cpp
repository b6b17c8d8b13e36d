// libFuzzer entry point: any bytes as facts of a host. As recorded facts when it begins with "{",
// else as the files of a host (memory_tree.hpp). Whatever stands there, what is read can be
// recorded and read again, the host can be judged, and a plan for it holds what every plan holds.

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/facts.hpp"
#include "hostcfg/folder_reader.hpp"
#include "hostcfg/host_check.hpp"
#include "hostcfg/memory_use.hpp"
#include "hostcfg/read_facts.hpp"
#include "hostcfg/read_settings.hpp"
#include "hostcfg/thread_use.hpp"
#include "hostcfg/topology.hpp"
#include "hostcfg/vhost_workers.hpp"
#include "launcher/config/load_config.hpp"
#include "launcher/show_host_check.hpp"
#include "launcher/text.hpp"
#include "tests/fuzz/check.hpp"
#include "tests/fuzz/memory_tree.hpp"
#include "tests/fuzz/plan_checks.hpp"

namespace {

using namespace vmrig;

constexpr const char* kNowhere = "/no-such-host";  // what FolderReader does not read is not there
constexpr pid_t kPid = 42;
constexpr std::size_t kInputsToAPlan = 16;

const std::vector<VmConfig>& configs() {
  static const std::vector<VmConfig> list = [] {
    std::vector<VmConfig> configs;
    for (const char* name : {"router", "network", "passthrough-pc", "limits", "memory"}) {
      ConfigSource source;
      source.text = fuzz::recorded_file(std::string("../golden/") + name + ".json");
      source.file = name;
      source.folder = "/vms";
      configs.push_back(load_config(source));
    }
    return configs;
  }();
  return list;
}

// A host with a device of each kind that only netlink tells of.
NetLinks links() {
  const auto link = [](int index, const char* name, const char* kind) {
    LinkState state;
    state.index = index;
    state.name = name;
    state.kind = kind;
    state.lower = "eno1";
    state.mode = "passthru";
    state.vlan_id = 7;
    return state;
  };
  return {{link(2, "eno1", ""), link(3, "br0", "bridge"), link(4, "eno1.7", "vlan"),
           link(5, "mv0", "macvtap"), link(6, "ovs0", "openvswitch")},
          {{2, {"192.0.2.1/24"}}, {3, {"10.0.0.1/24"}}}};
}

HostFacts read_tree(std::string_view input) {
  static const Topology topology = Topology::from_description("numa:2 l3:1 core:2 pu:2");
  fuzz::build_tree(input);
  FactsRequest request;
  request.root = kNowhere;
  request.netlink = {.addresses =
                         [] {
                           return NetAddresses{{"eno1", {"192.0.2.1"}}};
                         },
                     .vf_records = [](int) { return std::vector<VfRecord>(2); },
                     .links = links};
  return read_host_facts(request, topology);
}

void check_recording(const HostFacts& facts) {
  const Json recorded = to_json(facts);
  try {
    fuzz::check(!recorded.dump().empty() && to_json(facts_from_json(recorded)) == recorded,
                "facts are the same after recording");
  } catch (const std::exception& refused) {
    fuzz::check(false, "what was read can be recorded and read again", refused.what());
  }
}

void check_settings(const HostFacts& facts) {
  const HostSettings settings = read_host_settings(kNowhere, facts);
  HostReport report;
  report.host = check_host(facts, settings, HostWishes{});
  fuzz::check_printable(show_host_check(report, Colour::kOff, 100));
  fuzz::check(!to_json(report).dump(-1, ' ', false, Json::error_handler_t::replace).empty(),
              "a host check can be written as JSON");
}

void read_processes() {
  const auto root = FolderReader::open(kNowhere);
  for (const ThreadUse& use : read_all_thread_use(*root)) {
    fuzz::check_printable(scheduling_text(use));
  }
  for (const pid_t tid : threads_of(*root, kPid)) read_thread_use(*root, kPid, tid);
  read_memory_mappings(*root, kPid, Bytes{0});
  read_hugetlb_use(*root, kPid);
  read_locked(*root, kPid);
  vhost_workers(*root, kPid);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  HostFacts facts;
  if (input.starts_with('{')) {
    const Json json = Json::parse(input, nullptr, /*allow_exceptions=*/false);
    if (json.is_discarded()) return 0;
    try {
      facts = facts_from_json(json);
    } catch (const Error& refused) {
      fuzz::check_printable(printable_lines(refused.what()));
      return 0;
    }
  } else {
    facts = read_tree(input);
  }
  // One use of the facts for each input, or only a few inputs would be done in a time. A plan takes
  // ten times as long as all else, and has a target of its own.
  if (size % kInputsToAPlan == 0) {
    const std::size_t choice = size / kInputsToAPlan;
    fuzz::check_plan(configs()[choice % configs().size()], facts,
                     fuzz::recorded_qemus()[choice % fuzz::recorded_qemus().size()]);
  } else if (size % 3 == 0) {
    check_settings(facts);
  } else if (size % 3 == 1) {
    read_processes();
  } else {
    check_recording(facts);
  }
  return 0;
}
