#include "qmp/error.hpp"

#include <utility>

namespace qmp {
namespace {

std::string describe(const std::string& error_class, const std::string& desc,
                     std::string_view context) {
  std::string text(context);
  if (!text.empty()) text += ": ";
  text += desc;
  // GenericError says nothing that desc does not.
  if (error_class != "GenericError") text += " (" + error_class + ")";
  return text;
}

}  // namespace

std::string_view to_string(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::command:
      return "command";
    case ErrorKind::closed:
      return "closed";
    case ErrorKind::protocol:
      return "protocol";
    case ErrorKind::timeout:
      return "timeout";
    case ErrorKind::cancelled:
      return "cancelled";
    case ErrorKind::too_large:
      return "too_large";
  }
  return "unknown";
}

Error::Error(ErrorKind kind, const std::string& message)
    : std::runtime_error(message), kind_(kind), desc_(message) {}

Error::Error(std::string error_class, std::string desc, std::string_view context)
    : std::runtime_error(describe(error_class, desc, context)),
      kind_(ErrorKind::command),
      error_class_(std::move(error_class)),
      desc_(std::move(desc)) {}

Error Error::refusal(std::string desc, std::string error_class) {
  return Error(std::move(error_class), std::move(desc), std::string_view{});
}

}  // namespace qmp
