// The small Linux guest of tests/guest, as tests boot it.
#pragma once

#include <chrono>
#include <string>

#include "hostcfg/base/json.hpp"
#include "tests/support/vm_guard.hpp"

namespace vmrig::testing {

inline constexpr const char* kGuestGreeting = "vmrig guest ready";
inline constexpr std::chrono::seconds kGuestBootTime{90};

// Where its kernel and initramfs are: VMRIG_GUEST of the environment, else build/guest; empty when
// they have not been built.
std::string guest_folder();

// A VM of 256 MiB under TCG that boots it. `parameters`: of the kernel, see tests/guest/root/init.
Json guest_config(const VmGuard& guard, const std::string& name,
                  const std::string& parameters = {});

}  // namespace vmrig::testing

// Needs tests/support/skip.hpp.
#define NEED_GUEST()                                                               \
  do {                                                                             \
    if (vmrig::testing::guest_folder().empty()) {                                  \
      SKIP_TEST("no guest (tests/guest/build.sh makes it)");                       \
    }                                                                              \
    if (vmrig::testing::system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64"); \
  } while (false)
