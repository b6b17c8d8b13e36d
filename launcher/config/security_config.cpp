// The keys of "security".
#include <algorithm>
#include <charconv>
#include <cstdint>
#include <limits>
#include <string_view>

#include "launcher/config/vm_config.hpp"

namespace vmrig {
namespace {

// The last number is the kernel's word for none.
constexpr std::int64_t kMostUid = std::numeric_limits<std::uint32_t>::max() - std::int64_t{1};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_alnum(char c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::string why_bad_user(const std::string& user) {
  constexpr std::string_view kMore = "-_.@$";
  const bool good = !user.empty() && (is_alnum(user.front()) || user.front() == '_') &&
                    std::all_of(user.begin(), user.end(), [&](char c) {
                      return is_alnum(c) || kMore.find(c) != std::string_view::npos;
                    });
  if (!good) return "is no user's name";
  if (!std::all_of(user.begin(), user.end(), is_digit)) return {};
  std::int64_t uid = 0;
  const auto [end, fault] = std::from_chars(user.data(), user.data() + user.size(), uid);
  return fault != std::errc() || uid > kMostUid ? "is no user's number" : "";
}

// A number may stand without quotes.
struct UserChoice {
  std::string& user;
};

void visit(Shape& shape, UserChoice& choice) {
  int which = 0;
  shape.any_of(which, {{Alternative::Type::kText,
                        [&](Shape& inner) {
                          inner.text(choice.user, {.min_length = 1,
                                                   .max_length = 256,
                                                   .pattern = "^[A-Za-z0-9_][A-Za-z0-9_.@$-]*$",
                                                   .meaning = "a user's name or number",
                                                   .check = why_bad_user});
                        }},
                       {Alternative::Type::kInteger, [&](Shape& inner) {
                          std::int64_t uid = 0;
                          inner.integer(uid, {0, kMostUid});
                          choice.user = std::to_string(uid);
                        }}});
}

}  // namespace

void describe(Fields& fields, SecurityConfig& security) {
  UserChoice user{security.user};
  fields.member("user",
                "Who QEMU is: auto (a uid of the VM's own where vmrig is root, else the caller), "
                "caller, or a user's name or number.",
                Fields::Need::kOptional, true, [&](Shape& shape) { visit(shape, user); });
  fields.optional("sandbox", "QEMU's seccomp sandbox, with every denial.", security.sandbox);
}

}  // namespace vmrig
