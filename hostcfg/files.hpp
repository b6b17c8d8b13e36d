// Small files and folders, read with a bound and written so that a reader never sees half.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/fd.hpp"

namespace vmrig {

// The whole of the regular file at `path`, at most `limit` bytes. Never blocks on a FIFO or a
// device. Throws vmrig::Error, also when the file is larger.
std::string read_small_file(const std::string& path, std::size_t limit);

// As read_small_file, but nullopt when there is no such file.
std::optional<std::string> read_file_if_exists(const std::string& path, std::size_t limit);

// The same for this user's own file: throws vmrig::Error when it is another user's, or a symlink.
std::optional<std::string> read_own_file_if_exists(const std::string& path, std::size_t limit);

// The names in a folder, sorted, without "." and "..". Throws vmrig::Error.
std::vector<std::string> list_folder(const std::string& path);

// Replaces the file at `path` by `content`, mode 0600: a temporary file beside it (its name
// starts with a dot), fsync, rename, fsync of the folder. Readers see the old or the new file, and
// of two writers the last wins whole. A symlink at `path` is replaced, not followed. Throws
// vmrig::Error and leaves no temporary file.
void write_file_atomically(const std::string& path, std::string_view content);

// Makes the folder `path` with mode 0700 unless it is there (its parent has to be), and returns
// it opened. Throws vmrig::Error when it is a symlink, is no folder, belongs to another user,
// or others have access to it.
Fd ensure_private_folder(const std::string& path);

}  // namespace vmrig
