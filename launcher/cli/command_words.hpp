// The words that a command takes, as data: for the manual page and for completion.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "launcher/cli/command_line.hpp"

namespace vmrig {

// What a word stands for, told by its name in the description ("NAME", "FILE", …). kText is what
// nobody can guess: a number, a text, JSON.
enum class WordKind {
  kUnknown,  // a name that nobody has told of yet: a test refuses it
  kText,
  kFile,
  kFolder,
  kVm,
  kDeviceId,
  kNicId,
  kDeviceKind,
  kDevice,     // a JSON object, @FILE or -
  kSetting,    // of `set`
  kConfigKey,  // PATH=VALUE
  kQmpCommand,
  kQmpEvents,  // with commas between
  kPciDevice,
  kPf,
  kOrder,  // of `top`
};
WordKind word_kind(std::string_view name);

struct CommandWord {
  enum class Form { kPositional, kFlag, kOption };
  enum class Count { kOne, kAtMostOne, kSome, kAny };  // some: one or more
  Form form = Form::kPositional;
  Count count = Count::kOne;
  std::vector<std::string> names;  // {"NAME"}; {"-w", "--write"}
  std::string value;               // of an option: "SECONDS"
  std::string doc;
};

// In the order of their description, without --help and --state-dir, which every command has.
std::vector<CommandWord> words_of(const Command& command);

}  // namespace vmrig
