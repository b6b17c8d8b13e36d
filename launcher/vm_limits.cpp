#include "launcher/vm_limits.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <variant>

#include "hostcfg/folder_reader.hpp"

namespace vmrig {
namespace {

constexpr std::size_t kLimit = std::size_t{1} << 20;

std::string read_file(const std::optional<FolderReader>& folder, const std::string& file) {
  if (!folder) return {};
  return std::string(trimmed(folder->text(file.c_str(), kLimit).value_or(std::string())));
}

// "8:0 rbps=… …" among the lines of io.max.
std::string device_line(const std::string& content, const std::string& device) {
  std::string_view text = content;
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    if (line.starts_with(device + " ")) return std::string(line);
  }
  return {};
}

bool has_process(const std::string& procs, pid_t pid) {
  std::string_view text = procs;
  while (!text.empty()) {
    if (parse_number<pid_t>(take_line(text)) == pid) return true;
  }
  return false;
}

// "usage_usec 12345" among the lines of cpu.stat.
std::optional<std::uint64_t> cpu_time(const std::string& content) {
  std::string_view text = content;
  while (!text.empty()) {
    std::string_view line = take_line(text);
    if (take_word(line) == "usage_usec") return parse_number<std::uint64_t>(line);
  }
  return std::nullopt;
}

std::string used(const VmLimits& limits, const std::string& file) {
  if (file == "memory.max" && limits.memory) {
    return fmt::format(" ({} MiB used)", limits.memory->value >> 20);
  }
  if (file == "pids.max" && limits.tasks) return fmt::format(" ({} used)", *limits.tasks);
  return {};
}

}  // namespace

bool VmLimits::as_wanted() const {
  return has_qemu && std::all_of(readings.begin(), readings.end(), [](const LimitReading& reading) {
           return reading.wanted == reading.found;
         });
}

std::optional<VmLimits> read_vm_limits(const VmState& state) {
  std::optional<VmLimits> limits;
  for (const HostChange& change : state.host_changes) {
    if (change.action.is_null()) continue;
    const HostAction action = host_action_from_json(change.action);
    if (const auto* cgroup = std::get_if<CreateCgroup>(&action)) {
      limits.emplace();
      limits->group = cgroup->group;
      const auto folder = FolderReader::open(cgroup->group);
      for (const auto& [file, value] : cgroup->settings) {
        limits->readings.push_back({file, value, read_file(folder, file)});
      }
      limits->has_qemu = has_process(read_file(folder, "cgroup.procs"), state.qemu.pid);
      if (const auto bytes = parse_number<std::uint64_t>(read_file(folder, "memory.current"))) {
        limits->memory = Bytes{*bytes};
      }
      limits->tasks = parse_number<std::uint64_t>(read_file(folder, "pids.current"));
      limits->cpu_us = cpu_time(read_file(folder, "cpu.stat"));
    } else if (const auto* device = std::get_if<LimitDevice>(&action); device && limits) {
      const std::string content = read_file(FolderReader::open(device->group), "io.max");
      limits->readings.push_back(
          {"io.max " + device->device, device->line(), device_line(content, device->device)});
    }
  }
  return limits;
}

std::string limits_text(const VmLimits& limits) {
  std::string text;
  for (const LimitReading& reading : limits.readings) {
    const bool is_device = reading.file.starts_with("io.max ");
    text += (text.empty() ? "" : ", ") +
            (is_device ? "device " + reading.found : setting_text(reading.file, reading.found)) +
            used(limits, reading.file);
  }
  return text.empty() ? "none, in " + limits.group : text;
}

}  // namespace vmrig
