// Whole numbers as users give them.
#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "hostcfg/base/error.hpp"

namespace vmrig {

// nullopt when it was not given. Throws Error (kUsage) for what is no whole number from `least`.
template <typename Number>
std::optional<Number> number_of(const std::optional<std::string>& text, std::string_view option,
                                Number least, std::string mend) {
  if (!text) return std::nullopt;
  Number number{};
  const char* end = text->data() + text->size();
  const auto [stop, fault] = std::from_chars(text->data(), end, number);
  if (fault == std::errc{} && stop == end && number >= least) return number;
  throw Error({.status = ExitStatus::kUsage,
               .operation = fmt::format("read {}", option),
               .object = *text,
               .cause = fmt::format("it takes a whole number from {}", least),
               .mend = std::move(mend)});
}

}  // namespace vmrig
