// What stands at a path that a config names.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/facts.hpp"

namespace vmrig {

// Follows symlinks. Only regular files and block devices are opened, so that neither a FIFO blocks
// nor a character device does whatever it does when opened. Of a qcow2 image its links are read.
PathFacts read_path_facts(const std::string& path);

// The same of each, and of all images that lie below one of them, by path. `root` stands before
// each when it is looked at; empty for "/".
std::map<std::string, PathFacts> read_paths(const std::vector<std::string>& paths,
                                            const std::string& root = {});

// The image format that begins with these bytes, by QEMU's name for it ("qcow2", "vmdk", "vdi",
// "vhdx", "vpc", "qed", "luks", …); empty for none, which raw images are too.
// Source: qemu block/*.c, the *_probe functions.
std::string_view image_format_of(std::string_view first_bytes);

}  // namespace vmrig
