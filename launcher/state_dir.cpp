#include "launcher/state_dir.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/retry.hpp"
#include "hostcfg/files.hpp"
#include "hostcfg/journal.hpp"
#include "launcher/config/vm_config.hpp"
#include "launcher/page_claims.hpp"

namespace vmrig {
namespace {

constexpr const char* kRootLockName = ".lock";
constexpr const char* kVmLockName = "lock";
constexpr std::string_view kGonePrefix = ".gone-";

struct flock whole_file_lock() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

int open_folder_at(int parent, const std::string& path) {
  return retrying([&] {
    return ::openat(parent, path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  });
}

// True when some process holds the VM's lock. Asks without taking it, so that a `list` never makes
// a start fail.
bool is_locked(int folder) {
  // For reading: a living supervisor is one, too, where nothing can be written any more.
  const Fd fd(retrying(
      [folder] { return ::openat(folder, kVmLockName, O_RDONLY | O_NOFOLLOW | O_CLOEXEC); }));
  // What can't be known is taken as a yes: nothing is taken from a VM then.
  if (!fd) return errno != ENOENT;
  struct flock lock = whole_file_lock();
  // Source: fcntl(2), open file description locks, since Linux 3.15.
  return ::fcntl(fd.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

// The lock, or an empty Fd when it is held.
Fd try_lock(int folder, const std::string& path) {
  Fd fd(retrying([folder] {
    return ::openat(folder, kVmLockName, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  }));
  if (!fd) throw system_error("lock", path, errno);
  struct flock lock = whole_file_lock();
  if (::fcntl(fd.get(), F_OFD_SETLK, &lock) == 0) return fd;
  if (errno == EAGAIN || errno == EACCES) return Fd();
  throw system_error("lock", path, errno);
}

uid_t owner_of(int folder) {
  struct stat status {};
  return ::fstat(folder, &status) == 0 ? status.st_uid : static_cast<uid_t>(-1);
}

Error not_ours(const std::string& path, uid_t owner) {
  return Error({.operation = "use the state folder",
                .object = path,
                .cause = fmt::format("it belongs to user {}, not to user {}", owner, ::geteuid()),
                .mend = fmt::format("vmrig as that user: setpriv --reuid {} vmrig …", owner)});
}

bool is_same_file(int fd, const std::string& path) {
  struct stat opened {};
  struct stat named {};
  return ::fstat(fd, &opened) == 0 && ::lstat(path.c_str(), &named) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

// Whether the journal names changes of the host that are not undone.
bool owes_the_host(const std::string& journal_path) {
  try {
    const std::optional<JournalContent> journal = read_journal(journal_path);
    return journal && !journal->open_in(read_boot_id()).empty();
  } catch (const Error&) {
    return true;
  }
}

Error busy(const VmEntry& entry) {
  const std::string& name = entry.name;
  std::string cause = "a VM of that name is being started";
  const bool is_orphan = entry.condition == VmCondition::kOrphaned;
  if (entry.qemu_alive) {
    cause = fmt::format("it is {}, QEMU's pid {}", condition_name(entry.condition),
                        entry.state->qemu.pid);
  } else if (entry.state) {
    cause = fmt::format("it is {}, pid {}", condition_name(entry.condition),
                        entry.state->supervisor.pid);
  }
  return Error(
      {.status = ExitStatus::kBusy,
       .operation = "start VM",
       .object = name,
       .cause = std::move(cause),
       .mend = is_orphan ? "vmrig recover (gives it a supervisor again)" : "vmrig stop " + name});
}

}  // namespace

std::string default_state_folder(uid_t uid, const std::string& xdg_runtime_dir) {
  if (uid == 0) return "/run/vmrig";
  if (!xdg_runtime_dir.empty() && xdg_runtime_dir.front() == '/') {
    return xdg_runtime_dir + "/vmrig";
  }
  throw Error(
      {.status = ExitStatus::kUsage,
       .operation = "find the state folder",
       .object = {},
       .cause = xdg_runtime_dir.empty() ? "XDG_RUNTIME_DIR is not set"
                                        : "XDG_RUNTIME_DIR is no absolute path",
       .mend = fmt::format("export XDG_RUNTIME_DIR=/run/user/{}, or give --state-dir", uid)});
}

std::string_view condition_name(VmCondition condition) {
  static constexpr std::array<std::string_view, 8> kNames = {
      "starting", "running", "paused", "stopping", "restarting", "crashed", "orphaned", "stale"};
  return kNames.at(static_cast<std::size_t>(condition));
}

StateRoot StateRoot::open(const std::string& path) {
  Fd folder = ensure_private_folder(path);
  return StateRoot(path, std::move(folder));
}

std::optional<StateRoot> StateRoot::open_existing(const std::string& path) {
  Fd folder(open_folder_at(AT_FDCWD, path));
  if (!folder) {
    if (errno == ENOENT) return std::nullopt;
    throw system_error("open the state folder", path, errno);
  }
  const uid_t owner = owner_of(folder.get());
  if (owner != ::geteuid() && ::geteuid() != 0) throw not_ours(path, owner);
  return StateRoot(path, std::move(folder));
}

std::optional<StateRoot> StateRoot::open_own(const std::string& path) {
  std::optional<StateRoot> root = open_existing(path);
  if (!root) return root;
  const uid_t owner = owner_of(root->folder_.get());
  if (owner != ::geteuid()) throw not_ours(path, owner);
  return root;
}

StateRoot::Lock StateRoot::lock() const {
  const auto open_lock = [this](int flags) {
    return retrying([&] {
      return ::openat(folder_.get(), kRootLockName, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
    });
  };
  Fd fd(open_lock(O_RDWR | O_CREAT));
  if (!fd && errno == EROFS) {
    fd.reset(open_lock(O_RDONLY));
    if (!fd) errno = EROFS;
  }
  if (!fd) throw system_error("lock", path_ + "/" + kRootLockName, errno);
  while (::flock(fd.get(), LOCK_EX) != 0) {
    if (errno != EINTR) throw system_error("lock", path_ + "/" + kRootLockName, errno);
  }
  return Lock(std::move(fd));
}

std::optional<VmFolder> StateRoot::open_folder(const std::string& name) const {
  if (!why_bad_name(name).empty()) return std::nullopt;
  Fd fd(open_folder_at(folder_.get(), name));
  if (!fd) {
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) return std::nullopt;
    throw system_error("open the folder of VM", name, errno);
  }
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) throw system_error("open the folder of VM", name, errno);
  if (status.st_uid != ::geteuid() && ::geteuid() != 0) {
    throw Error({.operation = "open the folder of VM",
                 .object = name,
                 .cause = fmt::format("it belongs to user {}", status.st_uid),
                 .mend = {}});
  }
  return VmFolder(name, path_ + "/" + name, path_, std::move(fd), status.st_uid);
}

VmEntry StateRoot::examine(const VmFolder& folder) const {
  VmEntry entry;
  entry.name = folder.name();
  entry.path = folder.path();
  // Before the state is read: a supervisor that ends in between has written its last word then.
  entry.supervisor_alive = is_locked(folder.folder_.get());
  try {
    entry.state = folder.read_state();
  } catch (const Error& error) {
    entry.problem = error.what();
  }
  if (entry.state && entry.state->boot_id == read_boot_id()) {
    const bool is_ours = folder.owner() == ::geteuid();
    entry.qemu_alive =
        is_ours ? is_alive(entry.state->qemu) : is_alive_of(entry.state->qemu, folder.owner());
  }
  if (entry.supervisor_alive) {
    switch (entry.state ? entry.state->state : RunState::kStarting) {
      case RunState::kStarting:
        entry.condition = VmCondition::kStarting;
        break;
      case RunState::kRunning:
        entry.condition = VmCondition::kRunning;
        break;
      case RunState::kPaused:
        entry.condition = VmCondition::kPaused;
        break;
      case RunState::kRestarting:
        entry.condition = VmCondition::kRestarting;
        break;
      case RunState::kStopping:
      case RunState::kEnded:
      case RunState::kCrashed:
        entry.condition = VmCondition::kStopping;
        break;
    }
  } else if (entry.qemu_alive) {
    entry.condition = VmCondition::kOrphaned;
  } else if (entry.state && entry.state->state == RunState::kCrashed) {
    entry.condition = VmCondition::kCrashed;
  }
  return entry;
}

std::vector<VmEntry> StateRoot::list() const { return list_but({}); }

std::vector<VmEntry> StateRoot::list_but(std::string_view left_out) const {
  std::vector<VmEntry> entries;
  for (const std::string& name : list_folder(path_)) {
    if (name == left_out) continue;
    if (std::optional<VmFolder> folder = open_folder(name)) entries.push_back(examine(*folder));
  }
  return entries;
}

std::optional<VmEntry> StateRoot::find(const std::string& name) const {
  const std::optional<VmFolder> folder = open_folder(name);
  if (!folder) return std::nullopt;
  return examine(*folder);
}

VmFolder StateRoot::folder(const std::string& name) const {
  if (std::optional<VmFolder> folder = open_folder(name)) return std::move(*folder);
  std::string known;
  for (const VmEntry& entry : list()) known += (known.empty() ? "" : ", ") + entry.name;
  throw Error({.status = ExitStatus::kNoSuchVm,
               .operation = "find VM",
               .object = name,
               .cause = known.empty() ? "no VM runs here (" + path_ + ")"
                                      : "there is none of that name; there are: " + known,
               .mend = {}});
}

std::vector<Lease> StateRoot::leases() const { return leases_of(list()); }

std::vector<Lease> leases_of(const std::vector<VmEntry>& vms) {
  std::vector<Lease> leases;
  for (const VmEntry& entry : vms) {
    if (!entry.living()) continue;
    if (!entry.state) {
      // To plan without knowing what it holds could give its CPUs away.
      throw Error({.operation = "read what VM holds",
                   .object = entry.name,
                   .cause = entry.problem,
                   .mend = "vmrig stop " + entry.name});
    }
    leases.push_back(claim_now(entry));
  }
  return leases;
}

std::vector<Lease> owed_uids(const std::vector<VmEntry>& vms) {
  std::vector<Lease> owed;
  for (const VmEntry& entry : vms) {
    if (entry.living() || !entry.state || !entry.state->claim.uid) continue;
    if (!owes_the_host(entry.path + "/" + kJournalName)) continue;
    Lease lease;
    lease.vm = entry.name;
    lease.uid = entry.state->claim.uid;
    owed.push_back(std::move(lease));
  }
  return owed;
}

VmFolder StateRoot::claim(const Lock&, VmState& state) {
  const std::string& name = state.name;
  if (const std::string fault = why_bad_name(name); !fault.empty()) {
    throw Error({.status = ExitStatus::kUsage,
                 .operation = "start VM",
                 .object = name,
                 .cause = fault,
                 .mend = {}});
  }
  // A supervisor that ends removes its folder without our lock: then the folder that was opened
  // here is no longer the one at the path, and the next round finds the name free.
  while (true) {
    const bool is_new = ::mkdirat(folder_.get(), name.c_str(), 0700) == 0;
    if (!is_new && errno != EEXIST) {
      throw system_error("make the folder", path_ + "/" + name, errno);
    }
    std::optional<VmFolder> folder = open_folder(name);
    if (!folder) {
      struct stat status {};
      if (::fstatat(folder_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
      throw Error({.operation = "use the folder",
                   .object = path_ + "/" + name,
                   .cause = "it is a symlink or not a folder",
                   .mend = {}});
    }
    Fd lock;
    try {
      lock = try_lock(folder->folder_.get(), folder->path_of(kVmLockName));
    } catch (const Error&) {
      if (is_new) folder->remove_if_possible();
      throw;
    }
    if (!is_same_file(folder->folder_.get(), folder->path())) continue;
    if (!lock) throw busy(examine(*folder));

    // The lock is this process's own, so that examine() sees a supervisor; QEMU alone counts here.
    std::optional<VmState> old;
    try {
      old = folder->read_state();
    } catch (const Error&) {
      // A new folder, or one that nothing can be learned from.
    }
    state.boot_id = read_boot_id();
    if (old && old->boot_id == state.boot_id && is_alive(old->qemu)) {
      VmEntry orphan;
      orphan.name = name;
      orphan.condition = VmCondition::kOrphaned;
      orphan.state = std::move(old);
      orphan.qemu_alive = true;
      throw busy(orphan);
    }
    const std::optional<ProcessIdentity> self = identify_process(::getpid());
    if (self) state.supervisor = *self;
    folder->lock_ = std::move(lock);
    // The old QEMU's; a new state must not be read with it.
    ::unlinkat(folder->folder_.get(), kQemuRecordName, 0);
    try {
      folder->write_state(state);
    } catch (const Error&) {
      if (is_new) folder->remove_if_possible();
      throw;
    }
    for (const char* left_over :
         {kQemuLogName, "qemu.log.1", kVmrigLogName, "vmrig.log.1", kQmpSocketName,
          kConsoleSocketName, "monitor.sock", "launch.json"}) {
      ::unlinkat(folder->folder_.get(), left_over, 0);
    }
    return std::move(*folder);
  }
}

std::optional<VmFolder> StateRoot::adopt(const Lock&, const std::string& name, VmState& state) {
  std::optional<VmFolder> folder = open_folder(name);
  if (!folder) return std::nullopt;
  Fd lock = try_lock(folder->folder_.get(), folder->path_of(kVmLockName));
  if (!lock || !is_same_file(folder->folder_.get(), folder->path())) return std::nullopt;
  state = folder->read_state();
  if (state.boot_id != read_boot_id() || !is_alive(state.qemu)) return std::nullopt;
  if (const std::optional<ProcessIdentity> self = identify_process(::getpid())) {
    state.supervisor = *self;
  }
  folder->lock_ = std::move(lock);
  folder->write_state(state);
  return folder;
}

StateRoot::Cleaned StateRoot::clean(const Lock&, const std::set<std::string>& undone) {
  Cleaned cleaned;
  for (const std::string& name : list_folder(path_)) {
    try {
      if (name.starts_with(kGonePrefix)) {
        Fd fd(open_folder_at(folder_.get(), name));
        // Its supervisor may be deleting it just now.
        if (fd && !is_locked(fd.get())) {
          VmFolder(name, path_ + "/" + name, path_, std::move(fd), ::geteuid()).remove();
        }
        continue;
      }
      std::optional<VmFolder> folder = open_folder(name);
      if (!folder || examine(*folder).condition != VmCondition::kStale) continue;
      if (undone.count(name) == 0 && owes_the_host(folder->path_of(kJournalName))) continue;
      folder->remove();
      cleaned.removed.push_back(name);
    } catch (const Error& error) {
      // It is no reason to leave the others.
      cleaned.not_removed.emplace(name, error.what());
    }
  }
  return cleaned;
}

}  // namespace vmrig
