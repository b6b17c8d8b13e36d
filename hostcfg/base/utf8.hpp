// UTF-8, and which of its characters may be shown.
#pragma once

#include <cstddef>
#include <string_view>

namespace vmrig {

// Bytes of the character at the front of `text`; 0 where none stands there.
// Source: Unicode 15, table 3-7.
std::size_t utf8_length(std::string_view text);

bool is_utf8(std::string_view text);

// Whether the character at the front of `text` (utf8_length() is not 0) drives the terminal that it
// is written to, or changes the order or the lines in which what stands around it is shown.
bool is_control(std::string_view text);

}  // namespace vmrig
