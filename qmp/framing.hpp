#pragma once

#include <bitset>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace qmp {

/// Largest reply taken from QEMU, in bytes. The schema is 250 kB, a big query-stats a few MB.
inline constexpr std::size_t kMaxReplyBytes = std::size_t{64} << 20;
/// Largest request taken from a client of the Server, in bytes.
inline constexpr std::size_t kMaxRequestBytes = std::size_t{8} << 20;
/// Deepest nesting of a message. nlohmann_json parses and destroys recursively in places, and
/// QEMU's own limit is 1024 (qemu qobject/json-streamer.c).
inline constexpr std::size_t kMaxNesting = 512;

/// Limits of a Framer.
struct FramingLimits {
  std::size_t max_message_bytes = kMaxReplyBytes;
  std::size_t max_nesting = kMaxNesting;  ///< at most kMaxNesting
};

/// Splits a byte stream into JSON messages (objects or arrays) at any chunking: partial, glued,
/// pretty printed, with any white space between them. A byte 0xFF drops what is unfinished, as
/// the guest agent's protocol has it (qemu docs/interop/qemu-ga-ref, guest-sync-delimited).
///
/// It checks brackets, nesting, size and UTF-8, not the whole grammar: parse the text it returns.
class Framer {
 public:
  explicit Framer(FramingLimits limits = {});

  /// Room for the next read of at least `bytes` bytes; follow it by commit(). Invalidates the
  /// text returned by next().
  std::span<char> prepare(std::size_t bytes);
  /// The first `bytes` bytes of prepare()'s room hold data now.
  void commit(std::size_t bytes);
  /// prepare(), copy and commit() in one.
  void append(std::string_view bytes);

  /// The next complete message, or nothing when more bytes are needed. The text is valid until
  /// the next call of any non-const member. Throws Error: protocol for garbage (call resync() to
  /// go on), too_large past a limit (the stream is of no use any more).
  std::optional<std::string_view> next();

  /// After a protocol error: drops everything up to and with the next newline.
  void resync();

  /// True when no byte of an unfinished message is held.
  bool at_boundary() const noexcept;
  /// How many 0xFF bytes were met so far.
  std::size_t resets() const noexcept { return resets_; }
  /// Bytes of memory held for the buffer; shrinks back once a large message is done with.
  std::size_t capacity() const noexcept { return buffer_.capacity(); }

 private:
  void compact();
  void finish_message() noexcept;
  [[noreturn]] void fail(const char* reason);

  FramingLimits limits_;
  std::string buffer_;
  std::size_t end_ = 0;    // bytes of buffer_ that hold data
  std::size_t start_ = 0;  // first byte not handed out yet
  std::size_t scan_ = 0;   // first byte not looked at yet
  std::size_t depth_ = 0;  // open brackets
  std::size_t resets_ = 0;
  std::bitset<kMaxNesting> is_object_;  // by depth: which bracket has to close it
  bool in_string_ = false;
  bool escaped_ = false;
  bool non_ascii_ = false;
  bool skipping_ = false;
};

/// True when `text` is well-formed UTF-8 (no overlong forms, no surrogates).
bool is_utf8(std::string_view text) noexcept;

/// The members of a QMP message that decide where it goes, as raw JSON text within the message;
/// empty where absent. Lets a large reply be passed on without building a tree of it.
struct Envelope {
  std::string_view greeting;  ///< "QMP"
  std::string_view returned;  ///< "return"
  std::string_view error;     ///< "error"
  std::string_view event;     ///< "event"
  std::string_view id;        ///< "id"
};

/// Finds the top-level members of `message`, one text from Framer::next().
/// Throws Error (protocol) when it is no object or its top level is malformed.
Envelope open_envelope(std::string_view message);

}  // namespace qmp
