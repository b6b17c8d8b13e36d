#include "qmp/framing.hpp"

#include <algorithm>
#include <cstring>

#include "qmp/error.hpp"

namespace qmp {
namespace {

// Above this the buffer is given back once its large message is done with.
constexpr std::size_t kKeepBytes = std::size_t{16} << 10;
constexpr char kReset = '\xff';

bool is_space(char c) noexcept { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

bool is_continuation(unsigned char c) noexcept { return (c & 0xC0U) == 0x80U; }

[[noreturn]] void malformed(const char* reason) {
  throw Error(ErrorKind::protocol, std::string("malformed QMP message: ") + reason);
}

}  // namespace

Framer::Framer(FramingLimits limits) : limits_(limits) {
  limits_.max_nesting = std::min(limits_.max_nesting, kMaxNesting);
}

std::span<char> Framer::prepare(std::size_t bytes) {
  compact();
  if (buffer_.size() < end_ + bytes) buffer_.resize(end_ + bytes);
  return {buffer_.data() + end_, buffer_.size() - end_};
}

void Framer::commit(std::size_t bytes) { end_ += bytes; }

void Framer::append(std::string_view bytes) {
  const auto room = prepare(bytes.size());
  std::copy(bytes.begin(), bytes.end(), room.begin());
  commit(bytes.size());
}

void Framer::compact() {
  const std::size_t held = end_ - start_;
  if (buffer_.capacity() > kKeepBytes && held <= kKeepBytes / 4) {
    // By swap: assigning a short string would keep the old capacity.
    std::string(buffer_, start_, held).swap(buffer_);
  } else if (start_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + start_, held);
  }
  scan_ -= start_;
  start_ = 0;
  end_ = held;
}

void Framer::finish_message() noexcept {
  depth_ = 0;
  in_string_ = false;
  escaped_ = false;
  non_ascii_ = false;
  start_ = scan_;
}

void Framer::fail(const char* reason) {
  finish_message();
  malformed(reason);
}

void Framer::resync() {
  finish_message();
  skipping_ = true;
}

bool Framer::at_boundary() const noexcept { return depth_ == 0 && scan_ == end_; }

std::optional<std::string_view> Framer::next() {
  while (scan_ < end_) {
    const char c = buffer_[scan_];
    if (skipping_) {
      const void* newline = std::memchr(buffer_.data() + scan_, '\n', end_ - scan_);
      scan_ =
          newline == nullptr
              ? end_
              : static_cast<std::size_t>(static_cast<const char*>(newline) - buffer_.data()) + 1;
      start_ = scan_;
      skipping_ = newline == nullptr;
      continue;
    }
    if (c == kReset) {
      ++resets_;
      ++scan_;
      finish_message();
      continue;
    }
    if (depth_ == 0) {
      if (is_space(c)) {
        start_ = ++scan_;
        continue;
      }
      if (c != '{' && c != '[') fail("it does not start with a bracket");
      start_ = scan_;
    }
    ++scan_;
    if (scan_ - start_ > limits_.max_message_bytes) {
      throw Error(ErrorKind::too_large, "a QMP message is larger than " +
                                            std::to_string(limits_.max_message_bytes) + " bytes");
    }
    if (static_cast<unsigned char>(c) >= 0x80) non_ascii_ = true;
    if (in_string_) {
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == '"') {
        in_string_ = false;
      } else if (static_cast<unsigned char>(c) < 0x20) {
        --scan_;  // it may be the newline at which resync() goes on
        fail("a control character stands in a string");
      }
      continue;
    }
    switch (c) {
      case '"':
        in_string_ = true;
        break;
      case '{':
      case '[':
        if (depth_ == limits_.max_nesting) {
          throw Error(ErrorKind::too_large, "a QMP message is nested deeper than " +
                                                std::to_string(limits_.max_nesting) + " levels");
        }
        is_object_[depth_] = c == '{';
        ++depth_;
        break;
      case '}':
      case ']':
        if (is_object_[depth_ - 1] != (c == '}')) fail("its brackets do not match");
        if (--depth_ == 0) {
          const std::string_view text(buffer_.data() + start_, scan_ - start_);
          const bool check = non_ascii_;
          finish_message();
          if (check && !is_utf8(text)) malformed("it is not valid UTF-8");
          return text;
        }
        break;
      default:
        break;
    }
  }
  return std::nullopt;
}

bool is_utf8(std::string_view text) noexcept {
  std::size_t i = 0;
  const auto at = [&](std::size_t k) { return static_cast<unsigned char>(text[k]); };
  while (i < text.size()) {
    const unsigned char c = at(i);
    std::size_t length = 0;
    unsigned char low = 0x80;
    unsigned char high = 0xBF;
    // Table 3-7 of the Unicode standard: bounds of the second byte by the first.
    if (c < 0x80) {
      ++i;
      continue;
    }
    if (c >= 0xC2 && c <= 0xDF) {
      length = 2;
    } else if (c >= 0xE0 && c <= 0xEF) {
      length = 3;
      if (c == 0xE0) low = 0xA0;
      if (c == 0xED) high = 0x9F;
    } else if (c >= 0xF0 && c <= 0xF4) {
      length = 4;
      if (c == 0xF0) low = 0x90;
      if (c == 0xF4) high = 0x8F;
    } else {
      return false;
    }
    if (text.size() - i < length || at(i + 1) < low || at(i + 1) > high) return false;
    for (std::size_t k = i + 2; k < i + length; ++k) {
      if (!is_continuation(at(k))) return false;
    }
    i += length;
  }
  return true;
}

namespace {

/// Walks the top level of one message.
class TopLevel {
 public:
  explicit TopLevel(std::string_view text) : text_(text) {}

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_space() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  }
  void expect(char c) {
    if (peek() != c) malformed("its top level is no JSON object");
    ++at_;
  }
  std::string_view string() {
    const std::size_t from = at_;
    expect('"');
    while (peek() != '"') {
      if (at_ >= text_.size()) malformed("a string does not end");
      at_ += text_[at_] == '\\' ? 2 : 1;
    }
    ++at_;
    return text_.substr(from, at_ - from);
  }
  std::string_view value() {
    const std::size_t from = at_;
    std::size_t depth = 0;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"') {
        string();
        if (depth == 0) break;
        continue;
      }
      if (c == '{' || c == '[') {
        ++depth;
      } else if (c == '}' || c == ']') {
        if (depth == 0) break;
        --depth;
        if (depth == 0) {
          ++at_;
          break;
        }
      } else if (depth == 0 && (c == ',' || is_space(c))) {
        break;
      }
      ++at_;
    }
    if (at_ == from) malformed("a member has no value");
    return text_.substr(from, at_ - from);
  }
  bool at_end() const { return at_ >= text_.size(); }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

Envelope open_envelope(std::string_view message) {
  Envelope envelope;
  TopLevel in(message);
  in.skip_space();
  in.expect('{');
  in.skip_space();
  while (in.peek() != '}') {
    const std::string_view key = in.string();
    in.skip_space();
    in.expect(':');
    in.skip_space();
    const std::string_view value = in.value();
    if (key == "\"return\"") {
      envelope.returned = value;
    } else if (key == "\"error\"") {
      envelope.error = value;
    } else if (key == "\"event\"") {
      envelope.event = value;
    } else if (key == "\"id\"") {
      envelope.id = value;
    } else if (key == "\"QMP\"") {
      envelope.greeting = value;
    }
    in.skip_space();
    if (in.peek() == '}') break;
    in.expect(',');
    in.skip_space();
    if (in.peek() == '}') malformed("a comma stands before the closing bracket");
  }
  in.expect('}');
  in.skip_space();
  if (!in.at_end()) malformed("bytes follow its end");
  return envelope;
}

}  // namespace qmp
