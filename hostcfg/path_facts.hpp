// What stands at a path that a config names.
#pragma once

#include <string>
#include <string_view>

#include "hostcfg/facts.hpp"

namespace vmrig {

// Follows symlinks. Only regular files and block devices are opened, so that neither a FIFO
// blocks nor a character device does whatever it does when opened.
PathFacts read_path_facts(const std::string& path);

// The image format that begins with these bytes, by QEMU's name for it ("qcow2", "vmdk", "vdi",
// "vhdx", "vpc", "qed", "luks", …); empty for none, which raw images are too.
// Source: qemu block/*.c, the *_probe functions.
std::string_view image_format_of(std::string_view first_bytes);

}  // namespace vmrig
