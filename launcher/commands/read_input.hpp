// Files that commands are given by name; "-" is standard input.
#pragma once

#include <cstddef>
#include <string>

namespace vmrig {

// At most one byte more than `limit`, so that the caller can tell that there is too much. `what` is
// its name in faults: "config". Throws vmrig::Error (kUsage).
std::string read_input(const char* what, const std::string& path, std::size_t limit);

// The absolute folder that relative paths in it are relative to.
std::string input_folder(const std::string& path);

}  // namespace vmrig
