#include "launcher/cli/full_screen.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <string_view>

#include "hostcfg/base/error.hpp"
#include "launcher/cli/output.hpp"

namespace vmrig {
namespace {

// Source: xterm's "Control Sequences", DECSET 1049 and DECTCEM.
constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l\x1b[2J";
constexpr std::string_view kLeave = "\x1b[?25h\x1b[?1049l";

void write_screen(std::string_view text) {
  try {
    write_out(text);
  } catch (const Error&) {
    throw OutputClosed();  // EIO: the terminal has hung up, and nobody reads a word about it
  }
}

}  // namespace

FullScreen::FullScreen() : keys_(STDIN_FILENO) { write_screen(kEnter); }

FullScreen::~FullScreen() {
  try {
    write_out(kLeave);
  } catch (const std::exception&) {
    // It has gone, and there is nothing to restore.
  }
}

ScreenSize FullScreen::size() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) {
    return {};
  }
  return {.columns = size.ws_col, .rows = size.ws_row};
}

void FullScreen::draw(const std::vector<std::string>& lines) {
  std::string frame = "\x1b[H";
  bool first = true;
  for (const std::string& line : lines) {
    // No newline after the last one: on a full screen it would scroll.
    if (!first) frame += "\r\n";
    first = false;
    frame += line + "\x1b[K";
  }
  write_screen(frame + "\x1b[J");
}

}  // namespace vmrig
