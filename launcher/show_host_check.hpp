// A host check for people and for programs.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "hostcfg/base/json.hpp"
#include "hostcfg/host_check.hpp"
#include "launcher/text.hpp"

namespace vmrig {

struct HostReport {
  std::vector<HostRow> host;
  std::string vm;             // whose config it was checked for; empty: no config
  std::vector<HostRow> plan;  // what the plan of that config found

  bool has_problems() const;
};

// A plan's finding in the form of a row.
HostRow row_of(const Diagnostic& finding);

std::string show_host_check(const HostReport& report, Colour colour, std::size_t columns);
Json to_json(const HostReport& report);

}  // namespace vmrig
