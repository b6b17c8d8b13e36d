// KVM, and handing devices to a VM.
#include <fmt/format.h>

#include "hostcfg/host_check_rows.hpp"

namespace vmrig {
namespace {

bool is_amd(const HostFacts& facts) { return facts.cpu_vendor == "AuthenticAMD"; }

std::string kvm_module(const HostFacts& facts) {
  return is_amd(facts) || facts.svm ? "kvm_amd" : "kvm_intel";
}

bool is_denied(const DeviceFile& node) { return node.error == "Permission denied"; }

}  // namespace

void HostCheck::virtualisation() {
  const char* name = "virtualisation";
  const std::string cpu = facts_.cpu_model.empty() ? "" : ", " + facts_.cpu_model;
  if (facts_.vmx || facts_.svm) return ok(name, (facts_.vmx ? "vmx" : "svm") + cpu);
  std::string found = "the CPU shows neither vmx nor svm" + cpu;
  if (facts_.kvm.opens) {
    found += "; /dev/kvm is there all the same: under such a KVM an ordinary guest may hang";
  }
  if (facts_.hypervisor) {
    return lacks(wishes_.kvm, name, found + "; this host is itself a virtual machine",
                 fmt::format("on its own host: modprobe -r {0} && modprobe {0} nested=1, and "
                             "CPU model host for this machine",
                             kvm_module(facts_)));
  }
  lacks(wishes_.kvm, name, std::move(found),
        fmt::format("enable {} in the firmware setup",
                    is_amd(facts_) ? "SVM (AMD-V)" : "Intel VT-x"));
}

void HostCheck::kvm_device() {
  const char* name = "/dev/kvm";
  const DeviceFile& kvm = facts_.kvm;
  std::string owner;
  if (settings_.kvm_owner) {
    owner = fmt::format("{}:{} {:04o}", settings_.kvm_owner->user, settings_.kvm_owner->group,
                        settings_.kvm_owner->mode);
  }
  if (kvm.opens) {
    return ok(name, fmt::format("opens for {}{}", settings_.user_name,
                                owner.empty() ? "" : " (" + owner + ")"));
  }
  if (!kvm.exists) {
    return lacks(wishes_.kvm, name, "there is none",
                 fmt::format("modprobe {}; in a container: --device /dev/kvm", kvm_module(facts_)),
                 fmt::format("{} in /etc/modules-load.d/kvm.conf", kvm_module(facts_)));
  }
  std::string found = fmt::format("does not open for {}: {}{}", settings_.user_name, kvm.error,
                                  owner.empty() ? "" : " (" + owner + ")");
  if (!is_denied(kvm) || facts_.user_id == 0 || !settings_.kvm_owner) {
    return lacks(wishes_.kvm, name, std::move(found),
                 "allow the device where this runs (a container: --device /dev/kvm)");
  }
  const bool group_may = (settings_.kvm_owner->mode & 0060U) == 0060U;
  if (group_may && settings_.kvm_owner->group != "root") {
    return lacks(wishes_.kvm, name, std::move(found),
                 fmt::format("usermod -aG {} {}, and log in again", settings_.kvm_owner->group,
                             settings_.user_name));
  }
  lacks(wishes_.kvm, name, std::move(found),
        fmt::format("chgrp kvm /dev/kvm && chmod 0660 /dev/kvm && usermod -aG kvm {}",
                    settings_.user_name));
}

// No VM needs it to run; whoever wants VMs inside of VMs looks for it here.
void HostCheck::nested() {
  if (!settings_.nested) return ok("nested KVM", "not told: no kvm_intel or kvm_amd is loaded");
  if (*settings_.nested) return ok("nested KVM", "on: guests may have KVM themselves");
  ok("nested KVM", fmt::format("off (for KVM inside of guests: modprobe -r {0} && modprobe {0} "
                               "nested=1)",
                               kvm_module(facts_)));
}

std::string HostCheck::why_no_iommu_mend() const {
  const std::string boot =
      kernel_parameter(is_amd(facts_) ? "iommu=pt" : "intel_iommu=on iommu=pt");
  if (settings_.iommu.firmware_table) return boot;
  if (facts_.hypervisor) {
    return fmt::format(
        "give this virtual machine an IOMMU (QEMU: -device intel-iommu,intremap=on)"
        ", then {}",
        kernel_parameter("intel_iommu=on iommu=pt"));
  }
  return fmt::format("enable {} in the firmware setup, then {}",
                     is_amd(facts_) ? "the IOMMU (AMD-Vi)" : "VT-d", boot);
}

void HostCheck::iommu() {
  const char* name = "IOMMU";
  const IommuSettings& iommu = settings_.iommu;
  if (iommu.groups == 0) {
    std::string found = iommu.firmware_table ? "the firmware has one, the kernel does not use it"
                                             : "none: no device can be handed to a VM";
    if (facts_.vfio.noiommu) found += "; unsafe no-IOMMU mode is on, which vmrig does not use";
    return lacks(wishes_.vfio, name, std::move(found), why_no_iommu_mend());
  }
  std::string found = fmt::format("{} groups", iommu.groups);
  for (const char* known : {"intel_iommu", "amd_iommu", "iommu"}) {
    if (const auto value = parameter(known)) found += fmt::format(", {}={}", known, *value);
  }
  if (iommu.passthrough == iommu.groups) return ok(name, found + "; the host's own DMA passes");
  const int translated = iommu.groups - iommu.passthrough;
  // A device of a running VM has a domain of its own, but the group's default one is told.
  found += iommu.passthrough == 0
               ? "; the host's own DMA is translated too, which costs its network cards time"
               : fmt::format("; the host's own DMA is translated in {} of them", translated);
  if (iommu.passthrough > 0) return ok(name, std::move(found));
  lacks(useful_if(wishes_.network), name, std::move(found), kernel_parameter("iommu=pt"));
}

void HostCheck::interrupt_remapping() {
  const char* name = "interrupt remapping";
  const IommuSettings& iommu = settings_.iommu;
  if (iommu.remaps_interrupts) return ok(name, "on");
  if (iommu.groups == 0) {
    return lacks(wishes_.vfio, name, "off, as there is no IOMMU in use", why_no_iommu_mend());
  }
  if (iommu.unsafe_interrupts) {
    const Need need = wishes_.vfio == Need::kRequired ? Need::kUseful : wishes_.vfio;
    return lacks(need, name,
                 "off, and allow_unsafe_interrupts lets VFIO work: a guest with a device can raise "
                 "any interrupt of the host",
                 "enable interrupt remapping (x2APIC) in the firmware setup, then "
                 "echo N > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts");
  }
  std::string refused;
  for (const std::string& text : facts_.kernel_parameters) {
    if (text == "--") break;
    const bool turns_off = text == "nointremap" || text == "intremap=off";
    if (turns_off) refused = text;
  }
  if (!refused.empty()) {
    return lacks(wishes_.vfio, name,
                 fmt::format("off by the kernel parameter {}: VFIO refuses devices", refused),
                 fmt::format("boot without {}", refused));
  }
  lacks(wishes_.vfio, name,
        "off: VFIO refuses devices (unless vfio_iommu_type1.allow_unsafe_interrupts=1, which "
        "trusts every guest)",
        facts_.hypervisor ? "on this virtual machine's own host: -device intel-iommu,intremap=on"
                          : "enable interrupt remapping (x2APIC) in the firmware setup");
}

void HostCheck::vfio_modules() {
  const char* name = "VFIO";
  const VfioFacts& vfio = facts_.vfio;
  const std::string form = vfio.iommufd.exists ? "; iommufd too" : "";
  if (vfio.driver_present) return ok(name, "vfio-pci is there" + form);
  if (vfio.module_available && facts_.user_id == 0) {
    return ok(name, "vfio-pci can be loaded, which vmrig does" + form);
  }
  if (vfio.module_available) {
    return lacks(wishes_.vfio, name, "vfio-pci is not loaded", "modprobe vfio-pci",
                 "vfio-pci in /etc/modules-load.d/vfio.conf");
  }
  lacks(wishes_.vfio, name, fmt::format("the kernel {} has no vfio-pci", facts_.kernel_release),
        "install the kernel's modules, or boot a kernel with CONFIG_VFIO_PCI");
}

void HostCheck::vhost_net() {
  const char* name = "vhost-net";
  const DeviceFile& node = facts_.vhost_net;
  if (node.opens) return ok(name, "/dev/vhost-net opens");
  if (node.exists) {
    return lacks(wishes_.vhost, name, "/dev/vhost-net does not open: " + node.error,
                 fmt::format("setfacl -m u:{}:rw /dev/vhost-net, or run vmrig as root",
                             settings_.user_name));
  }
  if (facts_.vhost_net_available && facts_.user_id == 0) {
    return ok(name, "the module can be loaded, which vmrig does");
  }
  if (facts_.vhost_net_available) {
    return lacks(wishes_.vhost, name, "the module is not loaded", "modprobe vhost_net",
                 "vhost_net in /etc/modules-load.d/vhost.conf");
  }
  lacks(wishes_.vhost, name,
        fmt::format("the kernel {} has no vhost_net: QEMU copies the packets itself",
                    facts_.kernel_release),
        "install the kernel's modules, or boot a kernel with CONFIG_VHOST_NET");
}

}  // namespace vmrig
