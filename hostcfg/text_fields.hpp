// Takes the kernel's text files apart: lines, words, numbers, cpulists.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

#include "hostcfg/base/cpu_set.hpp"

namespace vmrig {

std::string_view trimmed(std::string_view text);

// The next line, without its newline; cuts it off `text`.
std::string_view take_line(std::string_view& text);

// The word up to the next white space; cuts it and the space around it off `text`.
std::string_view take_word(std::string_view& text);

std::optional<CpuSet> parse_cpulist(std::string_view text);

template <typename Number>
std::optional<Number> parse_number(std::string_view text, int base = 10) {
  text = trimmed(text);
  Number value{};
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || rest != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace vmrig
