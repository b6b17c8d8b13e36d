#include "hostcfg/base/utf8.hpp"

#include <algorithm>

namespace vmrig {

std::size_t utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  const auto lead = static_cast<unsigned char>(text.front());
  const std::size_t length = lead < 0x80                    ? 1
                             : lead >= 0xc2 && lead <= 0xdf ? 2
                             : lead >= 0xe0 && lead <= 0xef ? 3
                             : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                            : 0;
  if (length == 0 || length > text.size()) return 0;
  // Overlong forms hide a control byte, and surrogates and what is above U+10FFFF are no text: only
  // the second byte tells them from others.
  const auto second = length < 3 ? 0 : static_cast<unsigned char>(text[1]);
  if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
      (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) {
    return 0;
  }
  const bool continued =
      std::all_of(text.begin() + 1, text.begin() + static_cast<std::ptrdiff_t>(length),
                  [](char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; });
  return continued ? length : 0;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

bool is_control(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.front());
  if (first < 0x20 || first == 0x7f) return true;
  if (first == 0xc2) return static_cast<unsigned char>(text[1]) < 0xa0;  // C1
  if (first == 0xd8) return text.substr(0, 2) == "\xd8\x9c";             // U+061C, of Arabic
  if (text.starts_with("\xef\xbb\xbf")) return true;                     // U+FEFF
  if (first != 0xe2) return false;
  // U+200E and U+200F, U+2028 to U+202E, U+2066 to U+206F: marks, embeddings, overrides and
  // isolates of the two directions, separators of lines and paragraphs.
  // Source: Unicode Standard Annex 9.
  const auto second = static_cast<unsigned char>(text[1]);
  const auto third = static_cast<unsigned char>(text[2]);
  return (second == 0x80 && (third == 0x8e || third == 0x8f || (third >= 0xa8 && third <= 0xae))) ||
         (second == 0x81 && third >= 0xa6 && third <= 0xaf);
}

}  // namespace vmrig
