// One description of a config's keys, visited by the reader, the schema writer and the
// config writer, so that the three can't disagree.
//
// A struct of the config says what it is in a function `describe(Fields&, T&)` beside it.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "hostcfg/base/bytes.hpp"
#include "hostcfg/base/json.hpp"

namespace vmrig {

struct TextRule {
  std::size_t min_length = 1;
  std::size_t max_length = 4096;  // bytes
  // A regular expression for the schema, and what it means, for the user ("letters, …"). Both of
  // static storage: a rule is made each time that a key is read.
  std::string_view pattern;
  std::string_view meaning;
  // Returns why a value is refused, in words, or an empty text. The reader asks only this.
  std::function<std::string(const std::string&)> check;
};

struct IntRule {
  std::int64_t min = 0;
  std::int64_t max = std::numeric_limits<std::int32_t>::max();
};

struct SizeRule {
  Bytes min = {1};
  Bytes max = Bytes::gib(1024 * 1024);
  Bytes multiple = {1};
};

struct ListRule {
  std::size_t min_count = 0;
  std::size_t max_count = 1024;
};

class Fields;
class Shape;

// One of several forms that a value may have; told apart by the JSON type.
struct Alternative {
  enum class Type { kText, kInteger, kFlag, kList, kObject };
  Type type;
  std::function<void(Shape&)> visit;
};

// A visitor of one value.
class Shape {
 public:
  virtual ~Shape() = default;
  virtual void text(std::string& value, const TextRule& rule) = 0;
  virtual void flag(bool& value) = 0;
  virtual void integer(std::int64_t& value, const IntRule& rule) = 0;
  virtual void size(Bytes& value, const SizeRule& rule) = 0;
  virtual void choice(int& index, const std::vector<std::string_view>& names) = 0;
  virtual void object(const std::function<void(Fields&)>& members) = 0;
  virtual void list(std::size_t count, const ListRule& rule,
                    const std::function<void(std::size_t)>& resize,
                    const std::function<void(Shape&, std::size_t)>& element) = 0;
  // An object whose keys are not the config's own, with strings, whole numbers and flags as values.
  virtual void scalars(Json& object, const TextRule& key) = 0;
  // `which` is the index of the form that the value has; the reader sets it.
  virtual void any_of(int& which, const std::vector<Alternative>& alternatives) = 0;
};

// A scoped or plain enum of the config gives its names in the order of its values, by a
// function `std::vector<std::string_view> enum_names(E)` beside it.
template <class E>
std::string_view name_of(E value) {
  return enum_names(value).at(static_cast<std::size_t>(value));
}

inline void visit(Shape& shape, std::string& value, const TextRule& rule = {}) {
  shape.text(value, rule);
}
inline void visit(Shape& shape, bool& value) { shape.flag(value); }
inline void visit(Shape& shape, Bytes& value, const SizeRule& rule = {}) {
  shape.size(value, rule);
}
inline void visit(Shape& shape, int& value, const IntRule& rule = {}) {
  std::int64_t wide = value;
  shape.integer(wide, rule);
  value = static_cast<int>(wide);
}
template <class E>
requires std::is_enum_v<E>
void visit(Shape& shape, E& value) {
  int index = static_cast<int>(value);
  shape.choice(index, enum_names(value));
  value = static_cast<E>(index);
}
template <class T>
requires std::is_class_v<T> && requires(Fields& fields, T& value) { describe(fields, value); }
void visit(Shape& shape, T& value) {
  shape.object([&](Fields& fields) { describe(fields, value); });
}
template <class T, class... Rule>
void visit(Shape& shape, std::vector<T>& values, const ListRule& rule, const Rule&... element) {
  shape.list(
      values.size(), rule, [&](std::size_t count) { values.resize(count); },
      [&](Shape& inner, std::size_t index) { visit(inner, values.at(index), element...); });
}
template <class T>
void visit(Shape& shape, std::vector<T>& values) {
  visit(shape, values, ListRule{});
}

// The members of one object.
class Fields {
 public:
  enum class Need { kRequired, kOptional };
  virtual ~Fields() = default;

  // `doc` is one sentence. `has_value` tells the writer whether there is something to write.
  virtual void member(std::string_view name, std::string_view doc, Need need, bool has_value,
                      const std::function<void(Shape&)>& visit_value) = 0;
  // A key of the contract that this version can't do yet: refused by name, except for
  // `neutral`, the value that asks for nothing.
  virtual void not_built(std::string_view name, const Json& neutral) = 0;
  // A rule over several members, called after all were read: `fault` reports a conflict at
  // the member of that name. Only the reader calls `check`.
  using Fault = std::function<void(std::string_view member, std::string message, std::string mend)>;
  virtual void rule(const std::function<void(const Fault&)>& check) = 0;

  template <class T, class... Rule>
  void required(std::string_view name, std::string_view doc, T& value, const Rule&... rules) {
    member(name, doc, Need::kRequired, true, [&](Shape& shape) { visit(shape, value, rules...); });
  }
  template <class T, class... Rule>
  void optional(std::string_view name, std::string_view doc, T& value, const Rule&... rules) {
    member(name, doc, Need::kOptional, true, [&](Shape& shape) { visit(shape, value, rules...); });
  }
  template <class T, class... Rule>
  void optional(std::string_view name, std::string_view doc, std::optional<T>& value,
                const Rule&... rules) {
    member(name, doc, Need::kOptional, value.has_value(), [&](Shape& shape) {
      if (!value) value.emplace();
      visit(shape, *value, rules...);
    });
  }
};

}  // namespace vmrig
