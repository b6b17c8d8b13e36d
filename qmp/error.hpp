#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace qmp {

/// What kind of thing went wrong; decides whether a caller may try again.
enum class ErrorKind {
  command,    ///< The peer refused a command; error_class() and desc() are its words.
  closed,     ///< The connection is gone (or could not be made).
  protocol,   ///< The peer sent what is not QMP; the connection is closed.
  timeout,    ///< The deadline passed; the connection stays usable.
  cancelled,  ///< The caller gave the operation up; the connection stays usable.
  too_large,  ///< A message or queue is past its limit.
};

std::string_view to_string(ErrorKind kind);

/// The one exception type of the library.
class Error : public std::runtime_error {
 public:
  /// A fault of any kind but `command`.
  Error(ErrorKind kind, const std::string& message);
  /// A refused command. `error_class` is QMP's: GenericError, CommandNotFound, DeviceNotFound,
  /// DeviceNotActive, KVMMissingCap (qemu qapi/error.json). `context` stands before desc in what().
  Error(std::string error_class, std::string desc, std::string_view context);

  /// A refusal, for handlers of a Server: class GenericError unless another is given.
  static Error refusal(std::string desc, std::string error_class = "GenericError");

  ErrorKind kind() const noexcept { return kind_; }
  /// Empty unless kind() is command.
  const std::string& error_class() const noexcept { return error_class_; }
  /// The description without context; equal to what() unless kind() is command.
  const std::string& desc() const noexcept { return desc_; }

 private:
  ErrorKind kind_;
  std::string error_class_;
  std::string desc_;
};

}  // namespace qmp
