#include "launcher/cli/config_keys.hpp"

#include <nlohmann/json.hpp>
#include <string>

namespace vmrig {
namespace {

// The forms that a value may have, null left out.
std::vector<const Json*> forms_of(const Json& schema) {
  const auto any_of = schema.find("anyOf");
  if (any_of == schema.end()) return {&schema};
  std::vector<const Json*> all;
  for (const Json& form : *any_of) {
    for (const Json* inner : forms_of(form)) all.push_back(inner);
  }
  return all;
}

// The form that has `key`; nullptr for none.
const Json* form_with(const Json& schema, const char* key) {
  for (const Json* form : forms_of(schema)) {
    if (form->contains(key)) return form;
  }
  return nullptr;
}

std::string doc_of(const Json& schema) { return schema.value("description", std::string()); }

bool is_built(const Json& schema) { return !doc_of(schema).starts_with("Not built yet"); }

void add_members(const Json& object, std::string_view before, std::vector<Candidate>& all) {
  for (const auto& [name, member] : object.at("properties").items()) {
    if (!is_built(member)) continue;
    const bool goes_on =
        form_with(member, "properties") != nullptr || form_with(member, "items") != nullptr;
    all.push_back({std::string(before) + name + (goes_on ? "." : "="), doc_of(member)});
  }
}

std::vector<Candidate> values_of(const Json& schema, std::string_view before) {
  std::vector<Candidate> all;
  const auto add = [&](const std::string& value) {
    all.push_back({std::string(before) + value, {}});
  };
  for (const Json* form : forms_of(schema)) {
    if (form->value("type", Json()) == "boolean") {
      add("true");
      add("false");
    }
    const auto choices = form->find("enum");
    if (choices == form->end()) continue;
    for (const Json& choice : *choices) {
      if (choice.is_string()) add(choice.get<std::string>());
    }
  }
  return all;
}

}  // namespace

std::vector<Candidate> config_keys(const Json& schema, std::string_view begun) {
  const Json* here = &schema;
  const std::size_t equals = begun.find('=');
  const std::string_view path = begun.substr(0, equals);
  std::size_t from = 0;  // of the step that is being typed
  const auto enter = [&here](const std::string& step) {
    if (const Json* object = form_with(*here, "properties")) {
      const Json& members = object->at("properties");
      const auto member = members.find(step);
      here = member == members.end() ? nullptr : &*member;
    } else if (const Json* list = form_with(*here, "items")) {
      here = &list->at("items");
    } else {
      here = nullptr;
    }
  };
  for (std::size_t dot; here != nullptr && (dot = path.find('.', from)) != std::string_view::npos;
       from = dot + 1) {
    enter(std::string(path.substr(from, dot - from)));
  }
  if (here == nullptr) return {};
  if (equals != std::string_view::npos) {
    enter(std::string(path.substr(from)));
    return here == nullptr ? std::vector<Candidate>()
                           : values_of(*here, begun.substr(0, equals + 1));
  }
  std::vector<Candidate> all;
  if (const Json* object = form_with(*here, "properties")) {
    add_members(*object, path.substr(0, from), all);
  }
  return all;
}

}  // namespace vmrig
