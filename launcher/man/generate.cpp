// Makes a manual page of its frame:
//   vmrig_man FRAME PAGE
// @COMMANDS@ and @KEYS@, each a line of its own, become what the program knows of its commands and
// its config's keys; @VERSION@ becomes its version. A tool of the build, not installed.
#include <exception>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "launcher/commands/commands.hpp"
#include "launcher/config/load_config.hpp"
#include "launcher/man/sections.hpp"

namespace {

std::string filled(std::string line) {
  if (line == "@COMMANDS@") return vmrig::command_sections(vmrig::all_commands());
  if (line == "@KEYS@") return vmrig::key_sections(vmrig::config_schema());
  const std::string mark = "@VERSION@";
  const std::size_t at = line.find(mark);
  if (at != std::string::npos) line.replace(at, mark.size(), VMRIG_VERSION);
  return line + "\n";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: vmrig_man FRAME PAGE\n";
    return 2;
  }
  try {
    std::ifstream frame(argv[1]);
    std::ostringstream text;
    std::string line;
    while (std::getline(frame, line)) text << filled(line);
    std::ofstream page(argv[2]);
    page << text.str() << std::flush;
    if (frame.eof() && page) return 0;
    std::cerr << "vmrig_man: can't make " << argv[2] << " of " << argv[1] << '\n';
  } catch (const std::exception& fault) {
    std::cerr << "vmrig_man: " << fault.what() << '\n';
  }
  return 1;
}
