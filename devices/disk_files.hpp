// The files of the host that a disk consists of.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace vmrig {

struct ImageFile {
  std::string path;
  bool is_block_device = false;
  bool operator==(const ImageFile&) const = default;
};

// An image that another stands on. The guest never writes to it.
struct ImageLayer {
  ImageFile file;
  std::string format;             // QEMU's driver: "qcow2", "raw"
  std::optional<ImageFile> data;  // of qcow2: where its clusters are, instead of in the image
  bool operator==(const ImageLayer&) const = default;
};

// Beside the image that the config names.
struct DiskFiles {
  bool is_block_device = false;  // the image itself
  std::optional<ImageFile> data;
  std::vector<ImageLayer> backing;  // from the image down; what stands below is QEMU's to find
  bool operator==(const DiskFiles&) const = default;
};

}  // namespace vmrig
