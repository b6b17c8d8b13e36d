// What a command takes on the command line, said as data; CLI11 is behind it, in one file.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "launcher/cli/report.hpp"

namespace vmrig {

// What every command gets besides its own options.
struct Context {
  // --state-dir or VMRIG_STATE_DIR; empty for the default of the user.
  std::string state_dir;
};

// Takes the descriptions of a command's words. The variables have to live until the command
// has run; they are set by then. Names are "--timeout", or "NAME" for a positional.
class CommandLine {
 public:
  virtual ~CommandLine() = default;
  virtual void positional(std::string_view name, std::string_view doc, std::string& value) = 0;
  virtual void positional(std::string_view name, std::string_view doc,
                          std::optional<std::string>& value) = 0;
  // One or more.
  virtual void positionals(std::string_view name, std::string_view doc,
                           std::vector<std::string>& values) = 0;
  virtual void flag(std::string_view name, std::string_view doc, bool& value) = 0;
  virtual void option(std::string_view name, std::string_view value_name, std::string_view doc,
                      std::optional<std::string>& value) = 0;
  // A number of seconds from 0; fractions are taken.
  virtual void seconds(std::string_view name, std::string_view doc,
                       std::optional<double>& value) = 0;
  virtual void repeated(std::string_view name, std::string_view value_name, std::string_view doc,
                        std::vector<std::string>& values) = 0;
};

using RunCommand = std::function<ExitStatus(const Context&)>;

struct Command {
  std::string_view name;     // "stop", "host facts"
  std::string_view usage;    // what stands behind it: "NAME"; for the list of commands
  std::string_view summary;  // one sentence
  // Describes the words, and returns what to do with them.
  RunCommand (*define)(CommandLine& line);
};

// Reads the program's words (without its own name) and returns what to do. --state-dir overrides
// what `context` holds; --json sets `error_form`, so that faults are told in the same form as the
// answer, those of the words too. Asked for help, the answer is to print it. Throws Error (kUsage)
// that names the nearest known word for an unknown one.
RunCommand parse_command_line(const std::vector<std::string>& arguments,
                              const std::vector<Command>& commands, Context& context,
                              ErrorForm& error_form);

}  // namespace vmrig
