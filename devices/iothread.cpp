#include "devices/iothread.hpp"

#include <stdexcept>

#include "devices/ids.hpp"

namespace vmrig {

void describe(Fields& fields, IothreadConfig& iothread) {
  // Linux cuts a thread's name at 15 bytes; QEMU sets none at all past that ("IO " + id).
  fields.required("id", "Name of the iothread.", iothread.id, id_rule(12));
  fields.optional(
      "pin", "CPUs of the thread: \"none\", \"auto\" or a cpulist.", iothread.pin,
      TextRule{.min_length = 1,
               .max_length = 256,
               .pattern = "^(none|auto|[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)$",
               .meaning = "\"none\", \"auto\" or a cpulist",
               .check = [](const std::string& text) -> std::string {
                 if (text == "none" || text == "auto") return {};
                 try {
                   CpuSet::parse(text);
                 } catch (const std::invalid_argument& refused) {
                   return "is neither \"none\" nor \"auto\" nor a cpulist such as \"2-3\"";
                 }
                 return {};
               }});
  fields.optional("scheduler", "How the host schedules the thread.", iothread.scheduler);
}

DeviceDescription describe_iothread(const IothreadConfig& iothread, std::string origin) {
  return {.id = iothread.id,
          .origin = std::move(origin),
          .controller = {},
          .backends = {{BackendKind::kObject, {{"qom-type", "iothread"}, {"id", iothread.id}}}},
          .front_ends = {}};
}

}  // namespace vmrig
