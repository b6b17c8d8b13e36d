#include "launcher/config/load_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "hostcfg/base/shape_reader.hpp"
#include "hostcfg/base/shape_writer.hpp"
#include "hostcfg/base/utf8.hpp"
#include "launcher/config/substitute.hpp"

namespace vmrig {
namespace {

// The profile has to be known before the other keys: it is what they default to. A bad value is
// reported when its key is read.
Profile profile_of(const Json& root) {
  if (!root.is_object()) return Profile::kPlain;
  auto found = root.find("profile");
  return found != root.end() && *found == Json(name_of(Profile::kNfv)) ? Profile::kNfv
                                                                       : Profile::kPlain;
}

void make_absolute(std::string& path, const std::string& folder) {
  if (!path.empty() && path.front() != '/') path = folder + "/" + path;
}

void make_absolute(std::optional<std::string>& path, const std::string& folder) {
  if (path) make_absolute(*path, folder);
}

void make_paths_absolute(VmConfig& config, const std::string& folder) {
  // A bare name is looked up in PATH, as a shell would.
  if (config.qemu.find('/') != std::string::npos) make_absolute(config.qemu, folder);
  make_absolute(config.boot.kernel, folder);
  make_absolute(config.boot.initrd, folder);
  for (DiskConfig& disk : config.disks) make_absolute(disk.path, folder);
  for (UsbConfig& usb : config.usb) make_absolute(usb.path, folder);
  for (SerialConfig& serial : config.serial) make_absolute(serial.path, folder);
  for (NicConfig& nic : config.nics) make_absolute(nic.vhost_user.socket, folder);
  for (VfioConfig& vfio : config.vfio) make_absolute(vfio.romfile, folder);
}

// The folder's name is the one part of a path that no rule has seen yet.
void check_paths(const VmConfig& config, const ConfigSource& source) {
  std::vector<std::string> paths = paths_of(config);
  paths.push_back(config.qemu);
  if (std::all_of(paths.begin(), paths.end(), [](const auto& path) { return is_utf8(path); })) {
    return;
  }
  throw DiagnosticsError(
      {{.path = {},
        .message = fmt::format("its paths are relative to {}, which is no UTF-8, and QEMU's "
                               "options and QMP are in UTF-8",
                               quote(source.folder)),
        .mend = "absolute paths, or another name for the folder",
        .file = source.file,
        .line = 0}});
}

}  // namespace

VmConfig load_config(const ConfigSource& source) {
  std::vector<Diagnostic> diagnostics;
  JsonDocument document = JsonDocument::parse(source.text, source.file, diagnostics);
  if (document.root().is_null()) {
    if (diagnostics.empty()) {
      diagnostics.push_back({.path = {},
                             .message = "holds no config but null",
                             .mend = {},
                             .file = source.file,
                             .line = 1});
    }
    throw DiagnosticsError(std::move(diagnostics));
  }
  substitute_environment(document, source.environment, diagnostics);
  for (const std::string& setting : source.settings) {
    apply_setting(document, setting, diagnostics);
  }
  VmConfig config = defaults_for(profile_of(document.root()));
  read_shape(
      document, [&](Shape& shape) { visit(shape, config); }, diagnostics);
  if (!diagnostics.empty()) throw DiagnosticsError(std::move(diagnostics));
  make_paths_absolute(config, source.folder);
  check_paths(config, source);
  return config;
}

Json to_json(const VmConfig& config) {
  VmConfig copy = config;
  return write_shape([&](Shape& shape) { visit(shape, copy); });
}

VmConfig config_from_json(const Json& json) {
  std::vector<Diagnostic> diagnostics;
  VmConfig config = defaults_for(profile_of(json));
  read_shape(
      json, "", [&](Shape& shape) { visit(shape, config); }, diagnostics);
  if (!diagnostics.empty()) throw DiagnosticsError(std::move(diagnostics));
  return config;
}

Json config_schema() {
  VmConfig config = defaults_for(Profile::kPlain);
  Json schema = write_schema([&](Shape& shape) { visit(shape, config); });
  schema["$schema"] = "https://json-schema.org/draft/2020-12/schema";
  schema["title"] = "vmrig VM configuration";
  return schema;
}

}  // namespace vmrig
