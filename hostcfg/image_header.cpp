// The pure part of image_links.hpp.
#include <fmt/format.h>

#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/image_links.hpp"

namespace vmrig {
namespace {

constexpr std::string_view kMagic{"QFI\xfb", 4};
constexpr std::size_t kVersion2Size = 72;
constexpr std::size_t kVersion3Size = 104;
constexpr std::uint64_t kCorruptFeature = 1 << 1;
constexpr std::uint64_t kDataFileFeature = 1 << 2;
constexpr std::uint64_t kBackingFormat = 0xe2792aca;
constexpr std::uint64_t kDataFileName = 0x44415441;
constexpr std::size_t kMostName = 1023;  // bytes, as QEMU takes them

[[noreturn]] void refuse(std::string cause) {
  throw Error({.status = ExitStatus::kUsage,
               .operation = "read the header of an image",
               .object = {},
               .cause = std::move(cause),
               .mend = "qemu-img check tells more"});
}

std::uint64_t number_at(std::string_view bytes, std::size_t offset, std::size_t size) {
  if (offset + size > bytes.size()) refuse("it is cut off");
  std::uint64_t number = 0;
  for (const char byte : bytes.substr(offset, size)) {
    number = (number << 8) | static_cast<unsigned char>(byte);
  }
  return number;
}

void read_extensions(std::string_view bytes, std::size_t at, Qcow2Header& header) {
  constexpr std::size_t kHead = 8;
  constexpr std::size_t kAlignment = 8;
  // Names stand behind the extensions, which end with an empty one, or where the name begins.
  while (header.backing_offset == 0 || at < header.backing_offset) {
    const std::uint64_t type = number_at(bytes, at, 4);
    const std::uint64_t size = number_at(bytes, at + 4, 4);
    if (type == 0) return;
    at += kHead;
    if (size > bytes.size() || at + size > bytes.size()) refuse("an extension is cut off");
    const std::string_view data = bytes.substr(at, static_cast<std::size_t>(size));
    const bool is_name = type == kBackingFormat || type == kDataFileName;
    if (is_name && (data.size() > kMostName || data.find('\0') != std::string_view::npos)) {
      refuse("a name in it is none");
    }
    if (type == kBackingFormat) header.backing_format = data;
    if (type == kDataFileName) header.data_file = data;
    at += static_cast<std::size_t>((size + kAlignment - 1) / kAlignment * kAlignment);
  }
}

}  // namespace

Qcow2Header parse_qcow2_header(std::string_view first) {
  if (first.substr(0, kMagic.size()) != kMagic) refuse("it is no qcow2 image");
  const std::uint64_t version = number_at(first, 4, 4);
  if (version != 2 && version != 3) refuse(fmt::format("it is of version {}", version));
  Qcow2Header header;
  header.backing_offset = number_at(first, 8, 8);
  const std::uint64_t backing_size = number_at(first, 16, 4);
  if (header.backing_offset != 0 && (backing_size == 0 || backing_size > kMostName)) {
    refuse("the name of its backing file is none");
  }
  header.backing_size = static_cast<std::size_t>(backing_size);
  std::size_t extensions = kVersion2Size;
  if (version == 3) {
    const std::uint64_t features = number_at(first, 72, 8);  // that a reader has to know
    header.has_data_file = (features & kDataFileFeature) != 0;
    header.corrupt = (features & kCorruptFeature) != 0;
    extensions = static_cast<std::size_t>(number_at(first, 100, 4));
    if (extensions < kVersion3Size || extensions % 8 != 0) refuse("it has no length");
  }
  read_extensions(first, extensions, header);
  return header;
}

bool has_linked_qcow2(const ImageLinks& links) {
  return links.backing_format.empty() || links.backing_format == "qcow2";
}

std::optional<std::string> linked_path(const std::string& image, const std::string& name) {
  constexpr std::string_view kFile = "file:";
  if (name.empty() || name.find('\0') != std::string::npos) return std::nullopt;
  if (name.front() == '/') return name;
  if (name.starts_with(std::string(kFile) + "/")) return name.substr(kFile.size());
  const std::size_t end = name.find_first_of(":/");
  if (end != std::string::npos && name[end] == ':') return std::nullopt;
  return image.substr(0, image.rfind('/') + 1) + name;
}

}  // namespace vmrig
