#include "qmp/event.hpp"

#include <utility>

namespace qmp {

Json Event::to_json() const {
  Json json = Json::object();
  json["event"] = name;
  if (!data.empty()) json["data"] = data;
  json["timestamp"] = Json{{"seconds", seconds}, {"microseconds", microseconds}};
  return json;
}

EventMatch event_named(std::string name) {
  return [name = std::move(name)](const Event& event) { return event.name == name; };
}

}  // namespace qmp
