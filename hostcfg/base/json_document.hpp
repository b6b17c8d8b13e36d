// JSON text with comments, and the line on which each value stands.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/json.hpp"

namespace vmrig {

// Paths are written as users write them: "memory.size", "disks[0].path".
class JsonDocument {
 public:
  static constexpr std::size_t kMaxBytes = std::size_t{4} << 20;
  static constexpr std::size_t kMaxDepth = 64;

  // Parses `text`; `file` is for the messages only. Faults (syntax, duplicate keys, depth,
  // size) are appended to `diagnostics`; after a syntax fault the root is null.
  static JsonDocument parse(std::string_view text, std::string file,
                            std::vector<Diagnostic>& diagnostics);

  JsonDocument();
  ~JsonDocument();
  JsonDocument(JsonDocument&&) noexcept;
  JsonDocument& operator=(JsonDocument&&) noexcept;

  Json& root() { return *root_; }
  const Json& root() const { return *root_; }
  const std::string& file() const { return file_; }
  // The line of the value at `path`, or of the nearest parent that stands in the file.
  int line(std::string_view path) const;
  // Notes that the value at `path` (and all below) comes from `source`, not from the file.
  void set_source(const std::string& path, std::string source);
  // Empty for what stands in the file.
  std::string source(std::string_view path) const;

 private:
  std::unique_ptr<Json> root_;
  std::string file_;
  std::map<std::string, int, std::less<>> lines_;
  std::map<std::string, std::string, std::less<>> sources_;
};

}  // namespace vmrig
