// Samples in families, as Prometheus wants to read them.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "hostcfg/base/json.hpp"

namespace vmrig {

enum class MetricType { kCounter, kGauge };

// A family's name ends with its base unit (_seconds, _bytes), a counter's with _total.
// Source: prometheus docs/practices/naming.md.
struct MetricFamily {
  std::string name;
  MetricType type = MetricType::kGauge;
  std::string help;  // a sentence
};

// Names are this program's own; values may be anybody's bytes.
using MetricLabels = std::vector<std::pair<std::string, std::string>>;

class MetricPage {
 public:
  // A second sample of a family with the same labels is dropped: a page that repeats one is refused
  // whole by its reader.
  void add(const MetricFamily& family, MetricLabels labels, double value);

  // Takes over all samples of `other`.
  void append(MetricPage other);

  // Each family's HELP and TYPE once, in the order in which families came, then its samples.
  // Source: prometheus docs/instrumenting/exposition_formats.md, text format 0.0.4.
  std::string text() const;
  // [{"name", "type", "help", "samples": [{"labels", "value"}]}]
  Json json() const;

 private:
  struct Sample {
    MetricLabels labels;
    double value = 0;
  };
  struct Samples {
    MetricFamily family;
    std::vector<Sample> list;
    std::set<std::string> seen;  // labels as text
  };

  std::vector<Samples> families_;
  std::map<std::string, std::size_t> places_;  // by name
};

}  // namespace vmrig
