#include "launcher/cli/command_line.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>

#include "hostcfg/base/nearest.hpp"
#include "launcher/cli/output.hpp"
#include "launcher/text.hpp"

namespace vmrig {
namespace {

constexpr std::string_view kStateDir = "--state-dir";

Error usage_error(std::string cause, std::string mend) {
  return Error({.status = ExitStatus::kUsage,
                .operation = std::move(cause),
                .object = {},
                .cause = {},
                .mend = std::move(mend)});
}

std::string help_of(const std::string& command) {
  return command.empty() ? "vmrig help" : fmt::format("vmrig help {}", command);
}

// The words of one command, on CLI11. Only the command that was asked for is set up: building
// all of them would cost more than most commands take.
class CliCommandLine final : public CommandLine {
 public:
  CliCommandLine(const Command& command, std::string& state_dir)
      : app_(std::string(command.summary), "vmrig " + std::string(command.name)) {
    app_.set_help_flag("-h,--help", "Print this help");
    app_.allow_extras();
    app_.add_option(std::string(kStateDir), state_dir, "Folder of the VMs' state")
        ->type_name("DIR");
    names_ = {"--help", kStateDir};
  }

  void positional(std::string_view name, std::string_view doc, std::string& value) override {
    app_.add_option(std::string(name), value, std::string(doc))->type_name("")->required();
  }
  void positional(std::string_view name, std::string_view doc,
                  std::optional<std::string>& value) override {
    app_.add_option(std::string(name), value, std::string(doc))->type_name("");
  }
  void positionals(std::string_view name, std::string_view doc,
                   std::vector<std::string>& values) override {
    app_.add_option(std::string(name), values, std::string(doc))->type_name("")->required();
  }
  void flag(std::string_view name, std::string_view doc, bool& value) override {
    app_.add_flag(std::string(name), value, std::string(doc));
    names_.push_back(name);
  }
  void option(std::string_view name, std::string_view value_name, std::string_view doc,
              std::optional<std::string>& value) override {
    app_.add_option(std::string(name), value, std::string(doc))->type_name(std::string(value_name));
    names_.push_back(name);
  }
  void seconds(std::string_view name, std::string_view doc, std::optional<double>& value) override {
    constexpr double kMost = 1e9;  // three decades: more is a typing error, and overflows clocks
    app_.add_option(std::string(name), value, std::string(doc))
        ->type_name("SECONDS")
        ->check([](const std::string& text) {
          double number = 0;
          const bool whole = CLI::detail::lexical_cast(text, number);
          return whole && std::isfinite(number) && number >= 0 && number <= kMost
                     ? std::string()
                     : fmt::format("{} is no number of seconds", quote(text));
        });
    names_.push_back(name);
  }
  void repeated(std::string_view name, std::string_view value_name, std::string_view doc,
                std::vector<std::string>& values) override {
    app_.add_option(std::string(name), values, std::string(doc))
        ->type_name(std::string(value_name))
        ->allow_extra_args(false);
    names_.push_back(name);
  }

  // True when help was asked for.
  bool parse(std::vector<std::string> words) {
    std::reverse(words.begin(), words.end());  // CLI11 takes the words of a vector from its end
    try {
      app_.parse(std::move(words));
    } catch (const CLI::CallForHelp&) {
      return true;
    } catch (const CLI::ParseError& error) {
      refuse_extras();  // an unknown option is the likelier cause of a missing word
      throw usage_error(fmt::format("{}: {}", app_.get_name(), error.what()), help());
    }
    refuse_extras();
    return false;
  }

  std::string help_text() const { return app_.help(); }

 private:
  std::string help() const { return app_.get_name() + " --help"; }

  void refuse_extras() const {
    std::vector<std::string> extras = app_.remaining();
    std::erase(extras, "--");  // CLI11 2.1 counts the separator among them
    if (extras.empty()) return;
    const std::string word = extras.front().substr(0, extras.front().find('='));
    if (word.starts_with("-")) {
      throw usage_error(fmt::format("{}: unknown option {}{}", app_.get_name(), quote(word),
                                    did_you_mean(word, names_)),
                        help());
    }
    throw usage_error(
        fmt::format("{}: unexpected argument {}", app_.get_name(), quote(extras.front())), help());
  }

  CLI::App app_;
  std::vector<std::string_view> names_;
};

std::string first_word(std::string_view name) {
  return std::string(name.substr(0, name.find(' ')));
}

// A command of two words stands for both: "host facts".
const Command* find(const std::vector<Command>& commands, const std::vector<std::string>& words,
                    std::size_t& used) {
  for (const Command& command : commands) {
    if (command.name == words[0]) {
      used = 1;
      return &command;
    }
    if (words.size() > 1 && command.name == words[0] + " " + words[1]) {
      used = 2;
      return &command;
    }
  }
  return nullptr;
}

const Command& find_or_refuse(const std::vector<Command>& commands,
                              const std::vector<std::string>& words, std::size_t& used) {
  if (const Command* found = find(commands, words, used)) return *found;
  std::vector<std::string_view> names;
  std::vector<std::string_view> seconds;
  for (const Command& command : commands) {
    const std::string group = first_word(command.name);
    names.push_back(command.name.substr(0, group.size()));
    if (group == words[0]) seconds.push_back(command.name.substr(group.size() + 1));
  }
  if (words[0].starts_with("-")) {
    throw usage_error(fmt::format("unknown option {}{}", quote(words[0]),
                                  did_you_mean(words[0], {"--help", "--version", kStateDir})),
                      help_of(""));
  }
  if (seconds.empty()) {
    throw usage_error(
        fmt::format("unknown command {}{}", quote(words[0]), did_you_mean(words[0], names)),
        help_of(""));
  }
  if (words.size() < 2) {
    throw usage_error(fmt::format("{} needs a second word", quote(words[0])),
                      fmt::format("vmrig {} {}", words[0], seconds.front()));
  }
  throw usage_error(fmt::format("unknown command {}{}", quote(words[0] + " " + words[1]),
                                did_you_mean(words[1], seconds)),
                    help_of(""));
}

std::string overview(const std::vector<Command>& commands) {
  std::string text =
      "vmrig starts tuned KVM/QEMU virtual machines without libvirt.\n\n"
      "Usage: vmrig [--state-dir DIR] COMMAND …\n\n";
  std::vector<std::vector<std::string>> rows;
  for (const Command& command : commands) {
    rows.push_back(
        {fmt::format("  {} {}", command.name, command.usage), std::string(command.summary)});
  }
  text += table(rows);
  text +=
      "\nvmrig COMMAND --help tells a command's options.\n"
      "Exit status: 0 done, 1 failed, 2 usage or config, 3 the host can't, 4 QEMU refused or "
      "died,\n5 no such VM, 6 busy, 124 time up, 137 killed.\n"
      "Environment: VMRIG_STATE_DIR (as --state-dir), VMRIG_CACHE_DIR, NO_COLOR.\n";
  return text;
}

RunCommand print(std::string text) {
  return [text = std::move(text)](const Context&) {
    write_out(text);
    return ExitStatus::kDone;
  };
}

// Reads --state-dir before the command, and removes it.
void take_state_dir(std::vector<std::string>& words, Context& context) {
  const std::string with_value = std::string(kStateDir) + "=";
  while (!words.empty() && words.front().starts_with(kStateDir)) {
    if (words.front().starts_with(with_value)) {
      context.state_dir = words.front().substr(with_value.size());
      words.erase(words.begin());
    } else if (words.front() == kStateDir && words.size() > 1) {
      context.state_dir = words[1];
      words.erase(words.begin(), words.begin() + 2);
    } else {
      return;
    }
  }
}

bool asks_for_json(const std::vector<std::string>& words) {
  const auto end = std::find(words.begin(), words.end(), "--");
  return std::find(words.begin(), end, "--json") != end;
}

}  // namespace

RunCommand parse_command_line(const std::vector<std::string>& arguments,
                              const std::vector<Command>& commands, Context& context,
                              ErrorForm& error_form) {
  std::vector<std::string> words = arguments;
  if (asks_for_json(words)) error_form = ErrorForm::kJson;
  take_state_dir(words, context);
  if (words.empty()) {
    throw usage_error("a command is missing", help_of(""));
  }
  bool help = words[0] == "help" || words[0] == "--help" || words[0] == "-h";
  if (help) words.erase(words.begin());
  if (words.empty()) return print(overview(commands));
  if (words[0] == "--version") words[0] = "version";

  std::size_t used = 0;
  const Command& command = find_or_refuse(commands, words, used);
  words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(used));
  CliCommandLine line(command, context.state_dir);
  const RunCommand run = command.define(line);
  if (help || line.parse(std::move(words))) return print(line.help_text());
  return run;
}

}  // namespace vmrig
