// Changes of the host's cgroups (v2), as data. Groups are named by their folders
// ("/sys/fs/cgroup/vmrig/vm1"), as vmrig sees them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/json.hpp"

namespace vmrig {

// Below a base, the group in which VMs have theirs.
inline constexpr std::string_view kVmsGroup = "vmrig";
// Below a base that is not the hierarchy's root: where its own processes are meanwhile. A group
// that hands on controllers may hold none (cgroup-v2.rst, "No Internal Process Constraint").
inline constexpr std::string_view kEvacuationGroup = "vmrig-host";

// Whether a path can name a group in the journal: absolute, nowhere upwards, on one line.
bool is_cgroup_folder(const std::string& path);

// Makes the group of VMs' groups below `base`, and has both hand on these controllers. VMs share
// it: it goes, and the base is as before, with the last.
struct ShareCgroup {
  std::string base = {};
  std::vector<std::string> controllers = {};  // "cpu", "io", "memory", "pids"
  bool operator==(const ShareCgroup&) const = default;

  std::string group() const;
};

// Makes a VM's own group. QEMU and its helpers are started in it.
struct CreateCgroup {
  std::string group = {};
  std::map<std::string, std::string> settings = {};  // by file: {"memory.max", "9663676416"}
  bool operator==(const CreateCgroup&) const = default;
};

// Limits a VM's use of a block device of the host's.
struct LimitDevice {
  std::string group = {};
  std::string disk = {};                       // id of the disk that is on it
  std::string device = {};                     // "8:0"
  std::optional<std::uint64_t> read_bps = {};  // bytes a second
  std::optional<std::uint64_t> write_bps = {};
  std::optional<std::uint64_t> read_iops = {};
  std::optional<std::uint64_t> write_iops = {};
  bool operator==(const LimitDevice&) const = default;

  // As io.max has it: "8:0 rbps=1048576 wbps=max riops=max wiops=max".
  std::string line() const;
  std::string no_limit() const;
};

struct CgroupOldState {
  bool existed = false;                // the group
  std::vector<std::string> handed_on;  // ShareCgroup: by the base
  bool empty() const { return *this == CgroupOldState{}; }
  bool operator==(const CgroupOldState&) const = default;
};

// Lines as describe_action (hostcfg/host_action.hpp) has them.
std::string describe(const ShareCgroup& action);
std::string describe(const CreateCgroup& action);
std::string describe(const LimitDevice& action);

// "cpu 250 %", "memory 9GiB", "512 tasks"; "FILE VALUE" for what it does not know.
std::string setting_text(const std::string& file, const std::string& value);

class FactsReader;

// Without their kind. The readers throw vmrig::Error naming the key.
Json to_json(const ShareCgroup& action);
Json to_json(const CreateCgroup& action);
Json to_json(const LimitDevice& action);
Json to_json(const CgroupOldState& old);
void read_action(FactsReader& reader, ShareCgroup& action);
void read_action(FactsReader& reader, CreateCgroup& action);
void read_action(FactsReader& reader, LimitDevice& action);
CgroupOldState read_cgroup_old_state(FactsReader reader);

}  // namespace vmrig
