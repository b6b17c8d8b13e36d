#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qmp::detail {

/// Reads the members of an object in one plain form of JSON: no white space, no escapes, ASCII
/// alone, no member twice. That is how a QemuCaps is written, and it is read an order of magnitude
/// faster than by a parser for all of JSON, which every start of a VM would wait for. What it does
/// not understand it leaves to that parser: NotFlat.
class FlatJson {
 public:
  struct NotFlat {};

  /// A whole text; it has to live as long as the reader.
  static FlatJson of_text(std::string_view text);

  bool boolean(std::string_view key);
  std::uint32_t number(std::string_view key);  ///< 0 to 2^31 - 1
  std::string text(std::string_view key);
  FlatJson object(std::string_view key);
  std::vector<FlatJson> objects(std::string_view key);

  std::set<std::string> strings(std::string_view key);  ///< Different ones.
  std::map<std::string, std::set<std::string>> string_sets(std::string_view key);
  /// Throws unless every member has been read.
  void done() const;

 private:
  explicit FlatJson(std::string_view object);
  std::string_view take(std::string_view key);
  static std::vector<std::string_view> items_of(std::string_view array);
  static std::string_view text_of(std::string_view value);

  static std::set<std::string> strings_in(std::string_view array);

  std::vector<std::pair<std::string_view, std::string_view>> members_;  ///< key, value as text
  std::size_t read_ = 0;
};

}  // namespace qmp::detail
