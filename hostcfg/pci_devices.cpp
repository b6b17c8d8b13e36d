#include "hostcfg/pci_devices.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include "hostcfg/iommu_group.hpp"

namespace vmrig {
namespace {

constexpr int kMaxNode = 4095;
constexpr int kMaxVfs = 65535;
constexpr int kMaxGroup = 1 << 20;

std::string_view last_part(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

std::optional<PciAddress> parse_address(std::string_view text) {
  // Cheap refusal of the other names in a path, before an exception is paid for.
  if (text.size() < 7 || text[text.size() - 2] != '.') return std::nullopt;
  try {
    return PciAddress::parse(text);
  } catch (const std::invalid_argument&) {
    return std::nullopt;
  }
}

// "0x8086" of the files vendor, device and class.
template <typename Number>
Number hexadecimal_file(const FolderReader& folder, const char* name) {
  const std::string text = folder.attribute(name).value_or(std::string{});
  std::string_view digits = trimmed(text);
  if (digits.substr(0, 2) == "0x") digits.remove_prefix(2);
  return parse_number<Number>(digits, 16).value_or(Number{0});
}

// One read tells what would take four files: DRIVER=, PCI_CLASS=, PCI_ID=8086:1563.
bool read_uevent(const FolderReader& folder, PciDeviceFacts& device) {
  const std::string content = folder.attribute("uevent").value_or(std::string{});
  std::string_view text = content;
  bool identified = false;
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view key = line.substr(0, equals);
    const std::string_view value = line.substr(equals + 1);
    if (key == "DRIVER") {
      device.driver = value;
    } else if (key == "PCI_CLASS") {
      device.class_code = parse_number<std::uint32_t>(value, 16).value_or(0) & 0xffffff;
    } else if (key == "PCI_SUBSYS_ID" && value.size() == 9 && value[4] == ':') {
      device.subsystem_vendor = parse_number<std::uint16_t>(value.substr(0, 4), 16).value_or(0);
      device.subsystem_device = parse_number<std::uint16_t>(value.substr(5), 16).value_or(0);
    } else if (key == "PCI_ID" && value.size() == 9 && value[4] == ':') {
      device.vendor = parse_number<std::uint16_t>(value.substr(0, 4), 16).value_or(0);
      device.device = parse_number<std::uint16_t>(value.substr(5), 16).value_or(0);
      identified = true;
    }
  }
  return identified;
}

void read_sriov(const FolderReader& folder, PciDeviceFacts& device) {
  if (const auto link = folder.link("physfn")) {
    device.physical_function = parse_address(last_part(*link));
    return;
  }
  device.total_vfs = std::clamp(folder.number<int>("sriov_totalvfs").value_or(0), 0, kMaxVfs);
  if (device.total_vfs == 0) return;
  device.num_vfs = std::clamp(folder.number<int>("sriov_numvfs").value_or(0), 0, device.total_vfs);
  device.vf_offset = std::clamp(folder.number<int>("sriov_offset").value_or(0), 0, kMaxVfs);
  device.vf_stride = std::clamp(folder.number<int>("sriov_stride").value_or(0), 0, kMaxVfs);
}

std::vector<std::string> read_reset_methods(const FolderReader& folder) {
  std::vector<std::string> methods;
  if (const auto text = folder.attribute("reset_method")) {
    std::string_view left = *text;
    while (!left.empty()) {
      const std::string_view method = take_word(left);
      if (!method.empty()) methods.emplace_back(method);
    }
  } else if (folder.exists("reset")) {
    methods.emplace_back("unnamed");
  }
  return methods;
}

// What matters when a VM is to have the device; bridges never go to one.
void read_handover(const FolderReader& folder, PciDeviceFacts& device) {
  device.revision = hexadecimal_file<std::uint8_t>(folder, "revision");
  device.driver_override = folder.attribute("driver_override").value_or(std::string{});
  if (device.driver_override == "(null)") device.driver_override.clear();
  device.reset_methods = read_reset_methods(folder);
  constexpr std::uint32_t kDisplay = 0x03;
  device.boot_vga = device.class_code >> 16 == kDisplay && folder.attribute("boot_vga") == "1";
  if (!is_vfio_driver(device.driver)) return;
  const std::vector<std::string> nodes = folder.names("vfio-dev");
  if (!nodes.empty()) device.vfio_device = nodes.front();
}

PciDeviceFacts read_device(const FolderReader& folder, const PciAddress& address) {
  PciDeviceFacts device;
  device.address = address;
  if (!read_uevent(folder, device)) {
    device.vendor = hexadecimal_file<std::uint16_t>(folder, "vendor");
    device.device = hexadecimal_file<std::uint16_t>(folder, "device");
    device.class_code = hexadecimal_file<std::uint32_t>(folder, "class") & 0xffffff;
    device.driver = last_part(folder.link("driver").value_or(std::string{}));
  }
  const int node = folder.number<int>("numa_node").value_or(-1);
  device.numa_node = node < 0 || node > kMaxNode ? -1 : node;
  if (const auto group = folder.link("iommu_group")) {
    const int number = parse_number<int>(last_part(*group)).value_or(-1);
    device.iommu_group = number < 0 || number > kMaxGroup ? -1 : number;
  }
  constexpr std::uint32_t kBridge = 0x06;  // bridges have no SR-IOV capability
  if (device.class_code >> 16 != kBridge) {
    read_sriov(folder, device);
    read_handover(folder, device);
  }
  return device;
}

// A VF does not know its number; its PF's links virtfn0, virtfn1, … do.
void number_vfs(const FolderReader& bus, std::vector<PciDeviceFacts>& devices) {
  for (const PciDeviceFacts& pf : devices) {
    if (pf.num_vfs == 0) continue;
    const auto folder = bus.folder(pf.address.to_string().c_str());
    if (!folder) continue;
    for (int index = 0; index < pf.num_vfs; ++index) {
      const auto link = folder->link(fmt::format("virtfn{}", index).c_str());
      const auto address = link ? parse_address(last_part(*link)) : std::nullopt;
      PciDeviceFacts* vf = address ? find_pci_device(devices, *address) : nullptr;
      if (vf != nullptr && vf->physical_function == pf.address) vf->vf_index = index;
    }
  }
}

}  // namespace

std::vector<PciDeviceFacts> read_pci_devices(const FolderReader& root) {
  std::vector<PciDeviceFacts> devices;
  const auto bus = root.folder("sys/bus/pci/devices");
  if (!bus) return devices;
  for (const std::string& name : bus->names(".")) {
    const std::optional<PciAddress> address = parse_address(name);
    // Another way to write it would be a second device at the address.
    if (!address || address->to_string() != name) continue;
    const auto folder = bus->folder(name.c_str());
    if (folder) devices.push_back(read_device(*folder, *address));
  }
  std::sort(devices.begin(), devices.end(),
            [](const PciDeviceFacts& a, const PciDeviceFacts& b) { return a.address < b.address; });
  number_vfs(*bus, devices);
  return devices;
}

PciDeviceFacts* find_pci_device(std::vector<PciDeviceFacts>& devices, const PciAddress& address) {
  const auto found = std::lower_bound(
      devices.begin(), devices.end(), address,
      [](const PciDeviceFacts& device, const PciAddress& key) { return device.address < key; });
  return found == devices.end() || found->address != address ? nullptr : &*found;
}

std::optional<PciAddress> pci_address_in(std::string_view path) {
  while (!path.empty()) {
    const std::string_view part = last_part(path);
    if (const auto address = parse_address(part)) return address;
    path.remove_suffix(std::min(path.size(), part.size() + 1));
  }
  return std::nullopt;
}

}  // namespace vmrig
