#include "devices/memory.hpp"

namespace vmrig {

std::vector<std::string_view> enum_names(HugepageSize) { return {"none", "2MiB", "1GiB"}; }

Bytes page_size_of(HugepageSize size) {
  switch (size) {
    case HugepageSize::kNone:
      return {0};
    case HugepageSize::k2MiB:
      return Bytes::mib(2);
    case HugepageSize::k1GiB:
      return Bytes::gib(1);
  }
  return {0};
}

DeviceDescription describe_memory(const MemoryBackend& memory, std::string origin) {
  Json object = {{"id", memory.id},
                 {"size", memory.size.value},
                 {"merge", memory.merge},
                 {"dump", false},
                 {"share", memory.share}};
  switch (memory.kind) {
    case MemoryBackend::Kind::kAnonymous:
      object["qom-type"] = "memory-backend-ram";
      break;
    case MemoryBackend::Kind::kHugetlbfs:
      object["qom-type"] = "memory-backend-file";
      object["mem-path"] = memory.mem_path;
      break;
    case MemoryBackend::Kind::kMemfd:
      object["qom-type"] = "memory-backend-memfd";
      if (memory.page_size.value > 0) {
        object["hugetlb"] = true;
        object["hugetlbsize"] = memory.page_size.value;
      }
      break;
  }
  if (memory.prealloc) {
    object["prealloc"] = true;
    object["prealloc-threads"] = memory.prealloc_threads;
  }
  if (!memory.nodes.empty()) {
    object["host-nodes"] = memory.nodes.cpus();
    object["policy"] = enum_names(memory.policy).at(static_cast<std::size_t>(memory.policy));
  }
  return {.id = memory.id,
          .origin = std::move(origin),
          .controller = {},
          .backends = {{BackendKind::kObject, std::move(object)}},
          .front_ends = {}};
}

}  // namespace vmrig
