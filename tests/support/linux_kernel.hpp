// What QEMU takes for a Linux kernel, where none is to run.
#pragma once

#include <string>

namespace vmrig::testing {

// The header of the boot protocol, version 2.12, and nothing behind it
// (linux Documentation/arch/x86/boot.rst).
std::string linux_kernel_header();

}  // namespace vmrig::testing
