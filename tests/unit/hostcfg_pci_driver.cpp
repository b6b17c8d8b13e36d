// Binding and VFs on a sysfs of files, with the kernel's part played by an observer of the writes.
#include <doctest/doctest.h>

#include <filesystem>
#include <functional>
#include <string>
#include <system_error>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/host_control.hpp"
#include "hostcfg/modules.hpp"
#include "hostcfg/pci_driver.hpp"
#include "hostcfg/sriov.hpp"
#include "hostcfg_support.hpp"

using namespace vmrig;
namespace fs = std::filesystem;

namespace {

const PciAddress kPf{0, 0x3b, 0, 1};
constexpr const char* kVfNames[] = {"0000:3b:10.1", "0000:3b:10.3"};

class FakeKernel {
 public:
  FakeKernel() {
    for (const char* driver : {"igb", "igbvf", "vfio-pci"}) {
      const std::string folder = std::string(kDrivers) + driver + "/";
      root_.write(folder + "bind", "").write(folder + "unbind", "");
    }
    root_.write("sys/bus/pci/drivers_probe", "");
    const std::string pf = device(kPf.to_string());
    root_.write(pf + "class", "0x020000\n").write(pf + "driver_override", "(null)\n");
    root_.write(pf + "sriov_numvfs", "0\n").write(pf + "sriov_totalvfs", "7\n");
    bind(kPf.to_string(), "igb");
  }

  Sysfs sysfs() {
    return Sysfs(root_.path(), [this](const std::string& file, const std::string& text) {
      written.push_back(file.substr(file.rfind('/') + 1) + "=" + text);
      react(file, text);
    });
  }

  void add_vf(int index) {
    const std::string name = kVfNames[index];
    const std::string folder = device(name);
    root_.write(folder + "class", "0x020000\n").write(folder + "driver_override", "(null)\n");
    root_.write(folder + "net/eth" + std::to_string(index) + "/flags", "0x1002\n");
    root_.link(device(kPf.to_string()) + "virtfn" + std::to_string(index), "../" + name);
    bind(name, "igbvf");
  }
  void bind(const std::string& name, const std::string& driver) {
    fs::remove(root_ / (device(name) + "driver"));
    root_.link(device(name) + "driver", "../../drivers/" + driver);
  }
  void remove(const std::string& path) { fs::remove_all(root_ / path); }
  test::FakeRoot& root() { return root_; }
  static std::string device(const std::string& name) { return "sys/bus/pci/devices/" + name + "/"; }

  std::vector<std::string> written;
  bool probe_works = true;
  bool makes_vfs = true;

 private:
  static constexpr const char* kDrivers = "sys/bus/pci/drivers/";

  std::string override_of(const std::string& name) {
    std::string text = Sysfs(root_.path()).read(device(name) + "driver_override").value_or("");
    return text == "(null)" ? std::string() : text;
  }
  void react(const std::string& file, const std::string& text) {
    const std::string attribute = file.substr(file.rfind('/') + 1);
    if (attribute == "driver_override") {
      root_.write(file, text == "\n" ? "(null)\n" : text);
    } else if (attribute == "unbind") {
      fs::remove(root_ / (device(text) + "driver"));
    } else if (attribute == "drivers_probe" && probe_works) {
      const std::string wanted = override_of(text);
      bind(text, wanted.empty() ? "igbvf" : wanted);
    } else if (attribute == "bind" && probe_works) {
      const std::string folder = file.substr(0, file.rfind('/'));
      bind(text, folder.substr(folder.rfind('/') + 1));
    } else if (attribute == "sriov_numvfs") {
      remake_vfs(std::stoul(text));
    }
  }
  void remake_vfs(std::size_t count) {
    root_.write(device(kPf.to_string()) + "sriov_numvfs", std::to_string(count) + "\n");
    for (int index = 0; index < 2; ++index) {
      remove("sys/bus/pci/devices/" + std::string(kVfNames[index]));
      remove(device(kPf.to_string()) + "virtfn" + std::to_string(index));
      if (makes_vfs && static_cast<std::size_t>(index) < count) add_vf(index);
    }
  }

  test::FakeRoot root_;
};

const PciAddress kVf = PciAddress::parse(kVfNames[0]);

std::string fault_of(const std::function<void()>& action, ExitStatus status) {
  try {
    action();
  } catch (const Error& error) {
    CHECK(error.status() == status);
    return error.what();
  }
  return {};
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a device is reserved, taken from its driver and probed, in this order, and given back") {
  FakeKernel kernel;
  const Sysfs sysfs = kernel.sysfs();
  set_vf_count(sysfs, kPf, 1);
  kernel.written.clear();
  bind_pci_driver(sysfs, kVf, "vfio-pci");
  CHECK(read_driver_state(sysfs, kVf) == DriverState{"vfio-pci", "vfio-pci"});
  CHECK(kernel.written == std::vector<std::string>{"driver_override=vfio-pci\n",
                                                   "unbind=0000:3b:10.1",
                                                   "drivers_probe=0000:3b:10.1"});
  kernel.written.clear();
  bind_pci_driver(sysfs, kVf, "vfio-pci");
  CHECK(kernel.written.empty());
  unbind_pci_driver(sysfs, kVf);
  restore_pci_driver(sysfs, kVf, {"igbvf", ""});
  CHECK(read_driver_state(sysfs, kVf) == DriverState{"igbvf", ""});
  // A newline alone clears the override.
  CHECK(kernel.written ==
        std::vector<std::string>{"unbind=0000:3b:10.1", "driver_override=\n", "bind=0000:3b:10.1"});
}

TEST_CASE("a device that had no driver is left without one") {
  FakeKernel kernel;
  const Sysfs sysfs = kernel.sysfs();
  set_vf_count(sysfs, kPf, 1);
  bind_pci_driver(sysfs, kVf, "vfio-pci");
  restore_pci_driver(sysfs, kVf, {"", ""});
  CHECK(read_driver_state(sysfs, kVf) == DriverState{"", ""});
}

TEST_CASE("what can't be bound is named with the driver and the reason") {
  FakeKernel kernel;
  const Sysfs sysfs = kernel.sysfs();
  set_vf_count(sysfs, kPf, 1);
  const std::string absent = fault_of(
      [&] {
        bind_pci_driver(sysfs, {0, 9, 9, 1}, "vfio-pci");
      },
      ExitStatus::kHost);
  CHECK(contains(absent, "0000:09:09.1"));
  const std::string no_driver =
      fault_of([&] { bind_pci_driver(sysfs, kVf, "uio_pci_generic"); }, ExitStatus::kHost);
  CHECK(contains(no_driver, "uio_pci_generic"));
  CHECK(read_driver_state(sysfs, kVf) == DriverState{"igbvf", ""});  // nothing was touched
  kernel.remove(FakeKernel::device(kVf.to_string()) + "driver_override");
  const std::string refused =
      fault_of([&] { bind_pci_driver(sysfs, kVf, "vfio-pci"); }, ExitStatus::kHost);
  CHECK(contains(refused, "driver_override"));
  CHECK(contains(refused, "0000:3b:10.1"));
}

TEST_CASE("VFs are made, and made anew through zero when nobody needs them") {
  FakeKernel kernel;
  const Sysfs sysfs = kernel.sysfs();
  set_vf_count(sysfs, kPf, 1);
  CHECK(read_vf_count(sysfs, kPf) == 1);
  CHECK(find_vf(sysfs, kPf, 0) == kVf);
  CHECK_FALSE(find_vf(sysfs, kPf, 1).has_value());
  kernel.written.clear();
  set_vf_count(sysfs, kPf, 2);
  CHECK(kernel.written == std::vector<std::string>{"sriov_numvfs=0", "sriov_numvfs=2"});
  kernel.written.clear();
  set_vf_count(sysfs, kPf, 2);
  CHECK(kernel.written.empty());
}

TEST_CASE("VFs that somebody holds are not taken away, and the holders are named") {
  FakeKernel kernel;
  const Sysfs sysfs = kernel.sysfs();
  set_vf_count(sysfs, kPf, 1);
  std::string part;
  SUBCASE("a VM") {
    kernel.bind(kVfNames[0], "vfio-pci");
    part = "0000:3b:10.1 is on vfio-pci";
  }
  SUBCASE("a bridge of the host") {
    const std::string net = FakeKernel::device(kVfNames[0]) + "net/eth0/";
    kernel.root().write(net + "flags", "0x1003\n").link(net + "master", "../br7");
    part = "eth0 is a port of br7";
  }
  SUBCASE("a container") {
    kernel.remove(FakeKernel::device(kVfNames[0]) + "net/eth0");
    part = "another network namespace";
  }
  const std::string fault = fault_of([&] { set_vf_count(sysfs, kPf, 2); }, ExitStatus::kBusy);
  CHECK_MESSAGE(contains(fault, part), fault);
  CHECK(read_vf_count(sysfs, kPf) == 1);
}

TEST_CASE("a function that is no PF, or can't have so many VFs, is refused") {
  FakeKernel kernel;
  const Sysfs sysfs = kernel.sysfs();
  const std::string many = fault_of([&] { set_vf_count(sysfs, kPf, 8); }, ExitStatus::kHost);
  CHECK(contains(many, "0 to 7"));
  set_vf_count(sysfs, kPf, 1);
  CHECK(
      contains(fault_of([&] { read_vf_count(sysfs, kVf); }, ExitStatus::kHost), "can't have VFs"));
  CHECK_FALSE(fault_of([&] { read_vf_count(sysfs, {0, 9, 9, 0}); }, ExitStatus::kHost).empty());
}

TEST_CASE("modules are found under either spelling, loaded, built in or to be loaded") {
  test::FakeRoot root;
  root.write("proc/sys/kernel/osrelease", "6.1.0\n");
  root.write("sys/module/kvm_amd/initstate", "live\n");
  root.write("lib/modules/6.1.0/modules.builtin", "kernel/drivers/vfio/vfio.ko\n");
  root.write("lib/modules/6.1.0/modules.dep",
             "kernel/drivers/vfio/pci/vfio-pci-core.ko.xz:\n"
             "kernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/x.ko.xz\n");
  const Sysfs sysfs(root.path());
  CHECK(is_module_loaded(sysfs, "kvm-amd"));
  CHECK(is_module_loaded(sysfs, "vfio"));
  CHECK_FALSE(is_module_loaded(sysfs, "vfio-pci"));
  CHECK(is_module_available(sysfs, "6.1.0", "vfio_pci"));
  CHECK_FALSE(is_module_available(sysfs, "6.1.0", "vfio-mdev"));
  CHECK_FALSE(is_module_available(sysfs, "6.2.0", "vfio-pci"));
}

TEST_CASE("a module that does not exist can't be loaded, and the error names it") {
  // modprobe itself says no, or is not installed; nothing is loaded either way.
  const std::string fault =
      fault_of([] { load_module(Sysfs(), "vmrig-no-such-module"); }, ExitStatus::kHost);
  CHECK(contains(fault, "vmrig-no-such-module"));
}
