// What a disk image says of itself.
#pragma once

#include <string>
#include <string_view>

namespace vmrig {

struct ImageHeader {
  std::string backing;    // name of the image below it, as it stands there; empty: none
  std::string data_file;  // name of the file that its data are in; empty: itself
  bool corrupt = false;   // QEMU has found it so, and refuses to write to it
};

// The header in the first bytes of a qcow2 image; what is no such header, or makes no sense, says
// nothing. Source: qemu docs/interop/qcow2.rst.
ImageHeader read_qcow2_header(std::string_view bytes);

// The path that such a name of an image at `path` stands for; empty when it is none but a URL or
// QEMU's "json:". Source: qemu block.c path_has_protocol, path_combine.
std::string path_below(std::string_view path, std::string_view name);

}  // namespace vmrig
