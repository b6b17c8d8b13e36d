// The host's files in memory, for targets that read facts: a real folder would take most of an
// input's time. memory_tree.cpp has the functions of FolderReader, which the linker takes in place
// of the library's.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vmrig::fuzz {

class MemoryTree {
 public:
  // The one that FolderReader reads; it has one root for all paths.
  static MemoryTree& instance();

  MemoryTree();
  void clear();
  // Makes the folders above it; what stands there already stays.
  void add_file(std::string_view path, std::string_view content);
  void add_link(std::string_view path, std::string_view target);

  struct Node {
    enum class Kind { kFolder, kFile, kLink };
    Kind kind = Kind::kFolder;
    std::string content;  // of a file; where a link leads
    std::size_t parent = 0;
    std::map<std::string, std::size_t, std::less<>> children;
  };

  const Node& node(std::size_t index) const { return nodes_.at(index); }
  // Where the path leads from that folder, as openat(2) has it.
  std::optional<std::size_t> find(std::size_t from, std::string_view path) const;
  // The same, but a link at its end is not followed.
  std::optional<std::size_t> find_itself(std::size_t from, std::string_view path) const;

 private:
  enum class LastLink { kFollow, kKeep };
  std::optional<std::size_t> walk(std::size_t from, std::string_view path, LastLink last,
                                  int& links_left) const;
  Node* add(std::string_view path);

  std::vector<Node> nodes_;
};

// Builds the tree from an input: a line "= PATH" begins a file, whose content is all up to the next
// such line; "> PATH TARGET" makes a link.
void build_tree(std::string_view input);

}  // namespace vmrig::fuzz
