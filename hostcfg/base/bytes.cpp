#include "hostcfg/base/bytes.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <limits>
#include <stdexcept>

#include "hostcfg/base/error.hpp"

namespace vmrig {
namespace {

struct Unit {
  std::string_view name;
  unsigned shift;
};

constexpr std::array<Unit, 6> kUnits = {
    {{"PiB", 50}, {"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}, {"B", 0}}};

}  // namespace

Bytes parse_bytes(std::string_view text) {
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error == std::errc::result_out_of_range) {
    throw std::invalid_argument(fmt::format("{} is too large", quote(text)));
  }
  if (error != std::errc{}) {
    throw std::invalid_argument(fmt::format(
        "{} is not a size; write a whole number and a unit, such as \"8GiB\"", quote(text)));
  }
  const std::string_view unit(rest, static_cast<std::size_t>(end - rest));
  for (const Unit& known : kUnits) {
    if (unit != known.name) continue;
    if (number > (std::numeric_limits<std::uint64_t>::max() >> known.shift)) {
      throw std::invalid_argument(fmt::format("{} is too large", quote(text)));
    }
    return {number << known.shift};
  }
  if (unit.empty()) {
    throw std::invalid_argument(fmt::format("{} is ambiguous; add a unit: \"{}MiB\" or \"{}GiB\"",
                                            quote(text), number, number));
  }
  throw std::invalid_argument(fmt::format(
      "{} has the unknown unit {}; use B, KiB, MiB, GiB, TiB or PiB", quote(text), quote(unit)));
}

std::string to_string(Bytes bytes) {
  for (const Unit& unit : kUnits) {
    const std::uint64_t one = std::uint64_t{1} << unit.shift;
    if (bytes.value >= one && bytes.value % one == 0) {
      return fmt::format("{}{}", bytes.value >> unit.shift, unit.name);
    }
  }
  return "0B";
}

}  // namespace vmrig
