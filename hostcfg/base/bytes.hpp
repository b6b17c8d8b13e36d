// An amount of memory or storage, in bytes.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace vmrig {

struct Bytes {
  std::uint64_t value = 0;

  static constexpr Bytes kib(std::uint64_t n) { return {n << 10}; }
  static constexpr Bytes mib(std::uint64_t n) { return {n << 20}; }
  static constexpr Bytes gib(std::uint64_t n) { return {n << 30}; }

  constexpr auto operator<=>(const Bytes&) const = default;
};

constexpr Bytes operator+(Bytes a, Bytes b) { return {a.value + b.value}; }
constexpr Bytes operator-(Bytes a, Bytes b) { return {a.value - b.value}; }

// Reads "8GiB", "512MiB", "64KiB", "1TiB", "4096B": a whole number and an IEC unit.
// Throws std::invalid_argument with a text for the user; a number with no unit, or with
// an SI unit (GB), is refused as ambiguous.
Bytes parse_bytes(std::string_view text);

// The exact value in the largest unit that divides it: "8GiB", "1536MiB".
std::string to_string(Bytes bytes);

}  // namespace vmrig
