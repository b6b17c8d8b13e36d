#include "launcher/cli/line_editor.hpp"

#include <fmt/format.h>
#include <histedit.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cwchar>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "launcher/cli/output.hpp"
#include "launcher/text.hpp"

namespace vmrig {
namespace {

constexpr int kHistoryLines = 1000;
constexpr std::size_t kMostListed = 200;
constexpr std::size_t kMostMultibyte = 8;

struct EndEditLine {
  void operator()(EditLine* edit) const { ::el_end(edit); }
};
struct EndHistory {
  void operator()(History* history) const { ::history_end(history); }
};

Error unusable(const char* what) {
  return Error({.status = ExitStatus::kFailed,
                .operation = what,
                .object = {},
                .cause = "libedit refuses this terminal",
                .mend = "pipe the commands into standard input"});
}

std::string common_start(const std::vector<std::string>& words) {
  std::string common = words.front();
  for (const std::string& each : words) {
    const auto differ = std::mismatch(common.begin(), common.end(), each.begin(), each.end());
    common.erase(differ.first, common.end());
  }
  return common;
}

// Words in columns, as a shell lists them.
std::string in_columns(const std::vector<std::string>& words, std::size_t width) {
  std::size_t widest = 0;
  for (const std::string& each : words) widest = std::max(widest, columns_of(each) + 2);
  const std::size_t across = std::max<std::size_t>(1, width / widest);
  const std::size_t down = (words.size() + across - 1) / across;
  std::vector<std::vector<std::string>> rows(down);
  for (std::size_t i = 0; i < words.size(); ++i) rows[i % down].push_back(words[i]);
  return table(rows);
}

}  // namespace

class LineEditor::Impl {
 public:
  explicit Impl(LineEditorOptions options) : options_(std::move(options)) {
    // libedit works on wide characters, whatever the program's own locale is.
    if (std::setlocale(LC_CTYPE, "") == nullptr || MB_CUR_MAX == 1) {
      std::setlocale(LC_CTYPE, "C.UTF-8");
    }
    edit_.reset(::el_init("vmrig", stdin, stdout, stderr));
    history_.reset(::history_init());
    if (!edit_ || !history_) throw unusable("edit lines");
    HistEvent event{};
    ::history(history_.get(), &event, H_SETSIZE, kHistoryLines);
    ::history(history_.get(), &event, H_SETUNIQUE, 1);
    if (!options_.history_file.empty()) {
      ::history(history_.get(), &event, H_LOAD, options_.history_file.c_str());
    }
    ::el_set(edit_.get(), EL_CLIENTDATA, this);
    ::el_set(edit_.get(), EL_EDITOR, "emacs");
    ::el_set(edit_.get(), EL_SIGNAL, 0);
    // Between two lines, too, keys wait for the editor: in the terminal's line mode the kernel
    // would echo them and turn a Ctrl-D into a NUL. el_end() puts the modes back as they were
    // found.
    ::el_set(edit_.get(), EL_SETTY, "-x", "-icanon", "-echo", nullptr);
    ::el_set(edit_.get(), EL_PROMPT, &Impl::prompt);
    ::el_set(edit_.get(), EL_HIST, ::history, history_.get());
    ::el_set(edit_.get(), EL_GETCFN, &Impl::on_key);
    // The wide form: el_set() makes copies of the texts that nobody frees (libedit's eln.c).
    ::el_wset(edit_.get(), EL_ADDFN, L"vmrig-complete", L"Complete a word", &Impl::on_tab);
    ::el_set(edit_.get(), EL_BIND, "\t", "vmrig-complete", nullptr);
    ::el_set(edit_.get(), EL_BIND, "^R", "em-inc-search-prev", nullptr);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    HistEvent event{};
    if (!options_.history_file.empty()) {
      ::history(history_.get(), &event, H_SAVE, options_.history_file.c_str());
    }
  }

  Line read_line() {
    end_ = Line::Kind::kText;
    int count = 0;
    is_shown_ = true;
    const char* text = ::el_gets(edit_.get(), &count);
    is_shown_ = false;
    if (end_ == Line::Kind::kInterrupted) write_out("^C\n");
    if (end_ != Line::Kind::kText) return {.kind = end_, .text = {}};
    if (text == nullptr || count <= 0) return {.kind = Line::Kind::kEnd, .text = {}};
    std::string line(text, static_cast<std::size_t>(count));
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
    // A line that begins with a space is not remembered, as in shells: it may hold a secret.
    if (!line.empty() && line.front() != ' ') {
      HistEvent event{};
      ::history(history_.get(), &event, H_ENTER, line.c_str());
    }
    return {.kind = Line::Kind::kText, .text = std::move(line)};
  }

  void print(std::string_view text) {
    if (!is_shown_) {
      write_out(text);
      return;
    }
    // From the cursor's row up to the prompt's, then everything below goes.
    const LineInfo* line = ::el_line(edit_.get());
    const std::string_view left(line->buffer,
                                static_cast<std::size_t>(line->cursor - line->buffer));
    const std::size_t rows = (columns_of(options_.prompt) + columns_of(left)) / stdout_columns();
    std::fflush(stdout);
    const std::string up = rows > 0 ? fmt::format("\x1b[{}A", rows) : "";
    write_out(fmt::format("{}\r\x1b[J{}", up, text));
    ::el_set(edit_.get(), EL_REFRESH);
  }

  void resize() { ::el_resize(edit_.get()); }

 private:
  static Impl& of(EditLine* edit) {
    void* self = nullptr;
    ::el_get(edit, EL_CLIENTDATA, &self);
    return *static_cast<Impl*>(self);
  }

  static char* prompt(EditLine* edit) { return of(edit).options_.prompt.data(); }

  static int on_key(EditLine* edit, wchar_t* character) {
    return of(edit).read_character(*character);
  }

  // 1 for a character, 0 for the end, -1 to give the line up (then libedit drops it for EINTR).
  int read_character(wchar_t& character) {
    std::mbstate_t state{};
    for (std::size_t bytes = 0; bytes < kMostMultibyte;) {
      const auto input = options_.await_input();
      if (input == LineEditorOptions::Input::kEnd) {
        end_ = Line::Kind::kEnd;
        return 0;
      }
      if (input == LineEditorOptions::Input::kInterrupted) {
        end_ = Line::Kind::kInterrupted;
        errno = EINTR;
        return -1;
      }
      char byte = 0;
      const ssize_t got = ::read(STDIN_FILENO, &byte, 1);
      if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (got <= 0) {
        end_ = Line::Kind::kEnd;
        return 0;
      }
      ++bytes;
      const std::size_t used = std::mbrtowc(&character, &byte, 1, &state);
      constexpr auto kUnfinished = static_cast<std::size_t>(-2);
      constexpr auto kInvalid = static_cast<std::size_t>(-1);
      if (used == kUnfinished) continue;
      if (used == kInvalid) {
        state = {};
        bytes = 0;
        continue;
      }
      return 1;
    }
    return -1;
  }

  static unsigned char on_tab(EditLine* edit, int /*key*/) { return of(edit).complete(); }

  unsigned char complete() {
    if (!options_.complete) return CC_ERROR;
    const LineInfo* line = ::el_line(edit_.get());
    const std::string left(line->buffer, static_cast<std::size_t>(line->cursor - line->buffer));
    const LineEditorOptions::Completion found = options_.complete(left);
    if (found.words.empty() || found.from > left.size()) return CC_ERROR;
    std::string text = common_start(found.words);
    if (found.words.size() == 1) text += found.after;
    const std::string begun = left.substr(found.from);
    if (found.words.size() > 1 && text == begun) {
      std::vector<std::string> listed = found.words;
      const bool many = listed.size() > kMostListed;
      if (many) listed.resize(kMostListed);
      print(in_columns(listed, stdout_columns()) + (many ? "…\n" : ""));
      return CC_NORM;
    }
    ::el_deletestr(edit_.get(), static_cast<int>(columns_of(begun)));
    return ::el_insertstr(edit_.get(), text.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
  }

  LineEditorOptions options_;
  std::unique_ptr<EditLine, EndEditLine> edit_;
  std::unique_ptr<History, EndHistory> history_;
  Line::Kind end_ = Line::Kind::kText;
  bool is_shown_ = false;
};

LineEditor::LineEditor(LineEditorOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}
LineEditor::~LineEditor() = default;
LineEditor::Line LineEditor::read_line() { return impl_->read_line(); }
void LineEditor::print(std::string_view text) { impl_->print(text); }
void LineEditor::resize() { impl_->resize(); }

}  // namespace vmrig
