#include <fmt/format.h>

#include "launcher/cli/command_words.hpp"
#include "launcher/man/roff.hpp"
#include "launcher/man/sections.hpp"

namespace vmrig {
namespace {

using Form = CommandWord::Form;

// "NAME", "--timeout SECONDS": what is typed in bold, what stands for something else in italics.
std::string heading(const CommandWord& word) {
  std::string text;
  for (const std::string& name : word.names) {
    if (!text.empty()) text += ", ";
    text += word.form == Form::kPositional ? roff_italic(name) : roff_bold(name);
  }
  if (word.form == Form::kOption) text += " " + roff_italic(word.value);
  return text;
}

}  // namespace

std::string command_sections(const std::vector<Command>& commands) {
  std::string text;
  for (const Command& command : commands) {
    const std::vector<CommandWord> words = words_of(command);
    text += fmt::format(".SS {}\n", roff(command.name));
    text += roff_bold(fmt::format("vmrig {}", command.name));
    if (!words.empty()) {
      bool has_options = false;
      for (const CommandWord& word : words) has_options |= word.form != Form::kPositional;
      if (has_options) text += " [" + roff_italic("options") + "]";
    }
    if (!command.usage.empty()) text += " " + roff_italic(command.usage);
    text += fmt::format("\n.PP\n{}.\n", roff(command.summary));
    for (const CommandWord& word : words) {
      text += fmt::format(".TP\n{}\n{}.\n", heading(word), roff(word.doc));
    }
  }
  return text;
}

}  // namespace vmrig
