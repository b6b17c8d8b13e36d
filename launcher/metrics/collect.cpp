#include "launcher/metrics/collect.hpp"

#include <exception>
#include <thread>
#include <utility>

#include "hostcfg/folder_reader.hpp"

namespace vmrig {
namespace {

std::vector<VmEntry> entries_of(const StateRoot& root, const std::optional<std::string>& name) {
  if (!name) return root.list();
  std::vector<VmEntry> entries;
  if (std::optional<VmEntry> entry = root.find(*name)) entries.push_back(std::move(*entry));
  return entries;
}

// Throws nothing: it runs on a thread of its own.
void read_vm(const StateRoot& root, const FolderReader& host, const CollectOptions& options,
             qmp::Deadline deadline, VmReading& reading) {
  try {
    const VmFolder folder = root.folder(reading.entry.name);
    reading.qemu = ask_qemu(folder, reading.entry, options.questions, deadline);
  } catch (const std::exception&) {
    // It has just ended.
  }
  try {
    // After the talk: only a VM that answers is looked at closely.
    reading.kernel =
        read_kernel(host, reading.entry, reading.qemu ? options.walk : PageWalk::kSkip);
  } catch (const std::exception&) {
    // What could not be read is left out.
  }
}

}  // namespace

std::vector<VmReading> collect(const StateRoot& root, const CollectOptions& options) {
  const qmp::Deadline deadline = qmp::deadline_in(options.timeout);
  std::vector<VmReading> readings;
  for (VmEntry& entry : entries_of(root, options.name)) {
    readings.push_back({.entry = std::move(entry), .kernel = {}, .qemu = std::nullopt});
  }
  const std::optional<FolderReader> host = FolderReader::open("/");
  if (!host) return readings;
  if (readings.size() == 1) {
    read_vm(root, *host, options, deadline, readings.front());
    return readings;
  }
  {
    std::vector<std::jthread> threads;
    threads.reserve(readings.size());
    for (VmReading& reading : readings) {
      threads.emplace_back([&, to = &reading] { read_vm(root, *host, options, deadline, *to); });
    }
  }
  return readings;
}

}  // namespace vmrig
