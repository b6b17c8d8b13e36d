// Ports of the host that lead to the guest: whether they are free.
#include <fmt/format.h>

#include <charconv>
#include <map>
#include <string_view>

#include "launcher/preflight.hpp"

namespace vmrig {
namespace {

using Protocol = Listener::Protocol;

constexpr const char* kAnyV4 = "0.0.0.0";
constexpr const char* kAnyV6 = "::";

// The host's end of "tcp:127.0.0.1:2222-:22", which the config has checked.
Listener host_end(std::string_view forward) {
  const std::string_view end = forward.substr(4, forward.find('-') - 4);
  const std::size_t colon = end.rfind(':');
  const std::string_view port = end.substr(colon + 1);
  Listener host;
  host.protocol = forward.starts_with("udp") ? Protocol::kUdp : Protocol::kTcp;
  host.address = colon == 0 ? kAnyV4 : std::string(end.substr(0, colon));
  std::from_chars(port.data(), port.data() + port.size(), host.port);
  return host;
}

enum class Clash { kNone, kPerhaps, kSure };

// A listener on all of IPv6 has all of IPv4, too, unless it has asked for the one alone; the kernel
// does not tell.
Clash clash_of(const Listener& wanted, const Listener& held) {
  if (wanted.protocol != held.protocol || wanted.port != held.port) return Clash::kNone;
  if (held.address == kAnyV6) return Clash::kPerhaps;
  const bool is_same = held.address == wanted.address || held.address == kAnyV4;
  const bool is_v4 = held.address.find(':') == std::string::npos;
  return is_same || (is_v4 && wanted.address == kAnyV4) ? Clash::kSure : Clash::kNone;
}

std::string text_of(const Listener& listener) {
  return fmt::format("{} {}:{}", listener.protocol == Protocol::kTcp ? "TCP" : "UDP",
                     listener.address, listener.port);
}

std::string mend_for(const Listener& wanted) {
  return fmt::format("ss -l{}np sport = :{} tells whose it is",
                     wanted.protocol == Protocol::kTcp ? 't' : 'u', wanted.port);
}

void check_free(const PlanInput& input, const std::string& where, const Listener& wanted,
                std::vector<Diagnostic>& findings) {
  Clash worst = Clash::kNone;
  for (const Listener& held : input.facts.listeners)
    worst = std::max(worst, clash_of(wanted, held));
  if (worst == Clash::kSure) {
    findings.push_back(finding(Severity::kProblem, where, text_of(wanted) + " is in use",
                               mend_for(wanted), ExitStatus::kBusy));
  } else if (worst == Clash::kPerhaps) {
    findings.push_back(finding(Severity::kWarning, where,
                               text_of(wanted) + " is in use for IPv6, and IPv4 perhaps with it",
                               mend_for(wanted)));
  }
}

}  // namespace

void check_forwards(const PlanInput& input, std::vector<Diagnostic>& findings) {
  std::vector<std::pair<Listener, std::string>> earlier;
  for (std::size_t i = 0; i < input.config.nics.size(); ++i) {
    const std::vector<std::string>& forwards = input.config.nics[i].forward;
    for (std::size_t j = 0; j < forwards.size(); ++j) {
      const std::string where = fmt::format("nics[{}].forward[{}]", i, j);
      const Listener wanted = host_end(forwards[j]);
      for (const auto& [other, place] : earlier) {
        if (clash_of(wanted, other) != Clash::kSure) continue;
        findings.push_back(finding(Severity::kProblem, where,
                                   fmt::format("{} is that of {} already", text_of(wanted), place),
                                   "another port", ExitStatus::kUsage));
        break;
      }
      earlier.emplace_back(wanted, where);
      check_free(input, where, wanted, findings);
    }
  }
}

}  // namespace vmrig
