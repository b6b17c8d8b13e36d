// Hostile strings in all places of a config that can be started here: the QEMU that was started has
// the very words that `plan --argv` printed, and they are the plan's.
//
// VMRIG_FULL=1: every value, else a few that tell the most.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/utf8.hpp"
#include "launcher/config/load_config.hpp"
#include "launcher/text.hpp"
#include "tests/support/full_run.hpp"
#include "tests/support/hostile_values.hpp"
#include "tests/support/linux_kernel.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/string_places.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

constexpr std::size_t kDiskBytes = 1 << 20;
constexpr std::size_t kLongestFileName = 255;  // linux include/uapi/linux/limits.h NAME_MAX

const char* environment(const char* name) { return std::getenv(name); }  // NOLINT

// Each place that starts without rights and without a guest, with values of its own.
Json start_config(const VmGuard& guard) {
  Json config = guard.config("inject");
  config["boot"] = {{"kernel", "k/kernel"}, {"initrd", "i/initrd"}, {"cmdline", "quiet"}};
  config["disks"] =
      Json::array({{{"id", "d0"}, {"path", "d0/disk"}, {"format", "raw"}, {"serial", "serial0"}},
                   {{"id", "d1"},
                    {"path", "d1/disk"},
                    {"format", "raw"},
                    {"bus", "scsi"},
                    {"readonly", true}}});
  config["usb"] =
      Json::array({{{"id", "u0"}, {"type", "storage"}, {"path", "u0/disk"}, {"format", "raw"}}});
  config["serial"].push_back({{"id", "con1"}, {"type", "file"}, {"path", "s/log"}});
  config["nics"] = Json::array({{{"id", "n0"}, {"type", "user"}}});
  config["rngs"] = Json::array({{{"id", "r0"}}});
  config["iothreads"] = Json::array({{{"id", "io0"}}});
  return config;
}

bool is_path(const StringPlace& place) {
  return place.pointer.ends_with("/path") || place.pointer.ends_with("/kernel") ||
         place.pointer.ends_with("/initrd");
}

bool can_be_file_name(const std::string& value) {
  return value.size() <= kLongestFileName && value.find('/') == std::string::npos &&
         value.find('\0') == std::string::npos && value != "." && value != "..";
}

// Makes the files that a config of start_config's shape names.
void make_files(const VmGuard& guard, const Json& config) {
  const auto file = [&guard](const Json& path, const std::string& content) {
    const std::string name = guard.folder() / path.get<std::string>();
    ::mkdir(name.substr(0, name.rfind('/')).c_str(), 0700);
    write_text(name, content);
  };
  file(config.at("boot").at("kernel"), linux_kernel_header());
  file(config.at("boot").at("initrd"), std::string(8192, '\0'));
  for (const char* list : {"disks", "usb"}) {
    for (const Json& disk : config.at(list)) file(disk.at("path"), std::string(kDiskBytes, '\0'));
  }
  file(config.at("serial")[1].at("path"), "");
}

bool is_taken(const VmGuard& guard, const Json& config) {
  try {
    (void)load_config({.text = config.dump(),
                       .file = "inject.json",
                       .folder = guard.folder().path(),
                       .environment = {},
                       .settings = {}});
    return true;
  } catch (const DiagnosticsError&) {
    return false;
  }
}

// The config with the value wherever it can stand; `count` is in how many places.
Json with_value(const VmGuard& guard, const std::string& value, int& count) {
  Json config = start_config(guard);
  for (const StringPlace& place : string_places(config_schema(), config)) {
    const Json::json_pointer pointer(place.pointer);
    if (place.is_key || place.pointer == "/name" || place.pointer == "/qemu") continue;
    if (is_path(place) && !can_be_file_name(value)) continue;
    Json candidate = config;
    std::string placed = value;
    if (is_path(place)) {
      // In the folder of its own that the place has.
      const auto honest = config.at(pointer).get<std::string>();
      placed = honest.substr(0, honest.find('/') + 1) + value;
    }
    // "${" would be the environment's; and so would "$${", the other way round.
    if (placed.find("${") != std::string::npos) continue;
    candidate[pointer] = placed;
    if (!is_taken(guard, candidate)) continue;
    config = std::move(candidate);
    ++count;
  }
  return config;
}

std::vector<std::string> words_in(std::string_view text) {
  std::vector<std::string> words;
  while (!text.empty()) {
    const std::size_t end = text.find('\0');
    words.emplace_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return words;
}

// As a shell reads the line.
std::vector<std::string> shell_words(const std::string& line) {
  CommandRequest shell;
  shell.argv = {"sh"};
  shell.input = "printf '%s\\0' " + line;
  return words_in(run_command(shell).out);
}

bool is_script(const std::string& program) { return read_text(program).starts_with("#!"); }

void check_started(const VmGuard& guard, const std::string& path) {
  const CommandResult planned = guard.vmrig({"plan", path, "--argv"});
  REQUIRE_MESSAGE(planned.status == 0, planned.err);
  const CommandResult started = guard.vmrig({"start", "--paused", path});
  REQUIRE_MESSAGE(started.status == 0, started.err);
  REQUIRE(guard.qemus().size() == 1);
  const std::vector<std::string> words =
      words_in(read_text("/proc/" + std::to_string(guard.qemus().front()) + "/cmdline"));
  std::vector<std::string> expected = shell_words(planned.out);
  REQUIRE(words.size() >= expected.size());
  if (is_script(expected.front())) {
    // A wrapper: what it hands on stands at the end.
    expected.erase(expected.begin());
    CHECK(std::equal(expected.rbegin(), expected.rend(), words.rbegin()));
  } else {
    CHECK(words == expected);
  }
  for (const char* command : {"list", "status"}) {
    const CommandResult shown =
        command == std::string("list") ? guard.vmrig({"list"}) : guard.vmrig({"status", "inject"});
    CHECK(shown.status == 0);
    CHECK(printable_lines(shown.out) == shown.out);
  }
  const CommandResult stopped = guard.vmrig({"stop", "inject", "--force"});
  CHECK_MESSAGE(stopped.status == 0, stopped.err);
  CHECK(guard.nothing_left());
}

// A comma and a key, a newline and an option, what a shell and a terminal would act on.
std::vector<std::string> telling_values() {
  return {"a,b=c,,readonly=on", "-S", "x\n-S \x1b[2J$(id)`id`'\"\\%s",
          "\xe2\x80\xaegpj.exe \xd7\x90\xd7\x91 Gr\xc3\xb6\xc3\x9f"
          "e"};
}

void start_with_all(const std::string& qemu) {
  int places = 0;
  for (const std::string& value : is_full_run() ? hostile_values() : telling_values()) {
    CAPTURE(printable(value.substr(0, 60)));
    if (!is_utf8(value)) continue;  // is refused, see unit/config_injection.cpp
    const VmGuard guard;
    int count = 0;
    Json config = with_value(guard, value, count);
    config["qemu"] = qemu;
    make_files(guard, config);
    check_started(guard, guard.write_config(config));
    places += count;
  }
  CHECK(places > 15);
}

}  // namespace

TEST_CASE("a QEMU that was started with hostile strings has the planned words and no other") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  start_with_all(system_qemu());
}

TEST_CASE("QEMU 10.0 that was started with hostile strings has the planned words and no other") {
  const char* qemu = environment("VMRIG_QEMU10");
  if (qemu == nullptr) SKIP_TEST("VMRIG_QEMU10 is not set");
  start_with_all(qemu);
}

TEST_CASE("QEMU's own arguments of the config are its words as they are") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  Json config = guard.config("inject");
  config["qemu_args"] = Json::array();
  int number = 0;
  for (const std::string& value : telling_values()) {
    std::string escaped;  // for the option's own list
    for (const char c : value) escaped += c == ',' ? ",," : std::string(1, c);
    config["qemu_args"].push_back("-fw_cfg");
    config["qemu_args"].push_back("name=opt/v/" + std::to_string(number++) + ",string=" + escaped);
  }
  check_started(guard, guard.write_config(config));
}
