// What stands at a path that a config names.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "hostcfg/facts.hpp"

namespace vmrig {

enum class ImageChain { kLeave, kRead };

// Follows symlinks. With kRead a qcow2 image's links are read, too. Only regular files and block devices are opened, so that neither a FIFO
// blocks nor a character device does whatever it does when opened.
PathFacts read_path_facts(const std::string& path, ImageChain chain = ImageChain::kLeave);

// The path's facts into `paths`, and those of all files that stand behind the image: each as its
// own image says, as far as its format is said to be qcow2.
void read_image_chain(const std::string& path, std::map<std::string, PathFacts>& paths);

// The image format that begins with these bytes, by QEMU's name for it ("qcow2", "vmdk", "vdi",
// "vhdx", "vpc", "qed", "luks", …); empty for none, which raw images are too.
// Source: qemu block/*.c, the *_probe functions.
std::string_view image_format_of(std::string_view first_bytes);

}  // namespace vmrig
