// `vmrig complete WORD…`, which the shells' completions call: a word of the program's own that no
// list of commands shows.
#pragma once

#include <string>
#include <vector>

#include "launcher/cli/command_line.hpp"

namespace vmrig {

inline constexpr const char* kCompleteWord = "complete";

// `words` stand behind the program's name on the line that is being typed, the last one is at hand.
// Prints what to_text() tells. Whatever fails, nothing is printed for it: words are asked for while
// somebody types.
ExitStatus complete(const std::vector<std::string>& words, const std::vector<Command>& commands,
                    const Context& context);

}  // namespace vmrig
