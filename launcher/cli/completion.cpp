#include "launcher/cli/completion.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "launcher/text.hpp"

namespace vmrig {
namespace {

using Form = CommandWord::Form;
using Count = CommandWord::Count;

// What all commands have beside their own words.
std::vector<CommandWord> common_options() {
  return {{Form::kOption, Count::kAtMostOne, {"--state-dir"}, "DIR", "Folder of the VMs' state"},
          {Form::kFlag, Count::kAtMostOne, {"-h", "--help"}, {}, "Print this help"}};
}

bool has_name(const CommandWord& word, std::string_view name) {
  return std::find(word.names.begin(), word.names.end(), name) != word.names.end();
}

// "--set=cpu" as "--set" and "cpu".
struct OptionText {
  std::string name;
  std::optional<std::string> value;
};

OptionText split_option(const std::string& word) {
  const std::size_t equals = word.find('=');
  if (!word.starts_with("--") || equals == std::string::npos) return {word, std::nullopt};
  return {word.substr(0, equals), word.substr(equals + 1)};
}

// Walks along the words, and knows at the last one what it is.
class Completer {
 public:
  Completer(const std::vector<std::string>& words, const std::vector<Command>& commands,
            const FindWords& find)
      : before_(words), commands_(commands), find_(find) {
    if (before_.empty()) return;
    begun_ = before_.back();
    before_.pop_back();
  }

  Completions run() {
    if (!take_state_dir()) return done();
    bool wants_help = false;
    if (next_ < before_.size() && is_help(before_[next_])) {
      wants_help = true;
      ++next_;
    }
    if (next_ == before_.size()) {
      first_words(wants_help);
      return done();
    }
    const Command* command = find_command();
    if (command != nullptr && !wants_help) words_after(*command);
    return done();
  }

 private:
  static bool is_help(const std::string& word) {
    return word == "help" || word == "--help" || word == "-h";
  }

  Completions done() { return std::move(result_); }

  void offer(std::string word, std::string_view doc) {
    if (!word.starts_with(begun_)) return;
    const auto is_same = [&word](const Candidate& one) { return one.word == word; };
    if (std::any_of(result_.words.begin(), result_.words.end(), is_same)) return;
    result_.words.push_back({std::move(word), std::string(doc)});
  }

  // --state-dir before the command; false when its value is at hand.
  bool take_state_dir() {
    while (next_ < before_.size()) {
      const OptionText option = split_option(before_[next_]);
      if (option.name != "--state-dir") return true;
      ++next_;
      if (option.value) {
        typed_.state_dir = *option.value;
      } else if (next_ < before_.size()) {
        typed_.state_dir = before_[next_++];
      } else {
        value_of("DIR", begun_, {});
        return false;
      }
    }
    if (const OptionText option = split_option(begun_); option.value) {
      if (option.name == "--state-dir") value_of("DIR", *option.value, option.name + "=");
      return false;
    }
    return true;
  }

  void first_words(bool only_commands) {
    if (begun_.starts_with("-")) {
      if (only_commands) return;
      offer("--state-dir", "Folder of the VMs' state");
      offer("--help", "List the commands");
      offer("--version", "Print the version");
      return;
    }
    for (const Command& command : commands_) {
      const std::size_t space = command.name.find(' ');
      if (space == std::string_view::npos) {
        offer(std::string(command.name), command.summary);
      } else {
        offer(std::string(command.name.substr(0, space)), summary_of(command.name, space));
      }
    }
    if (!only_commands) offer("help", "Tell about a command");
  }

  // "list, bind, release" for a group of commands.
  std::string summary_of(std::string_view name, std::size_t space) const {
    std::string all;
    for (const Command& command : commands_) {
      if (!command.name.starts_with(name.substr(0, space + 1))) continue;
      all += (all.empty() ? "" : ", ") + std::string(command.name.substr(space + 1));
    }
    return all;
  }

  // nullptr when it is half typed (its second words are offered), or there is none.
  const Command* find_command() {
    const std::string& first = before_[next_];
    for (const Command& command : commands_) {
      if (command.name == first) {
        ++next_;
        return &command;
      }
      if (!command.name.starts_with(first + " ")) continue;
      const std::string_view second = command.name.substr(first.size() + 1);
      if (next_ + 1 == before_.size()) {
        offer(std::string(second), command.summary);
      } else if (before_[next_ + 1] == second) {
        next_ += 2;
        return &command;
      }
    }
    return nullptr;
  }

  void words_after(const Command& command) {
    words_ = words_of(command);
    for (CommandWord& option : common_options()) words_.push_back(std::move(option));
    const CommandWord* waiting = nullptr;  // an option whose value comes next
    bool only_positionals = false;
    std::vector<const CommandWord*> used;
    for (; next_ < before_.size(); ++next_) {
      const std::string& word = before_[next_];
      if (waiting != nullptr) {
        take_value(*waiting, word);
        waiting = nullptr;
      } else if (only_positionals || !word.starts_with("-") || word == "-") {
        typed_.positionals.push_back(word);
      } else if (word == "--") {
        only_positionals = true;
      } else {
        const OptionText text = split_option(word);
        const CommandWord* option = find_option(text.name);
        if (option == nullptr) continue;
        used.push_back(option);
        if (text.value) {
          take_value(*option, *text.value);
        } else if (option->form == Form::kOption) {
          waiting = option;
        }
      }
    }
    if (waiting != nullptr) return value_of(waiting->value, begun_, {});
    if (!only_positionals && begun_.starts_with("-")) return options(used);
    positional(only_positionals ? std::vector<const CommandWord*>() : used, only_positionals);
  }

  void take_value(const CommandWord& option, const std::string& value) {
    if (has_name(option, "--state-dir")) typed_.state_dir = value;
  }

  const CommandWord* find_option(std::string_view name) const {
    for (const CommandWord& word : words_) {
      if (word.form != Form::kPositional && has_name(word, name)) return &word;
    }
    return nullptr;
  }

  void options(const std::vector<const CommandWord*>& used) {
    if (const OptionText text = split_option(begun_); text.value) {
      const CommandWord* option = find_option(text.name);
      if (option != nullptr && option->form == Form::kOption) {
        value_of(option->value, *text.value, text.name + "=");
      }
      return;
    }
    for (const CommandWord& word : words_) {
      const bool is_used = std::find(used.begin(), used.end(), &word) != used.end();
      if (word.form == Form::kPositional || (is_used && word.count != Count::kAny)) continue;
      offer(word.names.back(), word.doc);
    }
  }

  void positional(const std::vector<const CommandWord*>& used, bool only_positionals) {
    std::size_t index = typed_.positionals.size();
    for (const CommandWord& word : words_) {
      if (word.form != Form::kPositional) continue;
      if (index == 0 || word.count == Count::kSome) return value_of(word.names[0], begun_, {});
      --index;
    }
    if (!only_positionals && begun_.empty()) options(used);
  }

  void value_of(const std::string& name, const std::string& begun, const std::string& before) {
    const WordKind kind = word_kind(name);
    switch (kind) {
      case WordKind::kUnknown:
      case WordKind::kText:
        return;
      case WordKind::kFile:
        return paths(Completions::Paths::kFiles, before);
      case WordKind::kFolder:
        return paths(Completions::Paths::kFolders, before);
      case WordKind::kDevice:
        if (begun.starts_with("@")) return paths(Completions::Paths::kFiles, before + "@");
        offer(before + "@", "Read it from a file");
        offer(before + "-", "Read it from standard input");
        return;
      default:
        break;
    }
    for (Candidate& candidate : find_(kind, typed_, begun)) {
      offer(before + candidate.word, candidate.doc);
    }
  }

  void paths(Completions::Paths kind, const std::string& before) {
    result_.paths = kind;
    result_.before_path = before;
  }

  std::vector<std::string> before_;
  std::string begun_;
  const std::vector<Command>& commands_;
  const FindWords& find_;
  std::size_t next_ = 0;
  TypedWords typed_;
  std::vector<CommandWord> words_;
  Completions result_;
};

}  // namespace

Completions complete_words(const std::vector<std::string>& words,
                           const std::vector<Command>& commands, const FindWords& find) {
  return Completer(words, commands, find).run();
}

std::string to_text(const Completions& completions) {
  std::string text;
  for (const Candidate& candidate : completions.words) {
    text += printable(candidate.word);
    if (!candidate.doc.empty()) text += '\t' + printable(candidate.doc);
    text += '\n';
  }
  if (completions.paths != Completions::Paths::kNone) {
    const bool files = completions.paths == Completions::Paths::kFiles;
    text += fmt::format(":{} {}\n", files ? "files" : "folders", completions.before_path);
  }
  return text;
}

}  // namespace vmrig
