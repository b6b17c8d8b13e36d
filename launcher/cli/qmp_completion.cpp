#include "launcher/cli/qmp_completion.hpp"

#include <map>
#include <optional>
#include <utility>

namespace vmrig {
namespace {

using Steps = std::vector<std::string>;

qmp::Schema::Path path_of(const Steps& steps) {
  return qmp::Schema::Path(std::vector<std::string_view>(steps.begin(), steps.end()));
}

// One open bracket of the text, outermost first.
struct Open {
  bool is_object = true;
  std::string key;                           // the member that is being typed
  bool has_key = false;                      // its colon has been typed
  std::map<std::string, std::string> texts;  // members that are whole and strings
};

// Where typing has got to within the arguments.
struct Place {
  std::vector<Open> open;
  std::optional<std::size_t> string_from;  // the unfinished string, behind its quote
};

// Not a parser: it takes what is well-formed so far, and guesses at nothing else.
Place place_in(std::string_view text) {
  Place place;
  std::string last_string;
  bool has_string = false;
  const auto end_member = [&] {
    if (place.open.empty()) return;
    Open& here = place.open.back();
    if (here.is_object && here.has_key && has_string) here.texts[here.key] = last_string;
    has_string = false;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') {
      const std::size_t from = i + 1;
      for (++i; i < text.size() && text[i] != '"'; ++i) {
        if (text[i] == '\\') ++i;
      }
      if (i >= text.size()) {
        place.string_from = from;
        return place;
      }
      last_string = text.substr(from, i - from);
      has_string = true;
    } else if (c == '{' || c == '[') {
      place.open.push_back({.is_object = c == '{', .key = {}, .has_key = false, .texts = {}});
      has_string = false;
    } else if (c == '}' || c == ']') {
      if (!place.open.empty()) place.open.pop_back();
      has_string = false;
    } else if (c == ':' && !place.open.empty()) {
      place.open.back().key = last_string;
      place.open.back().has_key = true;
      has_string = false;
    } else if (c == ',') {
      end_member();
      if (!place.open.empty()) place.open.back().has_key = false;
    }
  }
  return place;
}

// The steps to one object, and what may stand in it.
class ObjectTypes {
 public:
  ObjectTypes(const qmp::Schema& schema, std::string_view command)
      : schema_(schema), command_(command) {}

  // The object's own steps, and those of the variant that its members chose.
  std::vector<Steps> views(const Steps& steps, const Open& object) const {
    std::vector<Steps> all{steps};
    const std::string tag = schema_.tag(command_, path_of(steps));
    if (const auto chosen = object.texts.find(tag); chosen != object.texts.end()) {
      Steps variant = steps;
      variant.push_back("+" + chosen->second);
      all.push_back(std::move(variant));
    }
    return all;
  }

  std::set<std::string> names(const Steps& steps, const Open& object) const {
    std::set<std::string> all;
    for (const Steps& view : views(steps, object)) {
      all.merge(schema_.member_names(command_, path_of(view)));
    }
    return all;
  }

  // The steps into the object's member; empty when it has none of that name.
  std::optional<Steps> into(const Steps& steps, const Open& object) const {
    for (Steps& view : views(steps, object)) {
      view.push_back(object.key);
      if (schema_.has_path(command_, path_of(view))) return std::move(view);
    }
    return std::nullopt;
  }

  std::set<std::string> values(const Steps& steps) const {
    return schema_.enum_values(command_, path_of(steps));
  }

 private:
  const qmp::Schema& schema_;
  std::string_view command_;
};

Completion matching(std::size_t from, std::string_view begun, const std::set<std::string>& words,
                    std::string after) {
  Completion completion{.from = from, .words = {}, .after = std::move(after)};
  for (auto each = words.lower_bound(std::string(begun)); each != words.end(); ++each) {
    if (!each->starts_with(begun)) break;
    completion.words.push_back(*each);
  }
  return completion;
}

}  // namespace

Completion complete_qmp(const qmp::Schema& schema, const std::set<std::string>& commands,
                        std::string_view typed) {
  const std::size_t start = std::min(typed.find_first_not_of(' '), typed.size());
  const std::size_t name_end = typed.find_first_of(" {", start);
  if (name_end == std::string_view::npos) {
    return matching(start, typed.substr(start), commands, " ");
  }
  const std::string_view command = typed.substr(start, name_end - start);
  Completion none{.from = typed.size(), .words = {}, .after = {}};
  const Place place = place_in(typed.substr(name_end));
  if (!place.string_from || place.open.empty() || !place.open.back().is_object) return none;

  const ObjectTypes types(schema, command);
  Steps steps;
  for (std::size_t i = 0; i + 1 < place.open.size(); ++i) {
    if (!place.open[i].is_object) continue;  // paths pass through arrays
    std::optional<Steps> deeper = types.into(steps, place.open[i]);
    if (!deeper) return none;
    steps = std::move(*deeper);
  }
  const Open& here = place.open.back();
  const std::size_t from = name_end + *place.string_from;
  const std::string_view begun = typed.substr(from);
  if (!here.has_key) {
    std::set<std::string> names = types.names(steps, here);
    for (const auto& [name, text] : here.texts) names.erase(name);
    return matching(from, begun, names, "\": ");
  }
  const std::optional<Steps> value = types.into(steps, here);
  return value ? matching(from, begun, types.values(*value), "\"") : none;
}

}  // namespace vmrig
