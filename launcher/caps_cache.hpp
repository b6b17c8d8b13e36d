// Finds a QEMU, and what it can do: probed once a binary, then read from a file.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>

#include "qmp/caps.hpp"

namespace vmrig {

inline constexpr const char* kDefaultQemu = "qemu-system-x86_64";

// The absolute path of the program. `qemu` is a path when it has a '/', else it is looked for in
// `search_path` (PATH's form); empty is kDefaultQemu. Throws vmrig::Error (kHost) when it is
// missing, a folder or not executable.
std::string find_qemu(const std::string& qemu, const std::string& search_path);

// /var/cache/vmrig for root, else $XDG_CACHE_HOME/vmrig or $HOME/.cache/vmrig; empty (no cache)
// when neither is an absolute path.
std::string default_cache_folder(uid_t uid, const std::string& xdg_cache_home,
                                 const std::string& home);

struct CapsOptions {
  enum class Use { kCache, kProbeAnew };
  std::string cache_folder;  // made (0700) when missing; empty: no cache
  Use use = Use::kCache;
  std::chrono::milliseconds probe_timeout{10'000};
  std::function<void(const std::string&)> log;  // debug: cache faults; may be empty
};

// What the QEMU at `qemu_path` can do. Starts it once (-M none, -S) unless the cache knows this
// very file (path, device, inode, size, modification time). Cache faults are no errors. Throws
// vmrig::Error: kHost when it can't be executed; kQemu, with its own words, when it dies or is no
// QEMU.
qmp::QemuCaps load_caps(const std::string& qemu_path, const CapsOptions& options);

}  // namespace vmrig
