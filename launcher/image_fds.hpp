// Opens files of the host for a QEMU that may not open them itself.
#pragma once

#include <string>

#include "devices/description.hpp"
#include "hostcfg/base/fd.hpp"

namespace vmrig {

// All fds are close-on-exec, and each function throws vmrig::Error (kHost) naming the file.

// An image, as `source` says; nothing but a regular file or a block device, and never waited for.
Fd open_image(const FdSource& source);

// For append; made (0600) when it is not there.
Fd open_log_file(const std::string& path);

// The file's content in memory, sealed: whoever has the fd can read it and nothing else.
// Source: memfd_create(2), fcntl(2) F_ADD_SEALS.
Fd copy_to_memory(const std::string& path);

}  // namespace vmrig
