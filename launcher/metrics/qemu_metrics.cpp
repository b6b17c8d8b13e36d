// A VM's disks, memory and balloon by QEMU's own account. Replies are another program's: what has
// not the expected form is left out.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "launcher/metrics/vm_metrics.hpp"

namespace vmrig {
namespace {

constexpr double kSecondNs = 1e9;

const MetricFamily kRoundTrip{"vmrig_qmp_round_trip_seconds", MetricType::kGauge,
                              "Time that QEMU took to answer a query-status."};
const MetricFamily kMemory{"vmrig_vm_memory_bytes", MetricType::kGauge,
                           "Memory that the guest was given, by start or plugged in later."};
const MetricFamily kBalloon{"vmrig_balloon_bytes", MetricType::kGauge,
                            "Memory that the balloon leaves the guest."};
const MetricFamily kBalloonAge{"vmrig_balloon_stats_age_seconds", MetricType::kGauge,
                               "Time since the guest has told of its memory."};

std::optional<double> number_in(const Json& object, const char* key) {
  if (!object.is_object()) return std::nullopt;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

std::string text_in(const Json& object, const char* key) {
  if (!object.is_object()) return {};
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

struct DiskCounter {
  const char* key;  // of query-blockstats
  MetricFamily family;
  double scale;                     // to the base unit
  const char* operation = nullptr;  // a label
};

const std::array<DiskCounter, 15>& disk_counters() {
  constexpr MetricType kCounter = MetricType::kCounter;
  static const MetricFamily kErrors{"vmrig_disk_errors_total", kCounter,
                                    "Requests of the guest that failed."};
  static const std::array<DiskCounter, 15> kAll = {{
      {"rd_bytes", {"vmrig_disk_read_bytes_total", kCounter, "Bytes that the guest has read."}, 1},
      {"wr_bytes",
       {"vmrig_disk_written_bytes_total", kCounter, "Bytes that the guest has written."},
       1},
      {"unmap_bytes",
       {"vmrig_disk_discarded_bytes_total", kCounter, "Bytes that the guest has discarded."},
       1},
      {"rd_operations", {"vmrig_disk_reads_completed_total", kCounter, "Reads of the guest."}, 1},
      {"wr_operations", {"vmrig_disk_writes_completed_total", kCounter, "Writes of the guest."}, 1},
      {"flush_operations",
       {"vmrig_disk_flushes_completed_total", kCounter, "Flushes of the guest."},
       1},
      {"unmap_operations",
       {"vmrig_disk_discards_completed_total", kCounter, "Discards of the guest."},
       1},
      {"rd_total_time_ns",
       {"vmrig_disk_read_time_seconds_total", kCounter, "Time that reads took."},
       1 / kSecondNs},
      {"wr_total_time_ns",
       {"vmrig_disk_write_time_seconds_total", kCounter, "Time that writes took."},
       1 / kSecondNs},
      {"flush_total_time_ns",
       {"vmrig_disk_flush_time_seconds_total", kCounter, "Time that flushes took."},
       1 / kSecondNs},
      {"unmap_total_time_ns",
       {"vmrig_disk_discard_time_seconds_total", kCounter, "Time that discards took."},
       1 / kSecondNs},
      {"failed_rd_operations", kErrors, 1, "read"},
      {"failed_wr_operations", kErrors, 1, "write"},
      {"failed_flush_operations", kErrors, 1, "flush"},
      {"failed_unmap_operations", kErrors, 1, "discard"},
  }};
  return kAll;
}

// The id of the device in front: "/machine/peripheral/disk0/virtio-backend" or "disk0".
std::string disk_of(const Json& entry) {
  constexpr std::string_view kFolder = "/machine/peripheral/";
  const std::string device = text_in(entry, "qdev");
  if (device.starts_with(kFolder)) {
    return device.substr(kFolder.size(), device.find('/', kFolder.size()) - kFolder.size());
  }
  return device.empty() ? text_in(entry, "device") : device;
}

void add_disks(const std::string& vm, const Json& reply, MetricPage& page) {
  if (!reply.is_array()) return;
  for (const Json& entry : reply) {
    const std::string disk = disk_of(entry);
    const auto stats = entry.is_object() ? entry.find("stats") : entry.end();
    if (disk.empty() || stats == entry.end()) continue;
    for (const DiskCounter& counter : disk_counters()) {
      const auto value = number_in(*stats, counter.key);
      if (!value) continue;
      MetricLabels labels = {{"vm", vm}, {"disk", disk}};
      if (counter.operation != nullptr) labels.emplace_back("operation", counter.operation);
      page.add(counter.family, std::move(labels), *value * counter.scale);
    }
  }
}

struct BalloonStat {
  const char* key;  // of guest-stats
  MetricFamily family;
  const char* kind = nullptr;  // a label
};

// Source: qemu docs/interop/virtio-balloon-stats.rst.
const std::array<BalloonStat, 8>& balloon_stats() {
  constexpr MetricType kCounter = MetricType::kCounter;
  static const MetricFamily kGuestMemory{"vmrig_guest_memory_bytes", MetricType::kGauge,
                                         "Memory of the guest, as it says itself."};
  static const MetricFamily kFaults{"vmrig_guest_page_faults_total", kCounter,
                                    "Page faults in the guest, as it says itself."};
  static const std::array<BalloonStat, 8> kAll = {{
      {"stat-total-memory", kGuestMemory, "total"},
      {"stat-free-memory", kGuestMemory, "free"},
      {"stat-available-memory", kGuestMemory, "available"},
      {"stat-disk-caches", kGuestMemory, "disk_caches"},
      {"stat-major-faults", kFaults, "major"},
      {"stat-minor-faults", kFaults, "minor"},
      {"stat-swap-in",
       {"vmrig_guest_swapped_in_bytes_total", kCounter,
        "Memory that the guest has swapped in, as it says itself."}},
      {"stat-swap-out",
       {"vmrig_guest_swapped_out_bytes_total", kCounter,
        "Memory that the guest has swapped out, as it says itself."}},
  }};
  return kAll;
}

void add_guest_stats(const std::string& vm, const Json& reply, std::int64_t now_s,
                     MetricPage& page) {
  const auto told_at = number_in(reply, "last-update");
  if (!told_at || *told_at == 0 || !reply.contains("stats")) return;  // it has told nothing yet
  page.add(kBalloonAge, {{"vm", vm}}, std::max(0.0, static_cast<double>(now_s) - *told_at));
  for (const BalloonStat& stat : balloon_stats()) {
    const auto value = number_in(reply.at("stats"), stat.key);
    // -1, or the largest number: what the guest does not tell.
    constexpr double kNotTold = 18446744073709551615.0;
    if (!value || *value < 0 || *value >= kNotTold) continue;
    MetricLabels labels = {{"vm", vm}};
    if (stat.kind != nullptr) labels.emplace_back("kind", stat.kind);
    page.add(stat.family, std::move(labels), *value);
  }
}

}  // namespace

void add_qemu_metrics(const VmReading& vm, std::int64_t now_s, MetricPage& page) {
  if (!vm.qemu) return;
  const std::string& name = vm.entry.name;
  const QemuReading& told = *vm.qemu;
  page.add(kRoundTrip, {{"vm", name}}, static_cast<double>(told.round_trip.count()) / kSecondNs);
  for (const auto& [key, kind] :
       {std::pair("base-memory", "base"), std::pair("plugged-memory", "plugged")}) {
    if (const auto bytes = number_in(told.memory, key)) {
      page.add(kMemory, {{"vm", name}, {"kind", kind}}, *bytes);
    }
  }
  if (const auto bytes = number_in(told.balloon, "actual")) {
    page.add(kBalloon, {{"vm", name}}, *bytes);
  }
  add_guest_stats(name, told.balloon_stats, now_s, page);
  add_disks(name, told.block, page);
}

}  // namespace vmrig
