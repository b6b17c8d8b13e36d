#include "hostcfg/base/shape_writer.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace vmrig {
namespace {

class Writer : public Shape {
 public:
  explicit Writer(Json& out) : out_(out) {}

  void text(std::string& value, const TextRule& /*rule*/) override { out_ = value; }
  void flag(bool& value) override { out_ = value; }
  void integer(std::int64_t& value, const IntRule& /*rule*/) override { out_ = value; }
  void size(Bytes& value, const SizeRule& /*rule*/) override { out_ = to_string(value); }
  void choice(int& index, const std::vector<std::string_view>& names) override {
    out_ = std::string(names.at(static_cast<std::size_t>(index)));
  }
  void object(const std::function<void(Fields&)>& members) override;
  void list(std::size_t count, const ListRule& /*rule*/,
            const std::function<void(std::size_t)>& /*resize*/,
            const std::function<void(Shape&, std::size_t)>& element) override {
    out_ = Json::array();
    for (std::size_t i = 0; i < count; ++i) {
      Json item;
      Writer inner(item);
      element(inner, i);
      out_.push_back(std::move(item));
    }
  }
  void scalars(Json& object, const TextRule& /*key*/) override { out_ = object; }
  void any_of(int& which, const std::vector<Alternative>& alternatives) override {
    alternatives.at(static_cast<std::size_t>(which)).visit(*this);
  }

 private:
  Json& out_;
};

class WriterFields : public Fields {
 public:
  explicit WriterFields(Json& out) : out_(out) { out_ = Json::object(); }
  void member(std::string_view name, std::string_view /*doc*/, Need /*need*/, bool has_value,
              const std::function<void(Shape&)>& visit_value) override {
    if (!has_value) return;
    Json value;
    Writer inner(value);
    visit_value(inner);
    out_[std::string(name)] = std::move(value);
  }
  void not_built(std::string_view /*name*/, const Json& /*neutral*/) override {}
  void rule(const std::function<void(const Fault&)>& /*check*/) override {}

 private:
  Json& out_;
};

void Writer::object(const std::function<void(Fields&)>& members) {
  WriterFields fields(out_);
  members(fields);
}

class Schema : public Shape {
 public:
  explicit Schema(Json& out) : out_(out) {}

  void text(std::string& value, const TextRule& rule) override {
    out_ = {{"type", "string"}, {"minLength", rule.min_length}, {"maxLength", rule.max_length}};
    if (!rule.pattern.empty()) out_["pattern"] = rule.pattern;
    if (!rule.meaning.empty()) out_["$comment"] = rule.meaning;
    if (!value.empty()) out_["default"] = value;
  }
  void flag(bool& value) override { out_ = {{"type", "boolean"}, {"default", value}}; }
  void integer(std::int64_t& value, const IntRule& rule) override {
    out_ = {{"type", "integer"}, {"minimum", rule.min}, {"maximum", rule.max}};
    if (value >= rule.min && value <= rule.max) out_["default"] = value;
  }
  void size(Bytes& value, const SizeRule& rule) override {
    out_ = {{"type", "string"}, {"pattern", "^[0-9]+(B|KiB|MiB|GiB|TiB|PiB)$"}};
    out_["$comment"] = fmt::format("{} to {}", to_string(rule.min), to_string(rule.max));
    if (value.value != 0) out_["default"] = to_string(value);
  }
  void choice(int& index, const std::vector<std::string_view>& names) override {
    out_ = {{"enum", names}, {"default", names.at(static_cast<std::size_t>(index))}};
  }
  void object(const std::function<void(Fields&)>& members) override;
  void list(std::size_t /*count*/, const ListRule& rule,
            const std::function<void(std::size_t)>& resize,
            const std::function<void(Shape&, std::size_t)>& element) override {
    resize(0);
    resize(1);
    Json item;
    Schema inner(item);
    element(inner, 0);
    resize(0);
    out_ = {{"type", "array"}, {"items", std::move(item)}, {"maxItems", rule.max_count}};
    if (rule.min_count > 0) out_["minItems"] = rule.min_count;
  }
  void scalars(Json& /*object*/, const TextRule& key) override {
    out_ = {{"type", "object"},
            {"additionalProperties",
             {{"anyOf", {{{"type", "string"}}, {{"type", "integer"}}, {{"type", "boolean"}}}}}}};
    if (!key.pattern.empty()) out_["propertyNames"] = {{"pattern", key.pattern}};
  }
  void any_of(int& /*which*/, const std::vector<Alternative>& alternatives) override {
    Json forms = Json::array();
    for (const Alternative& alternative : alternatives) {
      Json form;
      Schema inner(form);
      alternative.visit(inner);
      forms.push_back(std::move(form));
    }
    out_ = {{"anyOf", std::move(forms)}};
  }

 private:
  Json& out_;
};

class SchemaFields : public Fields {
 public:
  explicit SchemaFields(Json& out) : out_(out) {
    out_ = {{"type", "object"}, {"additionalProperties", false}, {"properties", Json::object()}};
  }
  void member(std::string_view name, std::string_view doc, Need need, bool /*has_value*/,
              const std::function<void(Shape&)>& visit_value) override {
    Json value;
    Schema inner(value);
    visit_value(inner);
    if (need == Need::kRequired) {
      out_["required"].push_back(std::string(name));
      value.erase("default");
    } else {
      value = {{"anyOf", {std::move(value), {{"type", "null"}}}}};
    }
    value["description"] = doc;
    out_["properties"][std::string(name)] = std::move(value);
  }
  void not_built(std::string_view name, const Json& neutral) override {
    Json allowed = Json::array({neutral});
    if (!neutral.is_null()) allowed.push_back(nullptr);
    out_["properties"][std::string(name)] = {{"enum", std::move(allowed)},
                                             {"description", "Not built yet."}};
  }
  void rule(const std::function<void(const Fault&)>& /*check*/) override {}

 private:
  Json& out_;
};

void Schema::object(const std::function<void(Fields&)>& members) {
  SchemaFields fields(out_);
  members(fields);
}

}  // namespace

Json write_shape(const std::function<void(Shape&)>& visit_root) {
  Json out;
  Writer writer(out);
  visit_root(writer);
  return out;
}

Json write_schema(const std::function<void(Shape&)>& visit_root) {
  Json out;
  Schema schema(out);
  visit_root(schema);
  return out;
}

}  // namespace vmrig
