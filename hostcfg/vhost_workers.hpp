// The kernel's threads that move a VM's packets (vhost-net).
#pragma once

#include <sys/types.h>

#include <vector>

#include "hostcfg/folder_reader.hpp"

namespace vmrig {

// Of the QEMU with this pid, ascending; they are there once its vhost devices have an owner, which
// is when their netdevs are made. Threads of QEMU's own since Linux 6.4, kernel threads before;
// those can't be seen from within a PID namespace. `root` is the host's /.
// Source: linux drivers/vhost/vhost.c vhost_worker_create, kernel/vhost_task.c ("vhost-PID").
std::vector<pid_t> vhost_workers(const FolderReader& root, pid_t qemu);

}  // namespace vmrig
