// What vmrig-attach, vmrig-detach and vmrig-set are asked, read and checked.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>

#include "hostcfg/base/bytes.hpp"
#include "hostcfg/base/json.hpp"
#include "launcher/hotplug/attach_plan.hpp"

namespace vmrig {

inline constexpr std::chrono::seconds kDefaultHotplugTimeout{30};

// {"kind": "disk", "device": {…}, "timeout": 30}
struct AttachRequest {
  DeviceKind kind = DeviceKind::kDisk;
  Json device;
  std::chrono::milliseconds timeout = kDefaultHotplugTimeout;
};
AttachRequest attach_request(const Json& arguments);  // throws vmrig::Error (kUsage)

// {"id": "disk1", "timeout": 30}
struct DetachRequest {
  std::string id;
  std::chrono::milliseconds timeout = kDefaultHotplugTimeout;
};
DetachRequest detach_request(const Json& arguments);  // throws vmrig::Error (kUsage)

// {"vcpus": 4, "memory": "4GiB", "balloon": "2GiB", "link": {"net0": "up"}, "timeout": 30}, at
// least one of the first four.
struct SetRequest {
  enum class Link { kUp, kDown };
  std::optional<int> vcpus;
  std::optional<Bytes> memory;
  std::optional<Bytes> balloon;
  std::map<std::string, Link> links;  // by the NIC's id
  std::chrono::milliseconds timeout = kDefaultHotplugTimeout;
};
SetRequest set_request(const Json& arguments);  // throws vmrig::Error (kUsage)

}  // namespace vmrig
