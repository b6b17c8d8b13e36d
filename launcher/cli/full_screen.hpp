// A terminal's whole screen, drawn again and again.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "launcher/cli/raw_terminal.hpp"

namespace vmrig {

struct ScreenSize {
  std::size_t columns = 80;
  std::size_t rows = 24;
};

// The terminal's other screen, without a cursor, and its keys as they come, for as long as it
// lives; what was there before is there again afterwards. Signals have to be taken as data
// meanwhile, as with RawTerminal. Standard output has to be a terminal; standard input need not be
// one.
class FullScreen {
 public:
  FullScreen();
  FullScreen(const FullScreen&) = delete;
  FullScreen& operator=(const FullScreen&) = delete;
  ~FullScreen();

  static ScreenSize size();
  bool has_keys() const { return keys_.is_terminal(); }
  // In one write, over what was there. Throws OutputClosed when the terminal has gone.
  void draw(const std::vector<std::string>& lines);

 private:
  RawTerminal keys_;
};

}  // namespace vmrig
