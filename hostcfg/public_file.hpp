// A file that other users' programs read while it is written anew.
#pragma once

#include <string>
#include <string_view>

namespace vmrig {

// Replaces the file at `path` by `content`, mode 0644 whatever the umask: a temporary file beside
// it (its name starts with a dot and has an ending of its own), then a rename. Readers see the old
// or the new file. Nothing is flushed to the disk: it is worth nothing after a power cut. A symlink
// at `path` is replaced, not followed. Throws vmrig::Error and leaves no temporary file.
void replace_public_file(const std::string& path, std::string_view content);

}  // namespace vmrig
