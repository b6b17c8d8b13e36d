// The folder in which all VMs of one user stand, and the folder of one VM.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/fd.hpp"
#include "launcher/leases.hpp"
#include "launcher/vm_state.hpp"
#include "qmp/deadline.hpp"

namespace vmrig {

inline constexpr const char* kQmpSocketName = "qmp.sock";
inline constexpr const char* kConsoleSocketName = "console.sock";
inline constexpr const char* kQemuLogName = "qemu.log";
inline constexpr const char* kVmrigLogName = "vmrig.log";
// A log that grows beyond this is cut: the last half of that is kept as NAME.1.
inline constexpr std::size_t kMaxLogBytes = std::size_t{1} << 20;
inline constexpr std::string_view kOldLogSuffix = ".1";
inline constexpr const char* kQemuRecordName = "qemu.stat";

// /run/vmrig for root, $XDG_RUNTIME_DIR/vmrig otherwise. Throws vmrig::Error (kUsage) with the mend
// when `xdg_runtime_dir` is empty or no absolute path.
std::string default_state_folder(uid_t uid, const std::string& xdg_runtime_dir);

// What a VM is, seen from outside.
enum class VmCondition {
  kStarting,
  kRunning,
  kPaused,
  kStopping,
  kRestarting,  // QEMU has ended, and its supervisor is about to start it anew
  kCrashed,     // ended badly; kept for `list` and `logs`, replaced by the next start of that name
  kOrphaned,    // QEMU lives, its supervisor does not
  kStale,       // both are gone without a word; removed by the next start of any VM
};
std::string_view condition_name(VmCondition condition);

struct VmEntry {
  std::string name;
  std::string path;  // of its folder
  VmCondition condition = VmCondition::kStale;
  std::optional<VmState> state;  // none when it could not be read; `problem` says why
  std::string problem;
  bool supervisor_alive = false;
  bool qemu_alive = false;
  bool living() const { return supervisor_alive || qemu_alive; }
};

// What the living ones of these VMs hold now (claim_now). Throws vmrig::Error when a living one's
// state could not be read.
std::vector<Lease> leases_of(const std::vector<VmEntry>& vms);

// The uids of dead VMs that stand in something of the host's still, as leases that hold nothing
// else: another VM of that uid would have it, and lose it when it is undone.
std::vector<Lease> owed_uids(const std::vector<VmEntry>& vms);

// NAME/ below the state folder, opened. Move-only. With the lock held (claim), it is the
// supervisor's: nobody else may start that name as long as the object lives.
class VmFolder {
 public:
  const std::string& name() const { return name_; }
  const std::string& path() const { return path_; }
  const std::string& root_path() const { return root_path_; }
  std::string path_of(std::string_view file) const { return path_ + "/" + std::string(file); }
  bool is_claimed() const { return static_cast<bool>(lock_); }
  uid_t owner() const { return owner_; }

  // A listening socket of that name, mode 0600, close-on-exec, non-blocking; an old one is
  // replaced. Works for paths of any length. Throws vmrig::Error.
  Fd listen(const std::string& name, int backlog) const;
  // A connected socket, close-on-exec, non-blocking. Throws qmp::Error: closed, timeout.
  Fd connect(const std::string& name, qmp::Deadline deadline) const;
  // Opens a log for append (made with mode 0600), no symlink followed. Throws vmrig::Error.
  Fd open_log(const char* name) const;
  // What a log holds from `offset` on, at most its last `limit` bytes; empty when there is none.
  std::string read_log(const char* name, std::uint64_t offset, std::size_t limit) const;

  // Empties a log that is longer than kMaxLogBytes, its end moved to NAME.1. What a process writes
  // there at this very moment may be lost. False when that can't be done (no space left).
  bool cut_log(const char* name) const;
  // What a file holds, at most `limit` bytes. Throws vmrig::Error.
  std::string read_text(const char* name, std::size_t limit) const;
  // Writes a file of that name, 0600; readers see the old or the new one. Throws vmrig::Error.
  void write_text(const char* name, std::string_view text) const;
  // Removes a file of that name, if it is there.
  void remove_file(const std::string& name) const;

  // For QEMU's own record of its process, written before it is QEMU (SpawnRequest::record): until
  // the state names it, a supervisor may die. Throws vmrig::Error.
  Fd open_qemu_record() const;

  // With the QEMU of that record where the state does not name it yet. Throws vmrig::Error.
  VmState read_state() const;
  void write_state(const VmState& state) const;  // atomically, 0600
  // Gives the name free while the folder stays: the VM has ended.
  void release() { lock_.reset(); }
  // Deletes the folder with all that it holds; open fds stay usable. Throws vmrig::Error.
  void remove();
  // The same where there is an error to tell already.
  void remove_if_possible();

 private:
  friend class StateRoot;
  VmFolder(std::string name, std::string path, std::string root_path, Fd folder, uid_t owner);
  std::string socket_path(const std::string& name) const;

  std::string name_;
  std::string path_;
  std::string root_path_;
  Fd folder_;
  uid_t owner_ = 0;
  Fd lock_;
};

class StateRoot {
 public:
  // Held around facts, plan and claim, so that two starts don't choose the same CPUs.
  class Lock {
   private:
    friend class StateRoot;
    explicit Lock(Fd fd) : fd_(std::move(fd)) {}
    Fd fd_;
  };

  // Makes the folder (0700) unless it is there. Throws vmrig::Error when it is a symlink, another
  // user's, or open to others.
  static StateRoot open(const std::string& path);
  // nullopt when there is no such folder; for commands that only read. Throws vmrig::Error when it
  // belongs to another user, unless root asks.
  static std::optional<StateRoot> open_existing(const std::string& path);
  // The same for who acts on what stands there: root does not do what another user's files say.
  static std::optional<StateRoot> open_own(const std::string& path);

  const std::string& path() const { return path_; }

  // Blocks until no other process holds it.
  Lock lock() const;

  std::vector<VmEntry> list() const;  // by name
  std::vector<VmEntry> list_but(std::string_view left_out) const;
  std::optional<VmEntry> find(const std::string& name) const;
  // The folder without claiming it. Throws vmrig::Error (kNoSuchVm), naming the VMs there are.
  VmFolder folder(const std::string& name) const;
  // What VMs hold whose QEMU or supervisor lives.
  std::vector<Lease> leases() const;

  // Makes NAME/ for `state.name`, takes its lock and writes `state`, with this process as its
  // supervisor and this boot's id filled in. Replaces what a dead VM of that name left. Throws
  // vmrig::Error: kBusy naming the pid and the mend when that VM lives.
  VmFolder claim(const Lock& lock, VmState& state);

  // Takes the folder of a VM that is kOrphaned, with this process as its supervisor, and writes its
  // state; `state` is what it says. nullopt when the VM is not orphaned (any more). Throws
  // vmrig::Error when its state can't be read.
  std::optional<VmFolder> adopt(const Lock& lock, const std::string& name, VmState& state);

  struct Cleaned {
    std::vector<std::string> removed;                // names
    std::map<std::string, std::string> not_removed;  // names, and why
  };
  // Removes the folders of VMs that are kStale. One whose journal has something to undo on the host
  // stays, unless that is known to be `undone`: see recover_dead_vms.
  Cleaned clean(const Lock& lock, const std::set<std::string>& undone = {});

 private:
  StateRoot(std::string path, Fd folder) : path_(std::move(path)), folder_(std::move(folder)) {}
  std::optional<VmFolder> open_folder(const std::string& name) const;
  VmEntry examine(const VmFolder& folder) const;

  std::string path_;
  Fd folder_;
};

}  // namespace vmrig
