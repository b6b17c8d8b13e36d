// What can follow on a command line of vmrig's that is being typed: for the shells' completion.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/cli/command_line.hpp"
#include "launcher/cli/command_words.hpp"

namespace vmrig {

struct Candidate {
  std::string word;
  std::string doc;  // one line; may be empty
};

// What was typed before the word at hand, as far as it tells what can stand there.
struct TypedWords {
  std::string state_dir;                 // of --state-dir; empty when it is not given
  std::vector<std::string> positionals;  // of the command
};

// Names that only the host knows: VMs, devices. `begun` is what is typed of the word.
using FindWords =
    std::function<std::vector<Candidate>(WordKind, const TypedWords&, std::string_view begun)>;

struct Completions {
  // Paths are the shell's to complete: it knows ~ and quoting.
  enum class Paths { kNone, kFiles, kFolders };
  std::vector<Candidate> words;  // all begin with what is typed; in order, none twice
  Paths paths = Paths::kNone;
  std::string before_path;  // what the word has before its path: "@", "--facts="
};

// `words` are all behind the program's name up to the cursor; the last one is at hand, and may be
// empty. Never throws for what is typed: what can't be understood has no completions.
Completions complete_words(const std::vector<std::string>& words,
                           const std::vector<Command>& commands, const FindWords& find);

// As the shells' scripts read them: a line each, the word and behind a tab its meaning, or
// ":files BEFORE" or ":folders BEFORE". A word after which more of it may follow ends in one of
// "=.,@", and gets no space.
std::string to_text(const Completions& completions);

}  // namespace vmrig
