#include "launcher/metrics/metric_page.hpp"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "launcher/text.hpp"

namespace vmrig {
namespace {

std::string_view type_name(MetricType type) {
  return type == MetricType::kCounter ? "counter" : "gauge";
}

std::string escaped(std::string_view text, std::string_view special) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (special.find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

std::string labels_text(const MetricLabels& labels) {
  if (labels.empty()) return {};
  std::string text;
  for (const auto& [name, value] : labels) {
    text += fmt::format("{}{}=\"{}\"", text.empty() ? '{' : ',', name,
                        escaped(printable_lines(value), "\\\""));
  }
  return text + "}";
}

// As Go's ParseFloat reads it.
std::string value_text(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

}  // namespace

void MetricPage::add(const MetricFamily& family, MetricLabels labels, double value) {
  const auto [place, is_new] = places_.emplace(family.name, families_.size());
  if (is_new) families_.push_back({.family = family, .list = {}, .seen = {}});
  Samples& samples = families_[place->second];
  if (!samples.seen.insert(labels_text(labels)).second) return;
  samples.list.push_back({.labels = std::move(labels), .value = value});
}

void MetricPage::append(MetricPage other) {
  for (Samples& samples : other.families_) {
    for (Sample& sample : samples.list) {
      add(samples.family, std::move(sample.labels), sample.value);
    }
  }
}

std::string MetricPage::text() const {
  std::string out;
  for (const Samples& samples : families_) {
    const MetricFamily& family = samples.family;
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", family.name, escaped(family.help, "\\"),
                       family.name, type_name(family.type));
    for (const Sample& sample : samples.list) {
      out += fmt::format("{}{} {}\n", family.name, labels_text(sample.labels),
                         value_text(sample.value));
    }
  }
  return out;
}

Json MetricPage::json() const {
  Json families = Json::array();
  for (const Samples& samples : families_) {
    Json list = Json::array();
    for (const Sample& sample : samples.list) {
      Json labels = Json::object();
      for (const auto& [name, value] : sample.labels) labels[name] = printable_lines(value);
      list.push_back({{"labels", std::move(labels)}, {"value", sample.value}});
    }
    families.push_back({{"name", samples.family.name},
                        {"type", type_name(samples.family.type)},
                        {"help", samples.family.help},
                        {"samples", std::move(list)}});
  }
  return families;
}

}  // namespace vmrig
