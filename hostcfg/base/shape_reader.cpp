#include "hostcfg/base/shape_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>

#include "hostcfg/base/nearest.hpp"
#include "hostcfg/base/utf8.hpp"

namespace vmrig {
namespace {

// A key as part of a path: a hostile one must not write to the terminal.
std::string short_key(std::string_view name) {
  const std::string shown = quote(name.substr(0, 80));
  return shown.substr(1, shown.size() - 2);
}

// Where a value stands, as links to what it stands in: a path is only written for a fault.
class Place {
 public:
  explicit Place(std::string_view root) : key_(root) {}  // "" or a path as it is
  Place(const Place& parent, std::string_view key) : parent_(&parent), key_(key) {}
  Place(const Place& parent, std::size_t index) : parent_(&parent), index_(index) {}

  std::string path() const {
    if (parent_ == nullptr) return std::string(key_);
    const std::string above = parent_->path();
    if (index_) return fmt::format("{}[{}]", above, *index_);
    return above.empty() ? short_key(key_) : fmt::format("{}.{}", above, short_key(key_));
  }

 private:
  const Place* parent_ = nullptr;
  std::string_view key_;
  std::optional<std::size_t> index_;  // in a list
};

struct Report {
  const JsonDocument* document;  // null where there is no file
  std::vector<Diagnostic>& diagnostics;

  void operator()(const Place& place, std::string message, std::string mend = {}) const {
    const std::string path = place.path();
    Diagnostic diagnostic{.path = path,
                          .message = std::move(message),
                          .mend = std::move(mend),
                          .file = {},
                          .line = 0};
    if (document != nullptr) {
      diagnostic.file = document->source(path);
      if (diagnostic.file.empty()) {
        diagnostic.file = document->file();
        diagnostic.line = document->line(path);
      }
    }
    diagnostics.push_back(std::move(diagnostic));
  }
};

constexpr std::size_t kMostShown = 60;  // bytes of a value

std::string short_value(const Json& value) {
  if (value.is_string()) {
    const std::string& text = value.get_ref<const std::string&>();
    return text.size() <= kMostShown ? quote(text) : quote(text.substr(0, kMostShown - 3)) + "…";
  }
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  return value.dump();
}

std::string_view kind_of(const Json& value) {
  if (value.is_string()) return "a string";
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  if (value.is_boolean()) return "true or false";
  if (value.is_null()) return "null";
  return value.is_number_float() ? "a number with a fraction" : "a number";
}

std::string join(const std::vector<std::string_view>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += i + 1 == names.size() ? " or " : ", ";
    text += fmt::format("\"{}\"", names[i]);
  }
  return text;
}

class ReaderFields;

class Reader : public Shape {
 public:
  // `place` has to outlive it, here and below.
  Reader(const Json& value, const Place& place, const Report& report)
      : value_(value), place_(place), report_(report) {}

  void text(std::string& value, const TextRule& rule) override {
    if (!value_.is_string()) return wrong_type("a string");
    const std::string& given = value_.get_ref<const std::string&>();
    if (given.find('\0') != std::string::npos) {
      return report_(place_, "holds a NUL byte, which no argument of a program can");
    }
    // Of the environment, of --set or of the config's own folder: the file itself is UTF-8.
    if (!is_utf8(given)) {
      return report_(
          place_,
          fmt::format("{} is no UTF-8, which QEMU's options and QMP are in", short_value(value_)),
          "give what it names a name in UTF-8, by a symlink say");
    }
    if (given.size() < rule.min_length) return report_(place_, "is empty");
    if (given.size() > rule.max_length) {
      return report_(
          place_, fmt::format("is {} bytes long, {} is the most", given.size(), rule.max_length));
    }
    if (rule.check) {
      std::string why = rule.check(given);
      if (!why.empty()) return report_(place_, fmt::format("{} {}", short_value(value_), why));
    }
    value = given;
  }

  void flag(bool& value) override {
    if (!value_.is_boolean()) return wrong_type("true or false");
    value = value_.get<bool>();
  }

  void integer(std::int64_t& value, const IntRule& rule) override {
    if (!value_.is_number_integer()) {
      return wrong_type(fmt::format("a whole number from {} to {}", rule.min, rule.max));
    }
    const bool huge = value_.is_number_unsigned() &&
                      value_.get<std::uint64_t>() >
                          static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (huge || value_.get<std::int64_t>() < rule.min || value_.get<std::int64_t>() > rule.max) {
      return report_(place_, fmt::format("{} is out of range; {} to {} is possible",
                                         short_value(value_), rule.min, rule.max));
    }
    value = value_.get<std::int64_t>();
  }

  void size(Bytes& value, const SizeRule& rule) override {
    if (value_.is_number()) {
      return report_(place_, fmt::format("{0} is ambiguous; write a string with a unit, such as "
                                         "\"{0}MiB\" or \"{0}GiB\"",
                                         short_value(value_)));
    }
    if (!value_.is_string()) return wrong_type("a size such as \"8GiB\"");
    try {
      const Bytes given = parse_bytes(value_.get_ref<const std::string&>());
      if (given < rule.min || given > rule.max) {
        return report_(place_,
                       fmt::format("{} is out of range; {} to {} is possible", short_value(value_),
                                   to_string(rule.min), to_string(rule.max)));
      }
      if (given.value % rule.multiple.value != 0) {
        return report_(place_, fmt::format("{} is no multiple of {}", short_value(value_),
                                           to_string(rule.multiple)));
      }
      value = given;
    } catch (const std::invalid_argument& refused) {
      const bool is_long = value_.get_ref<const std::string&>().size() > kMostShown;
      report_(place_, is_long ? short_value(value_) + " is not a size" : refused.what());
    }
  }

  void choice(int& index, const std::vector<std::string_view>& names) override {
    if (!value_.is_string()) return wrong_type(join(names));
    const std::string& given = value_.get_ref<const std::string&>();
    auto found = std::find(names.begin(), names.end(), given);
    if (found == names.end()) {
      return report_(place_, fmt::format("{} is not {}{}", short_value(value_), join(names),
                                         did_you_mean(given, names)));
    }
    index = static_cast<int>(found - names.begin());
  }

  void object(const std::function<void(Fields&)>& members) override;

  void list(std::size_t /*count*/, const ListRule& rule,
            const std::function<void(std::size_t)>& resize,
            const std::function<void(Shape&, std::size_t)>& element) override {
    if (!value_.is_array()) return wrong_type("a list");
    if (value_.size() < rule.min_count || value_.size() > rule.max_count) {
      return report_(place_, fmt::format("has {} elements; {} to {} are possible", value_.size(),
                                         rule.min_count, rule.max_count));
    }
    resize(value_.size());
    for (std::size_t i = 0; i < value_.size(); ++i) {
      const Place place(place_, i);
      Reader inner(value_[i], place, report_);
      element(inner, i);
    }
  }

  void scalars(Json& object, const TextRule& key) override {
    if (!value_.is_object()) return wrong_type("an object");
    for (const auto& [name, value] : value_.items()) {
      const Place place(place_, name);
      Reader inner(value, place, report_);
      const bool fits = name.size() >= key.min_length && name.size() <= key.max_length;
      const std::string why = !fits       ? "is too long or empty"
                              : key.check ? key.check(name)
                                          : std::string();
      if (!why.empty()) {
        report_(place, why);
      } else if (value.is_string()) {
        std::string text;
        inner.text(
            text,
            TextRule{
                .min_length = 0, .max_length = 4096, .pattern = {}, .meaning = {}, .check = {}});
      } else if (!value.is_boolean() && !value.is_number_integer()) {
        inner.wrong_type("a string, a whole number, true or false");
      }
    }
    object = value_;
  }

  void any_of(int& which, const std::vector<Alternative>& alternatives) override {
    std::vector<std::string> wanted;
    for (std::size_t i = 0; i < alternatives.size(); ++i) {
      if (matches(alternatives[i].type)) {
        which = static_cast<int>(i);
        return alternatives[i].visit(*this);
      }
      wanted.emplace_back(words_for(alternatives[i].type));
    }
    wrong_type(fmt::format("{}", fmt::join(wanted, " or ")));
  }

 private:
  bool matches(Alternative::Type type) const {
    switch (type) {
      case Alternative::Type::kText:
        return value_.is_string();
      case Alternative::Type::kInteger:
        return value_.is_number();
      case Alternative::Type::kFlag:
        return value_.is_boolean();
      case Alternative::Type::kList:
        return value_.is_array();
      case Alternative::Type::kObject:
        return value_.is_object();
    }
    return false;
  }

  static std::string_view words_for(Alternative::Type type) {
    switch (type) {
      case Alternative::Type::kText:
        return "a string";
      case Alternative::Type::kInteger:
        return "a whole number";
      case Alternative::Type::kFlag:
        return "true or false";
      case Alternative::Type::kList:
        return "a list";
      case Alternative::Type::kObject:
        return "an object";
    }
    return "";
  }

  void wrong_type(std::string_view wanted) const {
    const bool show = value_.is_string() || value_.is_number();
    report_(place_, show ? fmt::format("{} is {}, {} is needed", short_value(value_),
                                       kind_of(value_), wanted)
                         : fmt::format("is {}, {} is needed", kind_of(value_), wanted));
  }

  const Json& value_;
  const Place& place_;
  const Report& report_;
};

class ReaderFields : public Fields {
 public:
  ReaderFields(const Json& object, const Place& place, const Report& report)
      : object_(object), place_(place), report_(report) {}

  void member(std::string_view name, std::string_view /*doc*/, Need need, bool /*has_value*/,
              const std::function<void(Shape&)>& visit_value) override {
    known_.push_back(name);
    auto found = object_.find(name);
    if (found == object_.end()) {
      if (need == Need::kRequired) report_({place_, name}, "is missing, and has no default");
      return;
    }
    if (found->is_null() && need == Need::kOptional) return;
    const Place place(place_, name);
    Reader reader(*found, place, report_);
    visit_value(reader);
  }

  void not_built(std::string_view name, const Json& neutral) override {
    auto found = object_.find(name);
    if (found == object_.end()) return;
    known_.push_back(name);
    if (*found == neutral || found->is_null()) return;
    report_({place_, name}, "is not built yet in this version of vmrig",
            fmt::format("remove the key, or set it to {}", neutral.dump()));
  }

  void rule(const std::function<void(const Fault&)>& check) override {
    check([this](std::string_view name, std::string message, std::string mend) {
      report_(name.empty() ? place_ : Place(place_, name), std::move(message), std::move(mend));
    });
  }

  void refuse_unknown_keys() const {
    for (const auto& [key, value] : object_.items()) {
      if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
      const std::string where = place_.path();
      report_({place_, key},
              fmt::format("{}: unknown key{}{}{}", quote(key), where.empty() ? "" : " in ", where,
                          did_you_mean(key, known_)));
    }
  }

 private:
  const Json& object_;
  const Place& place_;
  const Report& report_;
  std::vector<std::string_view> known_;
};

void Reader::object(const std::function<void(Fields&)>& members) {
  if (!value_.is_object()) return wrong_type("an object");
  ReaderFields fields(value_, place_, report_);
  members(fields);
  fields.refuse_unknown_keys();
}

}  // namespace

void read_shape(const JsonDocument& document, const std::function<void(Shape&)>& visit_root,
                std::vector<Diagnostic>& diagnostics) {
  const Report report{&document, diagnostics};
  const Place root("");
  Reader reader(document.root(), root, report);
  visit_root(reader);
}

void read_shape(const Json& value, const std::string& path,
                const std::function<void(Shape&)>& visit_value,
                std::vector<Diagnostic>& diagnostics) {
  const Report report{nullptr, diagnostics};
  const Place place(path);
  Reader reader(value, place, report);
  visit_value(reader);
}

}  // namespace vmrig
