#include "hostcfg/base/json_document.hpp"

#include <fmt/format.h>

#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "hostcfg/base/bytes.hpp"

namespace vmrig {
namespace {

// Counts lines while nlohmann's lexer reads: its SAX interface reports no positions.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator() = default;
  CountingIterator(const char* at, int* line, char* last) : at_(at), line_(line), last_(last) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    *last_ = *at_;
    if (*at_ == '\n') ++*line_;
    ++at_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_ = nullptr;
  int* line_ = nullptr;
  char* last_ = nullptr;
};

class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(Json& root, std::map<std::string, int, std::less<>>& lines, const std::string& file,
          std::vector<Diagnostic>& diagnostics, const int& line, const char& last)
      : root_(root),
        lines_(lines),
        file_(file),
        diagnostics_(diagnostics),
        line_(line),
        last_(last) {}

  bool null() override { return add(nullptr, line_); }
  bool boolean(bool value) override { return add(value, line_); }
  bool number_integer(number_integer_t value) override { return add(value, number_line()); }
  bool number_unsigned(number_unsigned_t value) override { return add(value, number_line()); }
  bool number_float(number_float_t value, const string_t& /*text*/) override {
    return add(value, number_line());
  }
  bool string(string_t& value) override { return add(std::move(value), line_); }
  bool binary(binary_t& /*value*/) override { return false; }
  bool start_object(std::size_t /*size*/) override { return open(Json::object()); }
  bool start_array(std::size_t /*size*/) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    Level& level = levels_.back();
    level.duplicate = !level.keys.insert(name).second;
    level.key = name;
    if (level.duplicate) {
      fault(path(), line_, fmt::format("{} stands twice in one object", quote(name)));
    }
    return true;
  }

  bool parse_error(std::size_t /*position*/, const std::string& token,
                   const nlohmann::json::exception& error) override {
    std::string why = error.what();
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error …"
    const std::size_t cut = why.find(": ");
    if (cut != std::string::npos) why = why.substr(cut + 2);
    if (why.size() > 200) why.resize(200);
    fault("", line_,
          fmt::format("not valid JSON near {}: {}",
                      quote(token.size() > 40 ? token.substr(token.size() - 40) : token),
                      quoted_free(why)));
    return false;
  }

  bool too_deep() const { return too_deep_; }

 private:
  struct Level {
    Json* value;
    std::string path;
    std::string key;
    std::set<std::string> keys;
    bool duplicate = false;
  };

  // The lexer's own words with anything unprintable from the file escaped.
  static std::string quoted_free(const std::string& text) {
    const std::string with_quotes = quote(text);
    std::string plain;
    for (std::size_t i = 1; i + 1 < with_quotes.size(); ++i) {
      if (with_quotes[i] == '\\' && (with_quotes[i + 1] == '"' || with_quotes[i + 1] == '\\')) ++i;
      plain += with_quotes[i];
    }
    return plain;
  }

  // The lexer ends a number by reading one character past it.
  int number_line() const { return last_ == '\n' ? line_ - 1 : line_; }

  std::string path() const {
    if (levels_.empty()) return {};
    const Level& level = levels_.back();
    if (level.value->is_array()) return fmt::format("{}[{}]", level.path, level.value->size());
    return level.path.empty() ? level.key : level.path + "." + level.key;
  }

  void fault(std::string at, int line, std::string message) {
    diagnostics_.push_back({.path = std::move(at),
                            .message = std::move(message),
                            .mend = {},
                            .file = file_,
                            .line = line});
  }

  Json* put(Json value, int line) {
    const std::string at = path();
    lines_.emplace(at, line);
    if (levels_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Level& level = levels_.back();
    if (level.value->is_array()) {
      level.value->push_back(std::move(value));
      return &level.value->back();
    }
    // The first of two equal keys stays: the fault is reported, neither is trusted.
    if (level.duplicate) {
      discarded_ = std::move(value);
      return &discarded_;
    }
    return &((*level.value)[level.key] = std::move(value));
  }

  bool add(Json value, int line) {
    put(std::move(value), line);
    return true;
  }

  bool open(Json empty) {
    if (levels_.size() >= JsonDocument::kMaxDepth) {
      fault(levels_.front().key, line_,
            fmt::format("nested deeper than {} levels", JsonDocument::kMaxDepth));
      too_deep_ = true;
      return false;
    }
    const std::string at = path();
    // A discarded container may hold others, so each gets a place of its own.
    Json* placed = put(std::move(empty), line_);
    if (placed == &discarded_) {
      kept_.push_back(std::make_unique<Json>(std::move(discarded_)));
      placed = kept_.back().get();
    }
    levels_.push_back({placed, at, {}, {}, false});
    return true;
  }

  bool close() {
    levels_.pop_back();
    return true;
  }

  Json& root_;
  std::map<std::string, int, std::less<>>& lines_;
  const std::string& file_;
  std::vector<Diagnostic>& diagnostics_;
  const int& line_;
  const char& last_;
  std::vector<Level> levels_;
  Json discarded_;
  std::vector<std::unique_ptr<Json>> kept_;
  bool too_deep_ = false;
};

// The path of the value that holds the one at `path`; empty for the root.
std::string_view parent(std::string_view path) {
  const std::size_t cut = path.find_last_of(".[");
  return cut == std::string_view::npos ? std::string_view{} : path.substr(0, cut);
}

}  // namespace

JsonDocument::JsonDocument() : root_(std::make_unique<Json>()) {}
JsonDocument::~JsonDocument() = default;
JsonDocument::JsonDocument(JsonDocument&&) noexcept = default;
JsonDocument& JsonDocument::operator=(JsonDocument&&) noexcept = default;

JsonDocument JsonDocument::parse(std::string_view text, std::string file,
                                 std::vector<Diagnostic>& diagnostics) {
  JsonDocument document;
  document.file_ = std::move(file);
  if (text.size() > kMaxBytes) {
    diagnostics.push_back(
        {.path = {},
         .message = fmt::format("larger than {}, which no config is", to_string(Bytes{kMaxBytes})),
         .mend = {},
         .file = document.file_,
         .line = 0});
    return document;
  }
  if (text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);
  int line = 1;
  char last = 0;
  Builder builder(*document.root_, document.lines_, document.file_, diagnostics, line, last);
  constexpr bool kToTheEnd = true;
  constexpr bool kWithComments = true;
  const bool good = Json::sax_parse(CountingIterator(text.data(), &line, &last),
                                    CountingIterator(text.data() + text.size(), &line, &last),
                                    &builder, Json::input_format_t::json, kToTheEnd, kWithComments);
  if (!good) *document.root_ = nullptr;
  return document;
}

int JsonDocument::line(std::string_view path) const {
  for (;; path = parent(path)) {
    auto found = lines_.find(path);
    if (found != lines_.end()) return found->second;
    if (path.empty()) return 0;
  }
}

void JsonDocument::set_source(const std::string& path, std::string source) {
  sources_.insert_or_assign(path, std::move(source));
}

std::string JsonDocument::source(std::string_view path) const {
  for (;; path = parent(path)) {
    auto found = sources_.find(path);
    if (found != sources_.end()) return found->second;
    if (path.empty()) return {};
  }
}

}  // namespace vmrig
