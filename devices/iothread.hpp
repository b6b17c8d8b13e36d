// A thread of QEMU's that serves disks beside the main loop.
#pragma once

#include <string>

#include "devices/description.hpp"
#include "hostcfg/base/cpu_set.hpp"
#include "hostcfg/base/shape.hpp"
#include "hostcfg/base/thread_scheduler.hpp"

namespace vmrig {

struct IothreadConfig {
  std::string id;            // to 12 bytes: Linux cuts thread names at 15, "IO " stands before it
  std::string pin = "none";  // "none", "auto" or a cpulist
  ThreadScheduler scheduler;
};

void describe(Fields& fields, IothreadConfig& iothread);

DeviceDescription describe_iothread(const IothreadConfig& iothread, std::string origin);

}  // namespace vmrig
