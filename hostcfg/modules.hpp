// Kernel modules.
#pragma once

#include <string>
#include <vector>

#include "hostcfg/sysfs.hpp"

namespace vmrig {

// Loaded or built in. "vfio-pci" and "vfio_pci" are one name. A module that is built in and has no
// parameters has no folder in /sys/module: modules.builtin of the running kernel is asked then.
// Source: linux Documentation/ABI/stable/sysfs-module.
bool is_module_loaded(const Sysfs& sysfs, const std::string& name);

// Whether modprobe would find it: listed in modules.dep of the kernel `release`.
bool is_module_available(const Sysfs& sysfs, const std::string& release, const std::string& name);

// Runs /sbin/modprobe with the name as an argument of its own, no shell between; returns when
// it has ended. Nothing happens when the module is there. Throws vmrig::Error with what modprobe
// said.
void load_module(const Sysfs& sysfs, const std::string& name);

}  // namespace vmrig
