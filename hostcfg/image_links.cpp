#include "hostcfg/image_links.hpp"

#include <unistd.h>

#include <cerrno>

#include "hostcfg/base/error.hpp"

namespace vmrig {
namespace {

// Extensions take some hundred bytes, and stand in the first cluster, whose default is the most.
constexpr std::size_t kFirstHeadBytes = std::size_t{4} << 10;
constexpr std::size_t kMostHeadBytes = std::size_t{64} << 10;

std::string read_at(int image, std::uint64_t offset, std::size_t size) {
  std::string bytes(size, '\0');
  std::size_t used = 0;
  while (used < size) {
    const ssize_t got =
        ::pread(image, bytes.data() + used, size - used, static_cast<off_t>(offset + used));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw system_error("read", "an image", errno);
    if (got == 0) break;
    used += static_cast<std::size_t>(got);
  }
  bytes.resize(used);
  return bytes;
}

Qcow2Header read_header(int image) {
  try {
    return parse_qcow2_header(read_at(image, 0, kFirstHeadBytes));
  } catch (const Error&) {
    return parse_qcow2_header(read_at(image, 0, kMostHeadBytes));
  }
}

}  // namespace

ImageLinks read_image_links(int image) {
  ImageLinks links;
  try {
    const Qcow2Header header = read_header(image);
    links.corrupt = header.corrupt;
    if (header.backing_offset != 0) {
      links.backing_file = read_at(image, header.backing_offset, header.backing_size);
      links.backing_format = header.backing_format;
      if (links.backing_file.size() != header.backing_size) links.fault = "it is cut off";
    }
    if (header.has_data_file) links.data_file = header.data_file;
    if (header.has_data_file && header.data_file.empty()) {
      links.fault = "it does not name its data file";
    }
  } catch (const Error& error) {
    links.fault = error.parts().cause;
  }
  return links;
}

}  // namespace vmrig
