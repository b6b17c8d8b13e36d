#include "devices/memory.hpp"

namespace vmrig {

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
  if (memory.node) {
    object["host-nodes"] = Json::array({*memory.node});
    object["policy"] = "bind";
  }
  return {.id = memory.id,
          .origin = std::move(origin),
          .backends = {{BackendKind::kObject, std::move(object)}},
          .front_ends = {}};
}

}  // namespace vmrig
