#include "qmp/server_request.hpp"

#include <utility>

#include "qmp/framing.hpp"

namespace qmp::detail {
namespace {

std::string line(std::string_view key, std::string_view body, std::string_view id) {
  std::string text;
  text.reserve(body.size() + id.size() + 24);
  text += "{\"";
  text += key;
  text += "\": ";
  text += body;
  if (!id.empty()) {
    text += ", \"id\": ";
    text += id;
  }
  text += "}\r\n";
  return text;
}

/// An id as it came: numbers past what a parser holds, and the order of members, stay.
std::string id_text(std::string_view message, const Json& id) {
  const std::string_view text = open_envelope(message).id;
  // Empty where the key is written with escapes; and a reply has to stay on one line.
  const bool usable = !text.empty() && text.find_first_of("\r\n") == std::string_view::npos;
  return usable ? std::string(text) : id.dump();
}

}  // namespace

Json ClientRequest::upstream() const {
  Json request = Json::object();
  request[oob ? "exec-oob" : "execute"] = command;
  if (!arguments.empty()) request["arguments"] = arguments;
  return request;
}

ClientRequest parse_request(std::string_view message, OobState oob) {
  ClientRequest request;
  Json json = Json::parse(message, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) {
    request.fault = "JSON parse error, invalid text";
    return request;
  }
  if (!json.is_object()) {
    request.fault = "QMP input must be a JSON object";
    return request;
  }
  if (const auto id = json.find("id"); id != json.end()) request.id = id_text(message, *id);
  const auto fault = [&](std::string text) {
    if (request.fault.empty()) request.fault = std::move(text);
  };
  bool has_command = false;
  for (const auto& [key, value] : json.items()) {
    if (key == "id") continue;
    if (key == "execute" || (key == "exec-oob" && oob == OobState::enabled)) {
      if (has_command) {
        fault("QMP input has both 'execute' and 'exec-oob'");
      } else if (!value.is_string()) {
        fault("QMP input member '" + key + "' must be a string");
      } else {
        request.command = value.get<std::string>();
        request.oob = key == "exec-oob";
      }
      has_command = true;
    } else if (key == "arguments") {
      if (value.is_object()) {
        request.arguments = value;
      } else {
        fault("QMP input member 'arguments' must be an object");
      }
    } else {
      fault("QMP input member '" + key + "' is unexpected");
    }
  }
  if (!has_command) fault("QMP input lacks member 'execute'");
  return request;
}

std::string return_line(std::string_view body, std::string_view id) {
  return line("return", body, id);
}

std::string error_line(std::string_view body, std::string_view id) {
  return line("error", body, id);
}

std::string error_body(const std::string& error_class, const std::string& desc) {
  return to_text(Json{{"class", error_class}, {"desc", desc}});
}

std::string to_text(const Json& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace qmp::detail
