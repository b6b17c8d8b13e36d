#include "launcher/hotplug/requests.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "hostcfg/base/error.hpp"

namespace vmrig {
namespace {

constexpr double kMaxTimeoutS = 86400;

[[noreturn]] void refuse(const char* command, const std::string& key, const std::string& cause,
                         const char* mend) {
  throw Error({.status = ExitStatus::kUsage,
               .operation = std::string(command) + " takes no such value of",
               .object = key,
               .cause = cause,
               .mend = mend});
}

constexpr const char* kAttachForm = R"({"kind": "disk", "device": {…}, "timeout": 30})";
constexpr const char* kDetachForm = R"({"id": "disk1", "timeout": 30})";
constexpr const char* kSetForm =
    R"({"vcpus": 4, "memory": "4GiB", "balloon": "2GiB", "link": {"net0": "up"}, "timeout": 30})";

std::chrono::milliseconds timeout_of(const char* command, const Json& value, const char* mend) {
  if (!value.is_number() || value.get<double>() < 0 || value.get<double>() > kMaxTimeoutS) {
    refuse(command, "timeout", "a number of seconds up to a day is wanted", mend);
  }
  return std::chrono::milliseconds(static_cast<std::int64_t>(value.get<double>() * 1000));
}

std::string text_of(const char* command, const std::string& key, const Json& value,
                    const char* mend) {
  if (!value.is_string()) refuse(command, key, "a string is wanted", mend);
  return value.get<std::string>();
}

SetRequest::Link link_of(const std::string& id, const Json& value) {
  if (value == "up") return SetRequest::Link::kUp;
  if (value == "down") return SetRequest::Link::kDown;
  refuse("vmrig-set", "link." + id, "\"up\" or \"down\" is wanted", kSetForm);
}

}  // namespace

AttachRequest attach_request(const Json& arguments) {
  constexpr const char* kCommand = "vmrig-attach";
  AttachRequest request;
  bool has_kind = false;
  for (const auto& [key, value] : arguments.items()) {
    if (key == "kind") {
      request.kind = kind_from_name(text_of(kCommand, key, value, kAttachForm));
      has_kind = true;
    } else if (key == "device") {
      if (!value.is_object()) refuse(kCommand, key, "an object is wanted", kAttachForm);
      request.device = value;
    } else if (key == "timeout") {
      request.timeout = timeout_of(kCommand, value, kAttachForm);
    } else {
      refuse(kCommand, key, "there is no such argument", kAttachForm);
    }
  }
  if (!has_kind) refuse(kCommand, "kind", "it is missing", kAttachForm);
  if (request.device.is_null()) refuse(kCommand, "device", "it is missing", kAttachForm);
  return request;
}

DetachRequest detach_request(const Json& arguments) {
  constexpr const char* kCommand = "vmrig-detach";
  DetachRequest request;
  for (const auto& [key, value] : arguments.items()) {
    if (key == "id") {
      request.id = text_of(kCommand, key, value, kDetachForm);
    } else if (key == "timeout") {
      request.timeout = timeout_of(kCommand, value, kDetachForm);
    } else {
      refuse(kCommand, key, "there is no such argument", kDetachForm);
    }
  }
  if (request.id.empty()) refuse(kCommand, "id", "it is missing", kDetachForm);
  return request;
}

SetRequest set_request(const Json& arguments) {
  constexpr const char* kCommand = "vmrig-set";
  SetRequest request;
  for (const auto& [key, value] : arguments.items()) {
    if (key == "vcpus") {
      const bool fits = value.is_number_integer() && value.get<std::int64_t>() >= 1 &&
                        value.get<std::int64_t>() <= std::numeric_limits<int>::max();
      if (!fits) refuse(kCommand, key, "a whole number from 1 is wanted", kSetForm);
      request.vcpus = value.get<int>();
    } else if (key == "memory" || key == "balloon") {
      try {
        (key == "memory" ? request.memory : request.balloon) =
            parse_bytes(text_of(kCommand, key, value, kSetForm));
      } catch (const std::invalid_argument& fault) {
        refuse(kCommand, key, fault.what(), kSetForm);
      }
    } else if (key == "link") {
      if (!value.is_object()) refuse(kCommand, key, "an object is wanted", kSetForm);
      for (const auto& [id, state] : value.items()) request.links[id] = link_of(id, state);
    } else if (key == "timeout") {
      request.timeout = timeout_of(kCommand, value, kSetForm);
    } else {
      refuse(kCommand, key, "there is no such argument", kSetForm);
    }
  }
  if (!request.vcpus && !request.memory && !request.balloon && request.links.empty()) {
    refuse(kCommand, "arguments", "there is nothing to set", kSetForm);
  }
  return request;
}

}  // namespace vmrig
