#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "launcher/man/roff.hpp"
#include "launcher/man/sections.hpp"

namespace vmrig {
namespace {

constexpr std::string_view kNotBuilt = "Not built yet";

std::string doc_of(const Json& schema) { return schema.value("description", std::string()); }

bool is_built(const Json& schema) { return !doc_of(schema).starts_with(kNotBuilt); }

// The forms that a value may have; null, which stands for "not given", is left out.
void collect_forms(const Json& schema, std::vector<const Json*>& forms) {
  const auto any_of = schema.find("anyOf");
  if (any_of == schema.end()) {
    if (schema.value("type", Json()) != "null") forms.push_back(&schema);
    return;
  }
  for (const Json& form : *any_of) collect_forms(form, forms);
}

std::vector<const Json*> forms_of(const Json& schema) {
  std::vector<const Json*> forms;
  collect_forms(schema, forms);
  return forms;
}

std::string text_of(const Json& value) {
  return value.is_string() ? fmt::format("\"{}\"", value.get<std::string>()) : value.dump();
}

std::string type_text(const Json& form);

std::string choices_text(const Json& choices) {
  std::string text;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (i > 0) text += i + 1 == choices.size() ? " or " : ", ";
    text += text_of(choices[i]);
  }
  return text;
}

std::string types_text(const std::vector<const Json*>& forms) {
  std::string text;
  for (const Json* form : forms) {
    if (!text.empty()) text += ", or ";
    text += type_text(*form);
  }
  return text;
}

std::string type_text(const Json& form) {
  if (const auto choices = form.find("enum"); choices != form.end()) return choices_text(*choices);
  const std::string type = form.value("type", std::string("any"));
  const std::string meaning = form.value("$comment", std::string());
  if (type == "boolean") return "true or false";
  if (type == "integer") {
    return fmt::format("{} to {}", form.value("minimum", Json()).dump(),
                       form.value("maximum", Json()).dump());
  }
  if (type == "array") {
    const std::vector<const Json*> items = forms_of(form.at("items"));
    const bool are_objects = items.size() == 1 && items[0]->contains("properties");
    return are_objects ? "a list of objects" : "a list: " + types_text(items);
  }
  if (type == "object") return "an object";
  return meaning.empty() ? "a text" : meaning;
}

std::string default_text(const std::vector<const Json*>& forms) {
  for (const Json* form : forms) {
    const auto value = form->find("default");
    // An empty one says nothing that a reader could use.
    if (value == form->end() || value->empty()) continue;
    if (value->is_string() && value->get_ref<const std::string&>().empty()) continue;
    return text_of(*value);
  }
  return {};
}

bool is_required(const Json& object, const std::string& name) {
  const auto required = object.find("required");
  return required != object.end() &&
         std::find(required->begin(), required->end(), Json(name)) != required->end();
}

enum class Need { kOptional, kRequired };

void add_key(const std::string& path, const Json& schema, Need need, std::string& text);

void add_members(const std::string& path, const Json& object, std::string& text) {
  for (const auto& [name, member] : object.at("properties").items()) {
    if (!is_built(member)) continue;
    add_key(path.empty() ? name : path + "." + name, member,
            is_required(object, name) ? Need::kRequired : Need::kOptional, text);
  }
}

void add_key(const std::string& path, const Json& schema, Need need, std::string& text) {
  const std::vector<const Json*> forms = forms_of(schema);
  text += fmt::format(".TP\n{}\n{}\n", roff_bold(path), roff(doc_of(schema)));
  std::string facts = types_text(forms);
  if (need == Need::kRequired) facts += "; required";
  if (const std::string value = default_text(forms); !value.empty()) {
    facts += "; default " + value;
  }
  text += fmt::format("({})\n", roff(facts));
  for (const Json* form : forms) {
    if (form->contains("properties")) add_members(path, *form, text);
    if (!form->contains("items")) continue;
    for (const Json* item : forms_of(form->at("items"))) {
      if (item->contains("properties")) add_members(path + "[]", *item, text);
    }
  }
}

}  // namespace

std::string key_sections(const Json& schema) {
  std::string text;
  std::string missing;
  for (const auto& [name, member] : schema.at("properties").items()) {
    if (!is_built(member)) {
      missing += (missing.empty() ? "" : ", ") + roff_bold(name);
      continue;
    }
    text += fmt::format(".SS {}\n", roff(name));
    add_key(name, member, is_required(schema, name) ? Need::kRequired : Need::kOptional, text);
  }
  if (!missing.empty()) {
    text += ".SS Not built yet\nThese keys are known, and refused by name: " + missing + ".\n";
  }
  return text;
}

}  // namespace vmrig
