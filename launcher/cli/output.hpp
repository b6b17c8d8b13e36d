// The program's standard output and the terminal behind it.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

#include "hostcfg/base/json.hpp"
#include "launcher/text.hpp"

namespace vmrig {

// Thrown when the reader of standard output has gone (a `head` that has seen enough): the
// program ends with status 1 and without a word.
class OutputClosed : public std::runtime_error {
 public:
  OutputClosed() : std::runtime_error("standard output is closed") {}
};

// Writes all of `text` to standard output, unbuffered. Throws OutputClosed, or Error (a full
// disk): a truncated answer must not look like success.
void write_out(std::string_view text);

// JSON with a newline: indented for a person at a terminal, on one line for a program.
void write_json(const Json& json);

bool stdout_is_terminal();
bool stderr_is_terminal();

// On for a terminal unless NO_COLOR says otherwise (https://no-color.org).
Colour stdout_colour();

// Columns of the terminal; 100 when there is none, so that captured output does not depend on
// where it was made.
std::size_t stdout_columns();

}  // namespace vmrig
