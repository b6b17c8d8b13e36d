#include "hostcfg/pci_ids.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <optional>
#include <set>
#include <string_view>

#include "hostcfg/base/fd.hpp"

namespace vmrig {
namespace {

constexpr std::size_t kMaxLine = 4096;
constexpr std::size_t kMaxFile = std::size_t{64} << 20;

// Calls `take` for each line, without holding more of the file than a buffer.
template <typename Take>
void for_each_line(const Fd& file, const Take& take) {
  std::array<char, 65536> buffer{};
  std::string rest;
  std::size_t total = 0;
  while (total < kMaxFile) {
    const ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    total += static_cast<std::size_t>(got);
    std::string_view text(buffer.data(), static_cast<std::size_t>(got));
    for (;;) {
      const std::size_t end = text.find('\n');
      if (end == std::string_view::npos) break;
      if (rest.empty()) {
        take(text.substr(0, end));
      } else {
        rest += text.substr(0, end);
        take(std::string_view(rest));
        rest.clear();
      }
      text.remove_prefix(end + 1);
    }
    if (rest.size() < kMaxLine) rest += text;
  }
  if (!rest.empty()) take(std::string_view(rest));
}

// "8086  Intel Corporation": four hexadecimal digits, two spaces, a name.
std::optional<std::uint16_t> take_id(std::string_view& line) {
  constexpr std::size_t kDigits = 4;
  std::uint16_t id = 0;
  if (line.size() < kDigits + 2) return std::nullopt;
  const auto [rest, fault] = std::from_chars(line.data(), line.data() + kDigits, id, 16);
  if (fault != std::errc{} || rest != line.data() + kDigits) return std::nullopt;
  if (line.substr(kDigits, 2) != "  ") return std::nullopt;
  line.remove_prefix(kDigits + 2);
  return id;
}

}  // namespace

std::map<std::pair<std::uint16_t, std::uint16_t>, PciName> find_pci_names(
    const std::vector<std::pair<std::uint16_t, std::uint16_t>>& ids, const std::string& path) {
  std::map<std::pair<std::uint16_t, std::uint16_t>, PciName> names;
  for (const auto& id : ids) names[id];
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) < 0 || !S_ISREG(status.st_mode)) return names;
  std::optional<std::uint16_t> vendor;  // that the lines are about; none: nobody asked for it
  for_each_line(file, [&](std::string_view line) {
    if (line.empty() || line.front() == '#' || line.starts_with("\t\t")) return;
    if (line.front() == '\t') {
      line.remove_prefix(1);
      const auto device = vendor ? take_id(line) : std::nullopt;
      const auto found = device ? names.find({*vendor, *device}) : names.end();
      if (found != names.end()) found->second.device = line;
      return;
    }
    // Classes come last: "C 02  Network controller".
    vendor = take_id(line);
    const auto first = vendor ? names.lower_bound({*vendor, 0}) : names.end();
    if (first == names.end() || first->first.first != *vendor) {
      vendor.reset();
      return;
    }
    for (auto name = first; name != names.end() && name->first.first == *vendor; ++name) {
      name->second.vendor = line;
    }
  });
  return names;
}

}  // namespace vmrig
