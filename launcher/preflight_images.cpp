// What can be known of disk images before QEMU opens them: who has them open, what lies below them,
// whether their file system can do what the config asks of it.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "hostcfg/image_links.hpp"
#include "launcher/preflight.hpp"

namespace vmrig {
namespace {

struct Image {
  const PlanInput& input;
  const DiskConfig& disk;
  const std::string& origin;
  std::vector<Diagnostic>& findings;

  void problem(const char* key, std::string message, std::string mend,
               ExitStatus status = ExitStatus::kHost) const {
    findings.push_back(
        finding(Severity::kProblem, origin + key, std::move(message), std::move(mend), status));
  }
};

// QEMU refuses to share what another writes, and to write what another does not share.
bool conflicts(const ImageLocks& locks, bool writes) {
  return locks.written || locks.no_reader || (writes && locks.no_writer);
}

std::string holder_text(const ImageLocks& locks) {
  return locks.holder.empty() ? "another process" : locks.holder;
}

void check_locks(const Image& image, const PathFacts& file) {
  const bool writes = !image.disk.readonly;
  if (!conflicts(file.locks, writes)) return;
  const bool could_share = writes && !file.locks.written && !file.locks.no_reader;
  image.problem(".path",
                fmt::format("{} is in use by {}", quote(image.disk.path), holder_text(file.locks)),
                could_share ? R"("readonly": true, or end it)" : "end it", ExitStatus::kBusy);
}

void check_direct(const Image& image, const PathFacts& file) {
  const bool bypasses =
      image.disk.cache == DiskCache::kNone || image.disk.cache == DiskCache::kDirectsync;
  if (!bypasses || file.direct) return;
  image.problem(".cache",
                fmt::format("the file system of {} has no O_DIRECT, which \"{}\" needs",
                            quote(image.disk.path), name_of(image.disk.cache)),
                image.disk.cache == DiskCache::kNone ? R"("cache": "writeback")"
                                                     : R"("cache": "writethrough")",
                ExitStatus::kUsage);
}

// An image, or the data, that `above` can't be without. False when that is not there.
bool check_below(const Image& image, const std::string& above, const std::string& path,
                 const char* what) {
  const auto found = image.input.facts.paths.find(path);
  if (found == image.input.facts.paths.end()) return false;  // too many of them: QEMU will say so
  const PathFacts& file = found->second;
  const std::string text = fmt::format("{} of {}", what, quote(above));
  const std::string mend =
      fmt::format("qemu-img rebase -u -b OTHER {}, when it has only been moved", above);
  if (file.type == PathFacts::Type::kMissing) {
    image.problem(".path",
                  fmt::format("{} is the {}: {}", quote(path), text,
                              file.error.empty() ? "no such file" : file.error),
                  mend, ExitStatus::kUsage);
    return false;
  }
  if (file.type != PathFacts::Type::kFile && file.type != PathFacts::Type::kBlockDevice) {
    image.problem(
        ".path",
        fmt::format("{} is the {}: it is a {}", quote(path), text, path_type_name(file.type)), mend,
        ExitStatus::kUsage);
    return false;
  }
  if (!file.readable) {
    image.problem(".path",
                  fmt::format("{}, the {}, can't be read{}", quote(path), text,
                              file.error.empty() ? "" : ": " + file.error),
                  "change the file's owner or mode");
    return false;
  }
  for (const Lease& lease : image.input.leases) {
    const auto& written = lease.written_disks;
    if (std::find(written.begin(), written.end(), path) == written.end()) continue;
    image.problem(".path",
                  fmt::format("{}, the {}, is written by VM \"{}\"", quote(path), text, lease.vm),
                  "vmrig stop " + lease.vm, ExitStatus::kBusy);
    return false;
  }
  if (conflicts(file.locks, /*writes=*/false)) {
    image.problem(
        ".path",
        fmt::format("{}, the {}, is in use by {}", quote(path), text, holder_text(file.locks)),
        "end it", ExitStatus::kBusy);
    return false;
  }
  return true;
}

void check_chain(const Image& image, const PathFacts& top) {
  std::string path = image.disk.path;
  const PathFacts* file = &top;
  std::set<std::string> seen;
  while (seen.insert(path).second) {
    if (!file->links) return;
    const auto data = linked_path(path, file->links->data_file);
    if (data && !check_below(image, path, *data, "data file")) return;
    const auto below = linked_path(path, file->links->backing_file);
    if (!below || !check_below(image, path, *below, "backing file")) return;
    if (!has_linked_qcow2(*file->links)) return;
    path = *below;
    file = &image.input.facts.paths.at(path);
  }
  image.problem(".path", fmt::format("{} lies below itself", quote(path)),
                "qemu-img info --backing-chain " + path, ExitStatus::kUsage);
}

}  // namespace

void check_image(const PlanInput& input, const DiskConfig& disk, const std::string& origin,
                 const PathFacts& file, std::vector<Diagnostic>& findings) {
  const Image image{input, disk, origin, findings};
  check_locks(image, file);
  check_direct(image, file);
  if (file.magic_format != "qcow2" || name_of(effective_format(disk)) != "qcow2") return;
  if (file.links && file.links->corrupt && !disk.readonly) {
    image.problem(".path", fmt::format("{} is marked corrupt", quote(disk.path)),
                  "qemu-img check -r all " + disk.path);
  }
  check_chain(image, file);
}

}  // namespace vmrig
