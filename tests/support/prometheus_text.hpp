// A reader of Prometheus' text format, as strict as its own one.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace vmrig::testing {

struct PrometheusPage {
  // By name and labels as they stand: `vmrig_up{vm="a"}`.
  std::map<std::string, double> samples;
  std::map<std::string, std::string> types;  // by family
  std::vector<std::string> faults;           // what Prometheus or its linter would refuse

  bool has(const std::string& sample) const { return samples.contains(sample); }
  // NaN when there is none.
  double at(const std::string& sample) const;
};

// Faults: a family without HELP or TYPE, with two of them, or in two places; a sample twice, a bad
// name, label, escape or value; a counter that does not end with _total; bytes that are no UTF-8;
// no newline at the end.
PrometheusPage read_prometheus(std::string_view text);

// The path of promtool, in VMRIG_PROMTOOL or where tests/lib/promtool.sh puts it; empty: none.
std::string promtool();

}  // namespace vmrig::testing
