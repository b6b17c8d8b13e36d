#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "qmp/deadline.hpp"
#include "qmp/fd.hpp"

namespace qmp {

/// Connects to the AF_UNIX stream socket at `path`; blocking until `deadline` when its backlog is
/// full (QEMU's is one). The fd is close-on-exec and non-blocking. Throws Error: closed with the
/// path and errno's text (also for a path over 107 bytes, which sun_path can't hold), timeout.
Fd connect_unix(const std::string& path, Deadline deadline);

/// Binds and listens at `path` with mode 0600, atomically: the socket is made in a private folder
/// beside it and renamed into place, over whatever socket was there. `backlog` in connections.
/// Close-on-exec and non-blocking. Throws Error (closed).
Fd listen_unix(const std::string& path, int backlog = 64);

/// A connected pair, close-on-exec. Throws Error (closed).
std::pair<Fd, Fd> socket_pair();

/// Uid of the process at the other end of a connected AF_UNIX socket (SO_PEERCRED: as of its
/// connect or listen). Throws Error (closed).
uid_t peer_uid(int fd);

}  // namespace qmp
