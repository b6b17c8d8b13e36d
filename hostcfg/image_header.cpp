#include "hostcfg/image_header.hpp"

#include <cstddef>
#include <cstdint>

namespace vmrig {
namespace {

using namespace std::string_view_literals;

constexpr std::uint64_t kCorrupt = 2;            // incompatible_features, bit 1
constexpr std::uint32_t kDataFile = 0x44415441;  // a header extension
constexpr std::size_t kVersion2Length = 72;
constexpr std::size_t kMostName = 1023;

// Big endian; 0 beyond the end.
std::uint64_t number_at(std::string_view bytes, std::size_t at, std::size_t size) {
  if (at + size > bytes.size()) return 0;
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i) {
    value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  }
  return value;
}

std::string text_at(std::string_view bytes, std::uint64_t at, std::uint64_t size) {
  if (at == 0 || size == 0 || size > kMostName || at > bytes.size() || size > bytes.size() - at) {
    return {};
  }
  return std::string(bytes.substr(at, size));
}

}  // namespace

ImageHeader read_qcow2_header(std::string_view bytes) {
  ImageHeader header;
  if (!bytes.starts_with("QFI\xfb"sv)) return header;
  const std::uint64_t version = number_at(bytes, 4, 4);
  if (version != 2 && version != 3) return header;
  header.backing = text_at(bytes, number_at(bytes, 8, 8), number_at(bytes, 16, 4));
  std::size_t at = kVersion2Length;
  if (version == 3) {
    header.corrupt = (number_at(bytes, 72, 8) & kCorrupt) != 0;
    at = static_cast<std::size_t>(number_at(bytes, 100, 4));
    if (at < 104) return header;
  }
  // Extensions: type, length, data; each begins at a multiple of eight.
  while (at + 8 <= bytes.size()) {
    const std::uint64_t type = number_at(bytes, at, 4);
    const std::uint64_t length = number_at(bytes, at + 4, 4);
    if (type == 0 || length > bytes.size()) break;
    if (type == kDataFile) header.data_file = text_at(bytes, at + 8, length);
    at += 8 + static_cast<std::size_t>((length + 7) / 8 * 8);
  }
  return header;
}

std::string path_below(std::string_view path, std::string_view name) {
  if (name.starts_with("file:"sv)) name.remove_prefix(5);
  const std::size_t special = name.find_first_of(":/");
  if (name.empty() || name.find('\0') != std::string_view::npos) return {};
  if (special != std::string_view::npos && name[special] == ':') return {};
  if (name.front() == '/') return std::string(name);
  const std::size_t slash = path.rfind('/');
  const std::string_view folder = path.substr(0, slash == std::string_view::npos ? 0 : slash + 1);
  return std::string(folder) + std::string(name);
}

}  // namespace vmrig
