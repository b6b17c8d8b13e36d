// What a qcow2 image says of its backing file and its data file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "hostcfg/facts.hpp"

namespace vmrig {

// A qcow2 header, as far as it stands in the first bytes of the image.
struct Qcow2Header {
  std::uint64_t backing_offset = 0;  // of the backing file's name in the image; 0: none
  std::size_t backing_size = 0;      // of the name, bytes
  std::string backing_format;        // empty: it does not say
  bool has_data_file = false;
  bool corrupt = false;   // QEMU has found it so
  std::string data_file;  // empty: it does not say
};

// `first` holds the first cluster, or as much of it as has the header's extensions. Throws
// vmrig::Error with what is wrong. Pure.
// Source: qemu docs/interop/qcow2.txt.
Qcow2Header parse_qcow2_header(std::string_view first);

// The links of the image that is open for reading; a header that can't be used is told in `fault`.
ImageLinks read_image_links(int image);

// Whether what lies below may have links of its own: it is not said to be of another format. Pure.
bool has_linked_qcow2(const ImageLinks& links);

// The path of a file that an image names, seen from the image's own path, as QEMU finds it; nullopt
// for what is no file of the host ("nbd://…", "json:…"). Pure.
// Source: qemu block.c path_combine, path_has_protocol.
std::optional<std::string> linked_path(const std::string& image, const std::string& name);

}  // namespace vmrig
