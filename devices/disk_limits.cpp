#include "devices/disk_limits.hpp"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <string_view>

namespace vmrig {
namespace {

constexpr int kMostIops = 100'000'000;
constexpr Bytes kMostBytes = Bytes::gib(1024);  // QEMU takes up to 1e15

template <class Value>
struct Rate {
  const char* key;
  const char* doc;
  const char* qemu;
  const char* unit;
  std::optional<Value> DiskThrottle::*rate;
  const char* burst_key;
  const char* burst_doc;
  std::optional<Value> DiskThrottle::*burst;
};

constexpr std::array<Rate<int>, 3> kIops = {
    {{"iops", "Reads and writes a second.", "iops-total", "reads and writes", &DiskThrottle::iops,
      "iops_max", "Reads and writes in a second after an idle one.", &DiskThrottle::iops_max},
     {"iops_read", "Reads a second.", "iops-read", "reads", &DiskThrottle::iops_read,
      "iops_read_max", "Reads in a second after an idle one.", &DiskThrottle::iops_read_max},
     {"iops_write", "Writes a second.", "iops-write", "writes", &DiskThrottle::iops_write,
      "iops_write_max", "Writes in a second after an idle one.", &DiskThrottle::iops_write_max}}};

constexpr std::array<Rate<Bytes>, 3> kBytes = {
    {{"bps", "Bytes read and written a second.", "bps-total", "", &DiskThrottle::bps, "bps_max",
      "Bytes read and written in a second after an idle one.", &DiskThrottle::bps_max},
     {"bps_read", "Bytes read a second.", "bps-read", " read", &DiskThrottle::bps_read,
      "bps_read_max", "Bytes read in a second after an idle one.", &DiskThrottle::bps_read_max},
     {"bps_write", "Bytes written a second.", "bps-write", " written", &DiskThrottle::bps_write,
      "bps_write_max", "Bytes written in a second after an idle one.",
      &DiskThrottle::bps_write_max}}};

std::uint64_t number_of(int value) { return static_cast<std::uint64_t>(value); }
std::uint64_t number_of(Bytes value) { return value.value; }

template <class Value>
void check(const std::array<Rate<Value>, 3>& rates, const DiskThrottle& throttle,
           const Fields::Fault& fault) {
  const Rate<Value>& total = rates.front();
  for (const Rate<Value>& rate : rates) {
    const auto& wanted = throttle.*rate.rate;
    const auto& burst = throttle.*rate.burst;
    if (&rate != &total && wanted && throttle.*total.rate) {
      fault(rate.key, fmt::format("can't stand beside \"{}\", which is of both", total.key), {});
    }
    if (burst && !wanted) {
      fault(rate.burst_key, fmt::format("is of no use without \"{}\"", rate.key), {});
    } else if (burst && *burst < *wanted) {
      fault(rate.burst_key, fmt::format("is less than \"{}\"", rate.key), {});
    }
  }
}

template <class Value>
void write(const std::array<Rate<Value>, 3>& rates, const DiskThrottle& throttle, Json& limits) {
  for (const Rate<Value>& rate : rates) {
    if (const auto& wanted = throttle.*rate.rate) limits[rate.qemu] = number_of(*wanted);
    if (const auto& burst = throttle.*rate.burst) {
      limits[std::string(rate.qemu) + "-max"] = number_of(*burst);
    }
  }
}

}  // namespace

void describe(Fields& fields, DiskThrottle& throttle) {
  const SizeRule bytes{{1}, kMostBytes, {1}};
  for (const auto& rate : kIops) {
    fields.optional(rate.key, rate.doc, throttle.*rate.rate, IntRule{1, kMostIops});
    fields.optional(rate.burst_key, rate.burst_doc, throttle.*rate.burst, IntRule{1, kMostIops});
  }
  for (const auto& rate : kBytes) {
    fields.optional(rate.key, rate.doc, throttle.*rate.rate, bytes);
    fields.optional(rate.burst_key, rate.burst_doc, throttle.*rate.burst, bytes);
  }
  fields.rule([&](const Fields::Fault& fault) {
    check(kIops, throttle, fault);
    check(kBytes, throttle, fault);
    if (throttle_limits(throttle).empty()) {
      fault({}, "limits nothing", R"("throttle": {"bps": "100MiB", "iops": 1000})");
    }
  });
}

Json throttle_limits(const DiskThrottle& throttle) {
  Json limits = Json::object();
  write(kIops, throttle, limits);
  write(kBytes, throttle, limits);
  return limits;
}

std::string describe_throttle(const DiskThrottle& throttle) {
  std::string text;
  const auto add = [&text](const std::string& part) {
    text += (text.empty() ? "" : ", ") + part + " a second";
  };
  for (const auto& rate : kBytes) {
    if (const auto& wanted = throttle.*rate.rate) add(to_string(*wanted) + rate.unit);
  }
  for (const auto& rate : kIops) {
    if (const auto& wanted = throttle.*rate.rate) add(fmt::format("{} {}", *wanted, rate.unit));
  }
  return text;
}

void describe(Fields& fields, DiskIoMax& io_max) {
  const SizeRule bytes{Bytes::kib(4), kMostBytes, {1}};
  fields.optional("read_bps", "Bytes read a second.", io_max.read_bps, bytes);
  fields.optional("write_bps", "Bytes written a second.", io_max.write_bps, bytes);
  fields.optional("read_iops", "Reads a second.", io_max.read_iops, IntRule{1, kMostIops});
  fields.optional("write_iops", "Writes a second.", io_max.write_iops, IntRule{1, kMostIops});
  fields.rule([&](const Fields::Fault& fault) {
    if (io_max.read_bps || io_max.write_bps || io_max.read_iops || io_max.write_iops) return;
    fault({}, "limits nothing", R"("io_max": {"write_bps": "100MiB"})");
  });
}

}  // namespace vmrig
