#include "hostcfg/mounts.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "hostcfg/base/utf8.hpp"
#include "hostcfg/text_fields.hpp"

namespace vmrig {
namespace {

bool is_octal(char c) { return c >= '0' && c <= '7'; }

// The kernel writes space, tab, newline and backslash as three octal digits.
std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && is_octal(text[i + 1]) && is_octal(text[i + 2]) &&
        is_octal(text[i + 3])) {
      const int value = (text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0');
      out += static_cast<char>(value);
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::optional<Mount> parse_line(std::string_view line) {
  // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
  const std::size_t separator = line.find(" - ");
  if (separator == std::string_view::npos) return std::nullopt;
  std::string_view after = line.substr(separator + 3);
  const std::string_view type = take_word(after);
  if (type != "hugetlbfs" && type != "cgroup" && type != "cgroup2") return std::nullopt;
  take_word(after);  // the source
  std::string_view before = line.substr(0, separator);
  for (int skipped = 0; skipped < 3; ++skipped) take_word(before);
  const std::string_view root = take_word(before);
  const std::string_view point = take_word(before);
  if (root.empty() || point.empty() || point.front() != '/') return std::nullopt;
  std::string path = unescaped(point);
  // Neither QEMU's options nor the journal could name it.
  if (!is_utf8(path) || path.find('\0') != std::string::npos) return std::nullopt;
  return Mount{unescaped(root), std::move(path), std::string(type), std::string(take_word(after))};
}

std::optional<Bytes> parse_page_size(std::string_view text) {
  if (text.empty()) return std::nullopt;
  unsigned shift = 0;
  switch (text.back()) {
    case 'K':
      shift = 10;
      break;
    case 'M':
      shift = 20;
      break;
    case 'G':
      shift = 30;
      break;
    default:
      return std::nullopt;
  }
  const auto number = parse_number<std::uint64_t>(text.substr(0, text.size() - 1));
  if (!number || *number == 0 || *number > (std::numeric_limits<std::uint64_t>::max() >> shift)) {
    return std::nullopt;
  }
  return Bytes{*number << shift};
}

// The next of the comma-separated options; cuts it off.
std::string_view take_option(std::string_view& options) {
  const std::size_t comma = options.find(',');
  const std::string_view option = options.substr(0, comma);
  options.remove_prefix(comma == std::string_view::npos ? options.size() : comma + 1);
  return option;
}

}  // namespace

std::vector<Mount> parse_mountinfo(std::string_view text) {
  std::vector<Mount> mounts;
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    std::optional<Mount> mount = parse_line(line);
    if (!mount) continue;
    const auto hidden = std::find_if(mounts.begin(), mounts.end(), [&](const Mount& earlier) {
      return earlier.point == mount->point;
    });
    if (hidden == mounts.end()) {
      mounts.push_back(std::move(*mount));
    } else {
      *hidden = std::move(*mount);
    }
  }
  return mounts;
}

std::vector<HugetlbfsMount> hugetlbfs_mounts(const std::vector<Mount>& mounts) {
  constexpr std::string_view kKey = "pagesize=";
  std::vector<HugetlbfsMount> found;
  for (const Mount& mount : mounts) {
    if (mount.type != "hugetlbfs") continue;
    std::string_view options = mount.super_options;
    while (!options.empty()) {
      const std::string_view option = take_option(options);
      if (option.substr(0, kKey.size()) != kKey) continue;
      const std::optional<Bytes> size = parse_page_size(option.substr(kKey.size()));
      if (size) found.push_back({mount.point, *size});
      break;
    }
  }
  return found;
}

bool has_option(std::string_view options, std::string_view name) {
  while (!options.empty()) {
    if (take_option(options) == name) return true;
  }
  return false;
}

}  // namespace vmrig
