// A host without PCI devices, whose network, cgroups and memory are variables.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hostcfg/host_control.hpp"
#include "tests/unit/fake_access.hpp"
#include "tests/unit/fake_cgroups.hpp"
#include "tests/unit/fake_memory.hpp"
#include "tests/unit/fake_net.hpp"

namespace vmrig::testing {

class PlainHost : public HostControl {
 public:
  FakeAccess files;
  FakeMemory pools;
  FakeNet network;
  FakeCgroups groups;

  bool is_module_loaded(const std::string&) override { return true; }
  void load_module(const std::string&) override {}
  int vf_count(const PciAddress&) override { return 0; }
  void set_vf_count(const PciAddress&, int) override {}
  std::vector<std::string> vf_holders(const PciAddress&) override { return {}; }
  std::optional<PciAddress> vf_address(const PciAddress&, int) override { return std::nullopt; }
  VfRecord vf_record(const PciAddress&, int) override { return {}; }
  void set_vf(const PciAddress&, int, const VfSettings&) override {}
  std::optional<DriverState> driver_state(const PciAddress&) override { return std::nullopt; }
  void bind_driver(const PciAddress&, const std::string&) override {}
  void unbind_driver(const PciAddress&) override {}
  void restore_driver(const PciAddress&, const DriverState&) override {}
  AccessControl& access() override { return files; }
  NetControl& net() override { return network; }
  MemoryControl& memory() override { return pools; }
  CgroupControl& cgroups() override { return groups; }
};

}  // namespace vmrig::testing
