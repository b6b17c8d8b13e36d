// Text for people: escaped, coloured, in columns.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/json.hpp"

namespace vmrig {

enum class Colour { kOff, kOn };
enum class Style { kPlain, kBold, kDim, kGood, kWarning, kProblem };

// `text` with bytes that could drive a terminal (controls, and what is no UTF-8) escaped as
// quote() does, without the quotes. Newlines are escaped too; printable_lines() keeps them.
std::string printable(std::string_view text);
std::string printable_lines(std::string_view text);

// `text` between the ANSI sequences of `style`; as it is with Colour::kOff.
std::string styled(std::string_view text, Style style, Colour colour);

// How many columns `text` takes on a terminal: one a code point, near enough for what is
// printed in columns here.
std::size_t columns_of(std::string_view text);

// `text` broken at spaces to lines of at most `width` columns, all but the first one indented
// by `indent` columns. A longer word stays whole: a path is there to be copied.
std::string wrapped(std::string_view text, std::size_t width, std::size_t indent);

// The rows with each column as wide as its widest cell, two spaces between; the last column is
// not padded. Each row ends with a newline.
std::string table(const std::vector<std::vector<std::string>>& rows);

// "4s", "3m12s", "2h05m", "6d04h".
std::string duration_text(std::chrono::seconds duration);

// `words` as a line that a POSIX shell reads back as exactly these words. For a terminal, words
// with control characters in them are written as $'…', which bash, zsh and ksh read back.
enum class ShellForm { kPosix, kForTerminal };
std::string shell_quoted(const std::vector<std::string>& words, ShellForm form = ShellForm::kPosix);

// The value as JSON text that may be shown: what is no UTF-8 in it (names from the host and the
// guest) is replaced by a mark, and control characters are escaped. `indent` as of Json::dump.
std::string json_text(const Json& json, int indent = -1);

// The names, quoted, with commas between.
std::string quoted_list(const std::vector<std::string>& names);

}  // namespace vmrig
