// What a target holds against the code under test.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace vmrig::fuzz {

// Ends the run with the words, unless `holds`: the fuzzer keeps the input then.
inline void check(bool holds, std::string_view words, std::string_view detail = {}) {
  if (holds) return;
  const std::string text =
      "fuzz: not so: " + std::string(words) + "\n" + std::string(detail) + "\n";
  std::fputs(text.c_str(), stderr);
  std::abort();
}

// Nothing in it drives a terminal.
inline void check_printable(std::string_view text) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    check((byte >= 0x20 || c == '\n') && byte != 0x7f, "what is shown is printable", text);
  }
}

}  // namespace vmrig::fuzz
