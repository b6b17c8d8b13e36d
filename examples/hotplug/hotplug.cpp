// Hotplugs a raw disk into a running VM, and unplugs it again, with libqmp-json.
//
//   hotplug SOCKET IMAGE BUS
//     SOCKET  a VM's qmp.sock (/run/vmrig/NAME/qmp.sock), or a monitor of any QEMU
//     IMAGE   a raw disk image
//     BUS     a free PCIe root port, as vmrig-port1
// Leaves the VM as it was, whatever fails. Without CMake:
//   c++ hotplug.cpp $(pkg-config --cflags --libs qmp-json) -o hotplug
#include <qmp/sync_client.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <string>

namespace {

constexpr const char* kNode = "hotplug-example";     // QEMU's back end
constexpr const char* kDevice = "hotplug-example0";  // what the guest sees
constexpr std::chrono::seconds kQuick{10};           // QEMU alone is asked
constexpr std::chrono::seconds kPatient{60};         // the guest has a say

void execute(qmp::SyncClient& vm, const std::string& command, qmp::Json arguments) {
  qmp::ExecuteOptions options;
  options.deadline = qmp::deadline_in(kQuick);
  vm.execute(command, std::move(arguments), std::move(options));
}

// A transaction of two steps: when the second fails, the first is undone, and the second's error is
// the one that counts.
void plug(qmp::SyncClient& vm, const std::string& image, const std::string& bus) {
  execute(vm, "blockdev-add",
          {{"driver", "raw"},
           {"node-name", kNode},
           {"file", {{"driver", "file"}, {"filename", image}}}});
  try {
    execute(vm, "device_add",
            {{"driver", "virtio-blk-pci"}, {"id", kDevice}, {"drive", kNode}, {"bus", bus}});
  } catch (const qmp::Error&) {
    execute(vm, "blockdev-del", {{"node-name", kNode}});
    throw;
  }
}

// device_del only asks the guest. The device is gone with DEVICE_DELETED, and only then may its
// back end go.
void unplug(qmp::SyncClient& vm) {
  execute(vm, "device_del", {{"id", kDevice}});
  const auto is_ours = [](const qmp::Event& event) {
    return event.name == "DEVICE_DELETED" && event.data.value("device", "") == kDevice;
  };
  // SyncClient keeps events that come between calls: one that preceded the reply is not missed.
  vm.wait_event(is_ours, qmp::deadline_in(kPatient));
  execute(vm, "blockdev-del", {{"node-name", kNode}});
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: hotplug SOCKET IMAGE BUS\n";
    return 2;
  }
  try {
    qmp::SyncClient vm = qmp::SyncClient::connect(argv[1], qmp::deadline_in(kQuick));
    const qmp::Greeting qemu = vm.handshake(qmp::deadline_in(kQuick));
    std::cout << "QEMU " << qemu.major << '.' << qemu.minor << '\n';
    plug(vm, argv[2], argv[3]);
    std::cout << "plugged " << kDevice << '\n';
    unplug(vm);
    std::cout << "unplugged " << kDevice << '\n';
    return 0;
  } catch (const qmp::Error& error) {
    // kind() tells what can be done: timeout after device_del means that the unplug is still
    // pending.
    std::cerr << "hotplug: " << error.what() << '\n';
    return error.kind() == qmp::ErrorKind::timeout ? 124 : 1;
  } catch (const std::exception& error) {
    std::cerr << "hotplug: " << error.what() << '\n';
    return 1;
  }
}
