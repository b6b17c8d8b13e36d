#include "tests/fuzz/memory_tree.hpp"

#include <algorithm>
#include <utility>

#include "hostcfg/folder_reader.hpp"

namespace vmrig::fuzz {
namespace {

constexpr int kMostLinks = 40;  // linux include/linux/namei.h MAXSYMLINKS

std::string_view take_part(std::string_view& path) {
  const std::size_t slash = path.find('/');
  const std::string_view part = path.substr(0, slash);
  path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  return part;
}

}  // namespace

MemoryTree& MemoryTree::instance() {
  static MemoryTree tree;
  return tree;
}

MemoryTree::MemoryTree() { clear(); }

void MemoryTree::clear() {
  nodes_.clear();
  nodes_.emplace_back();
}

MemoryTree::Node* MemoryTree::add(std::string_view path) {
  if (path.find('\0') != std::string_view::npos) return nullptr;  // no name has it
  std::size_t at = 0;
  while (!path.empty()) {
    const std::string_view part = take_part(path);
    if (part.empty() || part == "." || part == "..") continue;
    if (nodes_[at].kind != Node::Kind::kFolder) return nullptr;
    auto found = nodes_[at].children.find(part);
    if (found == nodes_[at].children.end()) {
      found = nodes_[at].children.emplace(std::string(part), nodes_.size()).first;
      Node fresh;
      fresh.parent = at;
      at = found->second;
      nodes_.push_back(std::move(fresh));
    } else {
      at = found->second;
    }
  }
  const bool is_fresh =
      at != 0 && nodes_[at].kind == Node::Kind::kFolder && nodes_[at].children.empty();
  return is_fresh ? &nodes_[at] : nullptr;
}

void MemoryTree::add_file(std::string_view path, std::string_view content) {
  Node* node = add(path);
  if (node == nullptr) return;
  node->kind = Node::Kind::kFile;
  node->content = content;
}

void MemoryTree::add_link(std::string_view path, std::string_view target) {
  Node* node = target.find('\0') == std::string_view::npos ? add(path) : nullptr;
  if (node == nullptr) return;
  node->kind = Node::Kind::kLink;
  node->content = target;
}

std::optional<std::size_t> MemoryTree::walk(std::size_t from, std::string_view path, LastLink last,
                                            int& links_left) const {
  std::size_t at = path.starts_with('/') ? 0 : from;
  while (!path.empty()) {
    const std::string_view part = take_part(path);
    if (part.empty() || part == ".") continue;
    if (nodes_[at].kind != Node::Kind::kFolder) return std::nullopt;
    if (part == "..") {
      at = nodes_[at].parent;
      continue;
    }
    const auto found = nodes_[at].children.find(part);
    if (found == nodes_[at].children.end()) return std::nullopt;
    const Node& next = nodes_[found->second];
    if (next.kind != Node::Kind::kLink || (path.empty() && last == LastLink::kKeep)) {
      at = found->second;
      continue;
    }
    if (--links_left < 0) return std::nullopt;
    const auto target = walk(at, next.content, LastLink::kFollow, links_left);
    if (!target) return std::nullopt;
    at = *target;
  }
  return at;
}

std::optional<std::size_t> MemoryTree::find(std::size_t from, std::string_view path) const {
  int links_left = kMostLinks;
  return walk(from, path, LastLink::kFollow, links_left);
}

std::optional<std::size_t> MemoryTree::find_itself(std::size_t from, std::string_view path) const {
  int links_left = kMostLinks;
  return walk(from, path, LastLink::kKeep, links_left);
}

void build_tree(std::string_view input) {
  MemoryTree& tree = MemoryTree::instance();
  tree.clear();
  while (!input.empty()) {
    std::string_view line = take_line(input);
    if (line.starts_with("= ")) {
      const std::size_t end = std::min(input.find("\n= "), input.find("\n> "));
      // At once the next header, and so an empty file.
      const bool is_empty = input.starts_with("= ") || input.starts_with("> ");
      const std::string_view content = is_empty ? std::string_view() : input.substr(0, end);
      tree.add_file(line.substr(2), content);
      input.remove_prefix(is_empty ? 0 : std::min(content.size() + 1, input.size()));
    } else if (line.starts_with("> ")) {
      line.remove_prefix(2);
      const std::string_view path = take_word(line);
      tree.add_link(path, line);
    }
  }
}

}  // namespace vmrig::fuzz

namespace vmrig {
namespace {

using fuzz::MemoryTree;

// Far above any fd that is open; closing one is an error that nobody looks at.
constexpr int kFirstHandle = 1 << 28;

MemoryTree& tree() { return MemoryTree::instance(); }
Fd handle(std::size_t node) { return Fd(kFirstHandle + static_cast<int>(node)); }
std::size_t node_of(const Fd& fd) { return static_cast<std::size_t>(fd.get() - kFirstHandle); }

std::optional<std::size_t> find(const Fd& from, const char* name, MemoryTree::Node::Kind kind) {
  const auto found = tree().find(node_of(from), name);
  return found && tree().node(*found).kind == kind ? found : std::nullopt;
}

}  // namespace

std::optional<FolderReader> FolderReader::open(const std::string& /*path*/) {
  return FolderReader(handle(0));
}

std::optional<FolderReader> FolderReader::folder(const char* name) const {
  const auto found = find(fd_, name, MemoryTree::Node::Kind::kFolder);
  if (!found) return std::nullopt;
  return FolderReader(handle(*found));
}

std::optional<std::string> FolderReader::attribute(const char* name) const {
  constexpr std::size_t kPage = 4096;
  const auto found = find(fd_, name, MemoryTree::Node::Kind::kFile);
  if (!found || tree().node(*found).content.size() >= kPage) return std::nullopt;
  std::string content = tree().node(*found).content;
  if (!content.empty() && content.back() == '\n') content.pop_back();
  return content;
}

std::optional<std::string> FolderReader::text(const char* name, std::size_t limit,
                                              std::string_view stop) const {
  const auto found = find(fd_, name, MemoryTree::Node::Kind::kFile);
  if (!found) return std::nullopt;
  std::string content = tree().node(*found).content.substr(0, limit);
  if (!stop.empty()) content.resize(std::min(content.size(), content.find(stop)));
  return content;
}

std::optional<std::string> FolderReader::link(const char* name) const {
  const auto found = tree().find_itself(node_of(fd_), name);
  if (!found || tree().node(*found).kind != MemoryTree::Node::Kind::kLink) return std::nullopt;
  return tree().node(*found).content;
}

std::vector<std::string> FolderReader::names(const char* name) const {
  std::vector<std::string> names;
  const auto found = find(fd_, name, MemoryTree::Node::Kind::kFolder);
  if (!found) return names;
  for (const auto& [child, index] : tree().node(*found).children) {
    if (!child.starts_with('.')) names.push_back(child);
  }
  return names;
}

bool FolderReader::exists(const char* name) const {
  return tree().find(node_of(fd_), name).has_value();
}

std::optional<CpuSet> FolderReader::cpulist(const char* name) const {
  const std::optional<std::string> text = attribute(name);
  return text ? parse_cpulist(*text) : std::nullopt;
}

}  // namespace vmrig
