// A host of variables that has whatever a journal speaks of, as far as the journal's writer came.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/host_control.hpp"
#include "hostcfg/journal.hpp"
#include "tests/unit/fake_access.hpp"
#include "tests/unit/fake_cgroups.hpp"
#include "tests/unit/fake_memory.hpp"
#include "tests/unit/fake_net.hpp"

namespace vmrig::fuzz {

class JournalHost final : public HostControl {
 public:
  // Does to the host what the entry says, to its end or only to the middle.
  enum class Came { kNotAtAll, kToTheMiddle, kToTheEnd };
  void happen(const JournalEntry& entry, Came came);

  // Everything that an undo can change, to be compared.
  std::string shown() const;

  bool is_module_loaded(const std::string& name) override { return modules_.count(name) != 0; }
  void load_module(const std::string& name) override { modules_.insert(name); }
  int vf_count(const PciAddress& pf) override;
  void set_vf_count(const PciAddress& pf, int count) override { vfs_[pf] = count; }
  std::vector<std::string> vf_holders(const PciAddress&) override { return {}; }
  std::optional<PciAddress> vf_address(const PciAddress& pf, int index) override;
  VfRecord vf_record(const PciAddress& pf, int index) override;
  void set_vf(const PciAddress& pf, int index, const VfSettings& settings) override;
  std::optional<DriverState> driver_state(const PciAddress& device) override;
  void bind_driver(const PciAddress& device, const std::string& driver) override;
  void unbind_driver(const PciAddress& device) override { drivers_[device].driver.clear(); }
  void restore_driver(const PciAddress& device, const DriverState& old) override;
  AccessControl& access() override { return access_; }
  NetControl& net() override { return net_; }
  CgroupControl& cgroups() override { return cgroups_; }
  MemoryControl& memory() override { return memory_; }

 private:
  struct Happen;

  std::set<std::string> modules_;
  std::map<PciAddress, int> vfs_;
  std::map<std::pair<PciAddress, int>, VfRecord> records_;
  std::map<PciAddress, DriverState> drivers_;
  testing::FakeAccess access_;
  testing::FakeNet net_;
  testing::FakeCgroups cgroups_;
  testing::FakeMemory memory_;
};

}  // namespace vmrig::fuzz
