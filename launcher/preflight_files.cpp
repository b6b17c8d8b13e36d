// Files that are neither disks nor a kernel, and sockets by their path.
#include <fmt/format.h>

#include "launcher/preflight.hpp"

namespace vmrig {
namespace {

using Type = PathFacts::Type;

// Source: unix(7), sun_path, whose end QEMU wants to be a zero.
constexpr std::size_t kLongestSocketPath = 107;

const PathFacts* facts_of(const PlanInput& input, const std::string& path) {
  const auto found = input.facts.paths.find(path);
  return found == input.facts.paths.end() ? nullptr : &found->second;
}

// QEMU makes the file, or appends to it.
void check_output(const PlanInput& input, const std::string& where, const std::string& path,
                  std::vector<Diagnostic>& findings) {
  const PathFacts* file = facts_of(input, path);
  if (file == nullptr) return;
  const auto problem = [&](std::string message, std::string mend, ExitStatus status) {
    findings.push_back(
        finding(Severity::kProblem, where, std::move(message), std::move(mend), status));
  };
  if (file->type == Type::kDirectory) {
    return problem(fmt::format("{} is a folder", quote(path)), "a file in it", ExitStatus::kUsage);
  }
  if (file->type != Type::kMissing) {
    if (!file->writable) {
      problem(fmt::format("{} can't be written", quote(path)), "change the file's owner or mode",
              ExitStatus::kHost);
    }
    return;
  }
  const std::string folder = folder_of(path);
  const PathFacts* parent = facts_of(input, folder);
  if (parent == nullptr) return;
  if (parent->type != Type::kDirectory) {
    problem(fmt::format("there is no folder {}", quote(folder)), "mkdir -p " + folder,
            ExitStatus::kUsage);
  } else if (!parent->writable) {
    problem(fmt::format("no file can be made in {}", quote(folder)),
            "change the folder's owner or mode", ExitStatus::kHost);
  }
}

void check_rom(const PlanInput& input, const std::string& where, const std::string& path,
               std::vector<Diagnostic>& findings) {
  const PathFacts* file = facts_of(input, path);
  if (file == nullptr || (file->type == Type::kFile && file->readable)) return;
  const bool is_there = file->type == Type::kFile;
  findings.push_back(finding(
      Severity::kProblem, where,
      is_there ? fmt::format("{} can't be read: {}", quote(path), file->error)
               : fmt::format("{}: {}", quote(path),
                             file->type == Type::kMissing ? "no such file" : "it is no file"),
      is_there ? "change the file's owner or mode" : "",
      is_there ? ExitStatus::kHost : ExitStatus::kUsage));
}

}  // namespace

void check_other_files(const PlanInput& input, std::vector<Diagnostic>& findings) {
  const VmConfig& config = input.config;
  for (std::size_t i = 0; i < config.serial.size(); ++i) {
    if (!config.serial[i].path) continue;
    check_output(input, fmt::format("serial[{}].path", i), *config.serial[i].path, findings);
  }
  for (std::size_t i = 0; i < config.vfio.size(); ++i) {
    const auto& rom = config.vfio[i].romfile;
    if (rom && !rom->empty()) check_rom(input, fmt::format("vfio[{}].romfile", i), *rom, findings);
  }
  for (std::size_t i = 0; i < config.nics.size(); ++i) {
    const auto& socket = config.nics[i].vhost_user.socket;
    if (!socket || socket->size() <= kLongestSocketPath) continue;
    findings.push_back(finding(Severity::kProblem, fmt::format("nics[{}].socket", i),
                               fmt::format("{} has {} bytes, and a socket's path {} at most",
                                           quote(*socket), socket->size(), kLongestSocketPath),
                               "a shorter path, or a symlink to its folder", ExitStatus::kUsage));
  }
}

}  // namespace vmrig
