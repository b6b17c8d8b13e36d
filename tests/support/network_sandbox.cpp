#include "tests/support/network_sandbox.hpp"

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <exception>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

#include "hostcfg/base/json.hpp"
#include "tests/support/run_command.hpp"

namespace vmrig::testing {
namespace {

void check(int result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
}

void enter() {
  // The mounts of a namespace decide what /sys/class/net shows.
  check(::unshare(CLONE_NEWNET | CLONE_NEWNS), "unshare");
  check(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "make mounts private");
  check(::mount("sysfs", "/sys", "sysfs", 0, nullptr), "mount sysfs");
  run_ok("ip link set lo up");
}

std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> words;
  std::size_t at = 0;
  while ((at = line.find_first_not_of(' ', at)) != std::string::npos) {
    const std::size_t end = std::min(line.find(' ', at), line.size());
    words.push_back(line.substr(at, end - at));
    at = end;
  }
  return words;
}

// The carrier and what follows from it (the kernel's choice of a qdisc, link-local addresses) comes
// some time after a device is up.
bool is_noise(const std::string& key) {
  if (key == "operstate" || key == "qdisc" || key == "flags") return true;
  return key == "ifindex" || key == "link_index" || key.find("timer") != std::string::npos ||
         key.find("life_time") != std::string::npos || key == "refcnt";
}

bool is_noise(const Json& element) {
  if (!element.is_object()) return false;
  return element.value("handle", Json()) == "0:" || element.value("scope", Json()) == "link";
}

Json without_noise(const Json& json) {
  if (json.is_array()) {
    Json clean = Json::array();
    for (const Json& element : json) {
      if (!is_noise(element)) clean.push_back(without_noise(element));
    }
    return clean;
  }
  if (!json.is_object()) return json;
  Json clean = Json::object();
  for (const auto& [key, value] : json.items()) {
    if (!is_noise(key)) clean[key] = without_noise(value);
  }
  return clean;
}

}  // namespace

std::optional<std::string> no_network_sandbox() {
  if (::geteuid() != 0) return "it needs root";
  if (::access("/dev/net/tun", R_OK | W_OK) < 0) return "there is no /dev/net/tun";
  for (const char* program : {"/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip"}) {
    if (::access(program, X_OK) == 0) return std::nullopt;
  }
  return "there is no ip (iproute2)";
}

void in_network_sandbox(const std::function<void()>& work) {
  std::exception_ptr fault;
  std::thread thread([&] {
    try {
      enter();
      work();
    } catch (...) {
      fault = std::current_exception();
    }
  });
  thread.join();
  if (fault) std::rethrow_exception(fault);
}

std::string run_ok(const std::string& command_line) {
  CommandRequest request;
  request.argv = words_of(command_line);
  CommandResult result = run_command(std::move(request));
  if (result.status == 0) return std::move(result.out);
  throw std::runtime_error(command_line + ": " + result.err);
}

std::string network_snapshot() {
  std::string text;
  for (const char* command : {"ip -j -d link", "ip -j addr", "bridge -j vlan", "tc -j qdisc"}) {
    const std::string out = run_ok(command);
    text += std::string(command) + "\n";
    for (const Json& each : without_noise(Json::parse(out.empty() ? "[]" : out))) {
      text += each.dump() + "\n";
    }
  }
  return text;
}

}  // namespace vmrig::testing
