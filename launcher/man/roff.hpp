// Text as man(7) takes it.
#pragma once

#include <string>
#include <string_view>

namespace vmrig {

// `text` so that groff and mandoc print it as it is: backslashes, hyphens that are to be copied,
// quotes, UTF-8, and a dot at the beginning of a line.
std::string roff(std::string_view text);

// The same, in bold (what is typed) and in italics (what stands for something else).
std::string roff_bold(std::string_view text);
std::string roff_italic(std::string_view text);

}  // namespace vmrig
