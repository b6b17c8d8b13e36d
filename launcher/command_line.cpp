#include "launcher/command_line.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "launcher/plan.hpp"

namespace vmrig {
namespace {

void append_keyval(const std::string& key, const Json& value, std::string& out) {
  if (value.is_object()) {
    for (const auto& [name, member] : value.items()) {
      append_keyval(key.empty() ? name : key + "." + name, member, out);
    }
    return;
  }
  if (value.is_array()) {
    for (std::size_t i = 0; i < value.size(); ++i) {
      append_keyval(fmt::format("{}.{}", key, i), value[i], out);
    }
    return;
  }
  if (!out.empty()) out += ',';
  out += key + "=";
  if (value.is_boolean()) {
    out += value.get<bool>() ? "on" : "off";
  } else if (value.is_string()) {
    out += escape_commas(value.get_ref<const std::string&>());
  } else {
    out += value.dump();
  }
}

// QEMU 5.2 parses -object, -device and -netdev with the older QemuOpts: the first key stands
// bare, lists of strings repeat their key, and a list of numbers is a range.
std::string legacy_options(Json props, std::string_view first_key) {
  std::string out = escape_commas(props.at(first_key).get_ref<const std::string&>());
  props.erase(std::string(first_key));
  // It has no way to write a struct; a throttle group's limits are properties of their own as well.
  if (props.contains("limits")) {
    for (const auto& [key, value] : props.at("limits").items()) props["x-" + key] = value;
    props.erase("limits");
  }
  for (const auto& [key, value] : props.items()) {
    if (!value.is_array()) {
      append_keyval(key, value, out);
      continue;
    }
    for (const Json& item : value) {
      append_keyval(key, item.is_object() ? item.at("str") : item, out);
    }
  }
  return out;
}

// A chardev has no JSON form on any command line; this is its QMP form flattened by hand.
std::string chardev_options(const Json& props) {
  const Json& backend = props.at("backend");
  std::string out = backend.at("type").get<std::string>();
  append_keyval("id", props.at("id"), out);
  Json data = backend.at("data");
  if (data.contains("addr")) {
    const Json address = data.at("addr");
    data.erase("addr");
    if (address.at("type") == "fd") {
      append_keyval("fd", address.at("data").at("str"), out);
    } else {
      append_keyval("", address.at("data"), out);
    }
  }
  if (data.contains("out")) {
    data["path"] = data.at("out");
    data.erase("out");
  }
  append_keyval("", data, out);
  return out;
}

std::vector<std::string> render_backend(const Backend& backend, const qmp::QemuCaps& caps) {
  switch (backend.kind) {
    case BackendKind::kObject:
      return {"-object", caps.json_cli_object ? backend.props.dump()
                                              : legacy_options(backend.props, "qom-type")};
    case BackendKind::kBlockdev:
      return {"-blockdev", backend.props.dump()};
    case BackendKind::kNetdev:
      return {"-netdev",
              caps.json_cli_netdev ? backend.props.dump() : legacy_options(backend.props, "type")};
    case BackendKind::kChardev:
      break;
  }
  return {"-chardev", chardev_options(backend.props)};
}

}  // namespace

std::string escape_commas(std::string_view value) {
  std::string out;
  for (char c : value) {
    out += c;
    if (c == ',') out += ',';
  }
  return out;
}

std::string keyval(const Json& object) {
  std::string out;
  append_keyval("", object, out);
  return out;
}

std::vector<QemuArgument> render_device(const DeviceDescription& device,
                                        const qmp::QemuCaps& caps) {
  std::vector<QemuArgument> list;
  for (const Backend& backend : device.backends) {
    list.push_back({render_backend(backend, caps), device.origin});
  }
  for (const FrontEnd& front_end : device.front_ends) {
    list.push_back({{"-device", caps.json_cli_device ? front_end.props.dump()
                                                     : legacy_options(front_end.props, "driver")},
                    device.origin});
  }
  return list;
}

}  // namespace vmrig
