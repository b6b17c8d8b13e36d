// A line of input with editing, history and completion, beside other things that happen.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vmrig {

struct LineEditorOptions {
  std::string prompt;
  // Lines of earlier runs, read now and written at the end, mode 0600; empty for none.
  std::string history_file;

  enum class Input { kReady, kInterrupted, kEnd };
  // Called whenever a key is wanted: returns once standard input can be read, and lets other things
  // happen until then. kInterrupted gives the line up, kEnd leaves.
  std::function<Input()> await_input;

  struct Completion {
    std::size_t from = 0;            // what is left of the cursor from this byte on is replaced
    std::vector<std::string> words;  // candidates
    std::string after;               // follows the only candidate
  };
  std::function<Completion(std::string_view left_of_cursor)> complete;
};

// The terminal on standard input and output, by libedit. Between read_line() calls the terminal is
// as it was found.
class LineEditor {
 public:
  // Throws Error when the terminal can't be used.
  explicit LineEditor(LineEditorOptions options);
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;
  ~LineEditor();

  struct Line {
    enum class Kind { kText, kInterrupted, kEnd };
    Kind kind = Kind::kEnd;
    std::string text;
  };
  Line read_line();
  // Whole lines, above the prompt while one is shown.
  void print(std::string_view text);
  // The terminal's size has changed.
  void resize();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vmrig
