#include "launcher/commands/environment.hpp"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "launcher/caps_cache.hpp"
#include "launcher/state_dir.hpp"

namespace vmrig {

std::string environment_value(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  return value == nullptr ? std::string() : std::string(value);
}

std::map<std::string, std::string> whole_environment() {
  std::map<std::string, std::string> all;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    all.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return all;
}

std::string state_folder(const Context& context) {
  if (!context.state_dir.empty()) return absolute_path(context.state_dir);
  return default_state_folder(::geteuid(), environment_value("XDG_RUNTIME_DIR"));
}

std::string cache_folder() {
  std::string given = environment_value("VMRIG_CACHE_DIR");
  if (!given.empty()) return absolute_path(given);
  return default_cache_folder(::geteuid(), environment_value("XDG_CACHE_HOME"),
                              environment_value("HOME"));
}

std::string qmp_history_file() {
  std::string base = environment_value("XDG_STATE_HOME");
  if (!base.starts_with('/')) {
    base = environment_value("HOME");
    if (!base.starts_with('/')) return {};
    base += "/.local/state";
  }
  std::error_code error;
  std::filesystem::create_directories(base + "/vmrig", error);
  return error ? std::string() : base + "/vmrig/qmp-history";
}

ServiceSettings take_service_settings() {
  ServiceSettings settings =
      service_settings(environment_value("NOTIFY_SOCKET"), environment_value("WATCHDOG_USEC"),
                       environment_value("WATCHDOG_PID"), ::getpid());
  for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) {
    ::unsetenv(name);  // NOLINT(concurrency-mt-unsafe)
  }
  return settings;
}

std::string absolute_path(const std::string& path) {
  if (path.starts_with('/')) return path;
  std::error_code error;
  const std::filesystem::path here = std::filesystem::current_path(error);
  if (error) throw system_error("find the working folder", {}, error.value());
  return (here / path).string();
}

}  // namespace vmrig
