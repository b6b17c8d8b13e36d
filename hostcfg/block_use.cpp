#include "hostcfg/block_use.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>

#include "hostcfg/pci_devices.hpp"

namespace vmrig {
namespace {

constexpr std::size_t kMaxTable = std::size_t{4} << 20;

struct Tables {
  std::map<std::string, std::string> mounts;  // by "major:minor" and by source ("/dev/sda1")
  std::set<std::string> swaps;                // by path
};

Tables read_tables(const FolderReader& root) {
  Tables tables;
  const std::string mounts = root.text("proc/self/mountinfo", kMaxTable).value_or(std::string{});
  std::string_view text = mounts;
  while (!text.empty()) {
    std::string_view line = take_line(text);
    take_word(line);  // id
    take_word(line);  // parent
    const std::string number(take_word(line));
    take_word(line);  // root
    const std::string point(take_word(line));
    const std::size_t end = line.find(" - ");
    if (end == std::string_view::npos) continue;
    line.remove_prefix(end + 3);
    take_word(line);  // type
    tables.mounts.emplace(number, point);
    // btrfs shows a number of its own making; the source is the device then.
    tables.mounts.emplace(std::string(take_word(line)), point);
  }
  const std::string swaps = root.text("proc/swaps", kMaxTable).value_or(std::string{});
  text = swaps;
  take_line(text);  // the heading
  while (!text.empty()) {
    std::string_view line = take_line(text);
    tables.swaps.emplace(take_word(line));
  }
  return tables;
}

// A multipath NVMe disk hangs on a subsystem, not on a PCI function; its controllers do.
std::vector<PciAddress> functions_below(const FolderReader& root, const std::string& path) {
  if (const auto address = pci_address_in(path)) return {*address};
  std::vector<PciAddress> addresses;
  constexpr std::string_view kSubsystem = "nvme-subsystem/";
  const std::size_t at = path.find(kSubsystem);
  if (at == std::string::npos) return addresses;
  const std::size_t begin = at + kSubsystem.size();
  const std::string name = path.substr(begin, path.find('/', begin) - begin);
  const auto folder = root.folder(("sys/class/nvme-subsystem/" + name).c_str());
  if (!folder) return addresses;
  for (const std::string& controller : folder->names(".")) {
    const auto link = folder->link(controller.c_str());
    const auto address = link ? pci_address_in(*link) : std::nullopt;
    if (address) addresses.push_back(*address);
  }
  return addresses;
}

void find_uses_of_part(const FolderReader& part, const std::string& name, const Tables& tables,
                       std::vector<std::string>& uses) {
  const std::string path = "/dev/" + name;
  auto mount = tables.mounts.find(part.attribute("dev").value_or(std::string{}));
  if (mount == tables.mounts.end()) mount = tables.mounts.find(path);
  if (mount != tables.mounts.end()) {
    uses.push_back(fmt::format("{} is mounted on {}", name, mount->second));
  }
  if (tables.swaps.count(path) != 0) uses.push_back(name + " is swap space");
  std::vector<std::string> holders = part.names("holders");
  std::sort(holders.begin(), holders.end());
  if (!holders.empty()) {
    uses.push_back(fmt::format("{} is held by {}", name, fmt::join(holders, ", ")));
  }
}

std::vector<std::string> uses_of_disk(const FolderReader& disk, const std::string& name,
                                      const Tables& tables) {
  std::vector<std::string> uses;
  find_uses_of_part(disk, name, tables, uses);
  std::vector<std::string> parts = disk.names(".");
  std::sort(parts.begin(), parts.end());
  for (const std::string& part : parts) {
    if (!part.starts_with(name)) continue;
    const auto folder = disk.folder(part.c_str());
    if (folder && folder->exists("partition")) find_uses_of_part(*folder, part, tables, uses);
  }
  return uses;
}

}  // namespace

BlockUses find_block_uses(const FolderReader& root) {
  BlockUses uses;
  const auto blocks = root.folder("sys/block");
  if (!blocks) return uses;
  std::optional<Tables> tables;  // read only where there is a disk on PCI
  std::vector<std::string> names = blocks->names(".");
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const std::string path = blocks->link(name.c_str()).value_or(std::string{});
    const std::vector<PciAddress> functions = functions_below(root, path);
    const auto disk = functions.empty() ? std::nullopt : blocks->folder(name.c_str());
    if (!disk) continue;
    if (!tables) tables = read_tables(root);
    const std::vector<std::string> reasons = uses_of_disk(*disk, name, *tables);
    if (reasons.empty()) continue;
    for (const PciAddress& function : functions) {
      std::vector<std::string>& list = uses[function];
      list.insert(list.end(), reasons.begin(), reasons.end());
    }
  }
  return uses;
}

}  // namespace vmrig
