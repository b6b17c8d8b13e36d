#pragma once

#include <string>
#include <string_view>

#include "qmp/json.hpp"

namespace qmp::detail {

/// One message of a client, checked as QEMU checks it (qemu qapi/qmp-dispatch.c).
struct ClientRequest {
  std::string command;
  Json arguments = Json::object();
  std::string id;  ///< JSON text to give back; empty when the client sent none.
  bool oob = false;
  std::string fault;  ///< Not empty: why it is refused (GenericError).

  /// The request as it goes to QEMU.
  Json upstream() const;
};

enum class OobState { disabled, enabled };

/// Never throws on bad input: that is a `fault`.
ClientRequest parse_request(std::string_view message, OobState oob);

/// Whole reply lines, in QEMU's form. `body` and `id` are JSON text; an empty id is left out.
std::string return_line(std::string_view body, std::string_view id);
std::string error_line(std::string_view body, std::string_view id);
/// An error's body, for error_line().
std::string error_body(const std::string& error_class, const std::string& desc);
/// Text of any JSON value; bytes that are no UTF-8 are replaced.
std::string to_text(const Json& json);

}  // namespace qmp::detail
