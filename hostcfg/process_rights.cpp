#include "hostcfg/process_rights.hpp"

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace vmrig {
namespace {

std::vector<unsigned> numbers_of(std::string_view line) {
  std::vector<unsigned> numbers;
  while (!line.empty()) {
    if (const auto number = parse_number<unsigned>(take_word(line))) numbers.push_back(*number);
  }
  return numbers;
}

}  // namespace

std::optional<ProcessRights> read_process_rights(const FolderReader& root, pid_t pid) {
  constexpr std::size_t kLimit = std::size_t{64} << 10;
  const auto content = root.text(fmt::format("proc/{}/status", pid).c_str(), kLimit);
  if (!content || content->empty()) return std::nullopt;
  ProcessRights rights;
  std::string_view text = *content;
  while (!text.empty()) {
    std::string_view line = take_line(text);
    const std::string_view key = take_word(line);
    const auto mask = [&line] { return parse_number<std::uint64_t>(line, 16).value_or(0); };
    if (key == "Uid:") {
      rights.uids = numbers_of(line);
    } else if (key == "Gid:") {
      rights.gids = numbers_of(line);
    } else if (key == "Groups:") {
      rights.groups = numbers_of(line);
    } else if (key == "CapPrm:") {
      rights.permitted = mask();
    } else if (key == "CapEff:") {
      rights.effective = mask();
    } else if (key == "CapBnd:") {
      rights.bounding = mask();
    } else if (key == "NoNewPrivs:") {
      rights.no_new_privileges = parse_number<int>(line) == 1;
    } else if (key == "Seccomp:") {
      rights.seccomp = parse_number<int>(line).value_or(0);
    }
  }
  return rights;
}

}  // namespace vmrig
