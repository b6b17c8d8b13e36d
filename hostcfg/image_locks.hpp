// Locks on disk images, as QEMU takes them.
#pragma once

#include "hostcfg/facts.hpp"

namespace vmrig {

// Those that others hold on the open file `fd`; none where the file system has none.
// Source: qemu block/file-posix.c, RAW_LOCK_PERM_BASE, raw_check_lock_bytes; fcntl(2), F_OFD_GETLK.
ImageLocks read_image_locks(int fd);

}  // namespace vmrig
