#include "qmp/flat_json.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace qmp::detail {
namespace {

using NotFlat = FlatJson::NotFlat;

/// The value that begins at `at`, and where it ends. Strings hold no escapes here, so that a quote
/// always ends one.
std::string_view value_at(std::string_view text, std::size_t at) {
  std::size_t end = at;
  int depth = 0;
  do {
    if (end >= text.size()) throw NotFlat();
    switch (text[end]) {
      case '"':
        end = text.find('"', end + 1);
        if (end == std::string_view::npos) throw NotFlat();
        break;
      case '[':
      case '{':
        ++depth;
        break;
      case ']':
      case '}':
        if (--depth < 0) throw NotFlat();
        break;
      default:
        // A number or a word goes on to the next separator.
        if (depth == 0) {
          end = text.find_first_of(",]}", end);
          return text.substr(at, end == std::string_view::npos ? end : end - at);
        }
    }
    ++end;
  } while (depth > 0);
  return text.substr(at, end - at);
}

/// Whether all bytes are printable ASCII without a backslash; eight at a time, as there are many.
bool is_plain(std::string_view text) {
  constexpr std::uint64_t kEach = 0x0101010101010101U;
  constexpr std::uint64_t kHigh = 0x80 * kEach;
  // The high bit of each byte that is 0. Exact where no byte has its high bit set.
  const auto zeros = [](std::uint64_t word) { return (word - kEach) & ~word & kHigh; };
  std::uint64_t bad = 0;
  while (!text.empty()) {
    std::uint64_t word = ' ' * kEach;
    const std::size_t count = std::min(text.size(), sizeof word);
    std::memcpy(&word, text.data(), count);
    // Below a space, subtracting one borrows.
    bad |= word | ((word - ' ' * kEach) & ~word) | zeros(word ^ ('\\' * kEach)) |
           zeros(word ^ (0x7f * kEach));
    text.remove_prefix(count);
  }
  return (bad & kHigh) == 0;
}

/// Between the brackets.
std::string_view inside(std::string_view value, char begin, char end) {
  if (value.size() < 2 || value.front() != begin || value.back() != end) throw NotFlat();
  return value.substr(1, value.size() - 2);
}

/// Steps over the comma before the next item; false at the end.
bool has_next(std::string_view list, std::size_t& at) {
  if (at == list.size()) return false;
  if (list[at] != ',' || ++at == list.size()) throw NotFlat();
  return true;
}

}  // namespace

FlatJson FlatJson::of_text(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (!is_plain(text)) throw NotFlat();
  return FlatJson(text);
}

FlatJson::FlatJson(std::string_view object) {
  const std::string_view list = inside(object, '{', '}');
  std::size_t at = 0;
  for (bool more = !list.empty(); more; more = has_next(list, at)) {
    const std::string_view key = value_at(list, at);
    at += key.size();
    if (at >= list.size() || list[at] != ':') throw NotFlat();
    const std::string_view value = value_at(list, ++at);
    at += value.size();
    members_.emplace_back(text_of(key), value);
  }
  if (!std::is_sorted(members_.begin(), members_.end())) {
    std::sort(members_.begin(), members_.end());
  }
  const auto same = [](const auto& a, const auto& b) { return a.first == b.first; };
  if (std::adjacent_find(members_.begin(), members_.end(), same) != members_.end()) throw NotFlat();
}

std::string_view FlatJson::take(std::string_view key) {
  const auto found = std::lower_bound(
      members_.begin(), members_.end(), key,
      [](const auto& member, std::string_view wanted) { return member.first < wanted; });
  if (found == members_.end() || found->first != key) throw NotFlat();
  ++read_;
  return found->second;
}

bool FlatJson::boolean(std::string_view key) {
  const std::string_view value = take(key);
  if (value != "true" && value != "false") throw NotFlat();
  return value == "true";
}

std::uint32_t FlatJson::number(std::string_view key) {
  const std::string_view value = take(key);
  std::uint32_t number = 0;
  const auto [end, fault] = std::from_chars(value.data(), value.data() + value.size(), number);
  const bool is_canonical = value.size() == 1 || !value.starts_with('0');
  if (fault != std::errc() || end != value.data() + value.size() || number > 0x7fffffffU ||
      !is_canonical) {
    throw NotFlat();
  }
  return number;
}

std::string FlatJson::text(std::string_view key) { return std::string(text_of(take(key))); }

FlatJson FlatJson::object(std::string_view key) { return FlatJson(take(key)); }

std::vector<FlatJson> FlatJson::objects(std::string_view key) {
  std::vector<FlatJson> objects;
  for (const std::string_view item : items_of(take(key))) objects.push_back(FlatJson(item));
  return objects;
}

std::set<std::string> FlatJson::strings(std::string_view key) { return strings_in(take(key)); }

std::map<std::string, std::set<std::string>> FlatJson::string_sets(std::string_view key) {
  std::map<std::string, std::set<std::string>> sets;
  for (const auto& [name, value] : object(key).members_) sets.emplace(name, strings_in(value));
  return sets;
}

void FlatJson::done() const {
  if (read_ != members_.size()) throw NotFlat();
}

std::vector<std::string_view> FlatJson::items_of(std::string_view array) {
  const std::string_view list = inside(array, '[', ']');
  std::vector<std::string_view> items;
  std::size_t at = 0;
  for (bool more = !list.empty(); more; more = has_next(list, at)) {
    items.push_back(value_at(list, at));
    at += items.back().size();
  }
  return items;
}

std::set<std::string> FlatJson::strings_in(std::string_view array) {
  const std::string_view list = inside(array, '[', ']');
  std::set<std::string> strings;
  std::size_t count = 0;
  std::size_t at = 0;
  for (bool more = !list.empty(); more; more = has_next(list, at)) {
    const std::string_view item = value_at(list, at);
    at += item.size();
    strings.emplace_hint(strings.end(), text_of(item));  // they are in order
    ++count;
  }
  if (strings.size() != count) throw NotFlat();
  return strings;
}

std::string_view FlatJson::text_of(std::string_view value) {
  return inside(value, '"', '"');  // a string ends at its next quote, so that there is none in it
}

}  // namespace qmp::detail
