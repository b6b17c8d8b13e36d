// KVM's own statistics of a VM and its vCPUs, as far as this host's kernel and this QEMU have them.
// Names, units and kinds are the kernel's: linux Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD;
// qemu qapi/stats.json.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "launcher/metrics/vm_metrics.hpp"

namespace vmrig {
namespace {

struct StatSchema {
  MetricFamily family;
  double scale = 1;  // to the base unit
};

using Schemas = std::map<std::string, StatSchema>;  // by the kernel's name

const std::string* text_of(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() ? nullptr : found->get_ptr<const std::string*>();
}

const Json* list_in(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found != object.end() && found->is_array() ? &*found : nullptr;
}

int int_of(const Json& object, const char* key, int fallback) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<int>() : fallback;
}

std::string metric_name(std::string_view name) {
  std::string out;
  for (const char c : name) {
    const bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    const bool capital = c >= 'A' && c <= 'Z';
    out += good ? c : capital ? static_cast<char>(c - 'A' + 'a') : '_';
  }
  return out;
}

std::string without(std::string name, std::string_view ending) {
  if (name.ends_with(ending)) name.resize(name.size() - ending.size());
  return name;
}

// Without std::pow: libm would be loaded by every command for this alone.
double power(int base, int exponent) {
  constexpr std::int64_t kMost = 1024;  // of 2; from there on it is infinite
  const std::int64_t steps = std::min(std::abs(std::int64_t{exponent}), kMost);
  double result = 1;
  for (std::int64_t i = 0; i < steps; ++i) result *= base;
  return exponent < 0 ? 1 / result : result;
}

// nullopt for histograms, whose sums stand beside them, and what is of an unknown kind.
std::optional<StatSchema> schema_of(const std::string& target, const Json& stat) {
  const std::string* name = text_of(stat, "name");
  const std::string* type = text_of(stat, "type");
  if (name == nullptr || type == nullptr || name->empty()) return std::nullopt;
  const bool counts = *type == "cumulative";
  if (!counts && *type != "instant" && *type != "peak") return std::nullopt;
  constexpr int kDecimal = 10;
  StatSchema schema;
  schema.scale = power(int_of(stat, "base", kDecimal), int_of(stat, "exponent", 0));
  const std::string* unit = text_of(stat, "unit");
  std::string ending;
  if (unit != nullptr && (*unit == "seconds" || *unit == "bytes" || *unit == "cycles")) {
    ending = "_" + *unit;
  }
  const std::string stem = without(without(metric_name(*name), "_ns"), ending);
  schema.family = {
      .name = fmt::format("vmrig_kvm_{}_{}{}{}", target, stem, ending, counts ? "_total" : ""),
      .type = counts ? MetricType::kCounter : MetricType::kGauge,
      .help = fmt::format("KVM's statistic {} of a {}.", *name, target == "vm" ? "VM" : "vCPU")};
  return schema;
}

Schemas schemas_of(const std::string& target, const Json& reply) {
  Schemas schemas;
  if (!reply.is_array()) return schemas;
  for (const Json& group : reply) {
    const std::string* provider = text_of(group, "provider");
    const std::string* of = text_of(group, "target");
    const Json* stats = list_in(group, "stats");
    if (provider == nullptr || *provider != "kvm" || of == nullptr || *of != target) continue;
    if (stats == nullptr) continue;
    for (const Json& stat : *stats) {
      if (auto schema = schema_of(target, stat)) {
        schemas.emplace(stat.at("name").get<std::string>(), std::move(*schema));
      }
    }
  }
  return schemas;
}

// Index by QOM path.
std::map<std::string, std::string> vcpus_of(const Json& reply) {
  std::map<std::string, std::string> vcpus;
  if (!reply.is_array()) return vcpus;
  for (const Json& cpu : reply) {
    const std::string* path = text_of(cpu, "qom-path");
    if (path != nullptr) vcpus[*path] = std::to_string(int_of(cpu, "cpu-index", -1));
  }
  return vcpus;
}

void add_stats(const Json& group, const Schemas& schemas, const MetricLabels& labels,
               MetricPage& page) {
  const Json* stats = list_in(group, "stats");
  if (stats == nullptr) return;
  for (const Json& stat : *stats) {
    const std::string* name = text_of(stat, "name");
    const auto schema = name == nullptr ? schemas.end() : schemas.find(*name);
    if (schema == schemas.end() || !stat.contains("value")) continue;
    const Json& value = stat.at("value");
    if (value.is_boolean()) {
      page.add(schema->second.family, labels, value.get<bool>() ? 1 : 0);
    } else if (value.is_number()) {
      page.add(schema->second.family, labels, value.get<double>() * schema->second.scale);
    }
  }
}

const Json* value_of(const Json& group, std::string_view wanted) {
  const Json* stats = list_in(group, "stats");
  if (stats == nullptr) return nullptr;
  for (const Json& stat : *stats) {
    const std::string* name = text_of(stat, "name");
    if (name != nullptr && *name == wanted && stat.contains("value")) return &stat.at("value");
  }
  return nullptr;
}

}  // namespace

std::map<std::string, double> kvm_exits(const QemuReading& told) {
  std::map<std::string, double> exits;
  if (!told.vcpu_stats.is_array()) return exits;
  const std::map<std::string, std::string> vcpus = vcpus_of(told.cpus);
  for (const Json& group : told.vcpu_stats) {
    const std::string* path = text_of(group, "qom-path");
    const auto vcpu = path == nullptr ? vcpus.end() : vcpus.find(*path);
    const Json* value = value_of(group, "exits");
    if (vcpu == vcpus.end() || value == nullptr || !value->is_number()) continue;
    exits[vcpu->second] = value->get<double>();
  }
  return exits;
}

void add_kvm_metrics(const VmReading& vm, MetricPage& page) {
  if (!vm.qemu) return;
  const QemuReading& told = *vm.qemu;
  const std::string& name = vm.entry.name;
  if (told.vm_stats.is_array()) {
    const Schemas schemas = schemas_of("vm", told.stats_schemas);
    for (const Json& group : told.vm_stats) add_stats(group, schemas, {{"vm", name}}, page);
  }
  if (!told.vcpu_stats.is_array()) return;
  const Schemas schemas = schemas_of("vcpu", told.stats_schemas);
  const std::map<std::string, std::string> vcpus = vcpus_of(told.cpus);
  for (const Json& group : told.vcpu_stats) {
    const std::string* path = text_of(group, "qom-path");
    const auto vcpu = path == nullptr ? vcpus.end() : vcpus.find(*path);
    if (vcpu == vcpus.end()) continue;
    add_stats(group, schemas, {{"vm", name}, {"vcpu", vcpu->second}}, page);
  }
}

}  // namespace vmrig
