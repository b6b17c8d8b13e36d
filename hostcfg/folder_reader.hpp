// Reads below one folder (proc, sys and dev of a host, or a copy of them in a test), with
// bounds, and with "not there" as a value: a host that does not tell a fact is no fault.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hostcfg/base/cpu_set.hpp"
#include "hostcfg/base/fd.hpp"
#include "hostcfg/text_fields.hpp"

namespace vmrig {

// Paths are relative to the folder, which stays open: sysfs is read much faster when each
// read need not walk from the root. Opens with O_NONBLOCK, so that a FIFO can't block.
class FolderReader {
 public:
  static std::optional<FolderReader> open(const std::string& path);

  std::optional<FolderReader> folder(const char* name) const;

  // One read of at most 4095 bytes: right for a sysfs attribute, which is never longer and
  // comes whole. Without the trailing newline.
  std::optional<std::string> attribute(const char* name) const;

  // The first `limit` bytes; read no further than the first `stop` when that is not empty.
  std::optional<std::string> text(const char* name, std::size_t limit,
                                  std::string_view stop = {}) const;

  std::optional<std::string> link(const char* name) const;  // where a symlink points
  std::vector<std::string> names(const char* name) const;   // unsorted; empty if not readable
  bool exists(const char* name) const;

  // A whole number with nothing around it but white space. For int the text may start with a "-".
  template <typename Number>
  std::optional<Number> number(const char* name) const;

  std::optional<CpuSet> cpulist(const char* name) const;

  int fd() const { return fd_.get(); }

 private:
  explicit FolderReader(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

template <typename Number>
std::optional<Number> FolderReader::number(const char* name) const {
  const std::optional<std::string> text = attribute(name);
  return text ? parse_number<Number>(*text) : std::nullopt;
}

}  // namespace vmrig
