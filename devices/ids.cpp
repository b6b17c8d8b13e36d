#include "devices/ids.hpp"

#include <algorithm>

namespace vmrig {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string why_bad_id(const std::string& id) {
  const bool good = is_letter(id.front()) && std::all_of(id.begin(), id.end(), [](char c) {
                      return is_letter(c) || is_digit(c) || c == '-' || c == '.' || c == '_';
                    });
  if (!good) return "is no id; a letter, then letters, digits, \"-\", \".\" and \"_\"";
  if (id.rfind("vmrig-", 0) == 0) return "is no id; names that start with \"vmrig-\" are taken";
  return {};
}

}  // namespace

TextRule id_rule(std::size_t max_length) {
  return {.min_length = 1,
          .max_length = max_length,
          .pattern = "^(?!vmrig-)[A-Za-z][A-Za-z0-9._-]*$",
          .meaning = "a letter, then letters, digits, '-', '.' and '_'; not \"vmrig-…\"",
          .check = why_bad_id};
}

TextRule socket_id_rule() {
  TextRule rule = id_rule();
  rule.pattern = "^(?!vmrig-|(monitor|qmp|console)$)[A-Za-z][A-Za-z0-9._-]*$";
  rule.check = [](const std::string& id) -> std::string {
    if (id == "monitor" || id == "qmp" || id == "console") {
      return "is no id for it; " + id + ".sock is a socket of vmrig's own";
    }
    return why_bad_id(id);
  };
  return rule;
}

TextRule path_rule() {
  return {.min_length = 1, .max_length = 4095, .pattern = {}, .meaning = "a path", .check = {}};
}

}  // namespace vmrig
