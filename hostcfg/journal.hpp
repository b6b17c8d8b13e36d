// The journal of host actions in a VM's folder: what is about to be changed and what stood there
// before is on disk before the change, so that whoever comes after a dead supervisor can undo it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/fd.hpp"
#include "hostcfg/host_action.hpp"

namespace vmrig {

inline constexpr const char* kJournalName = "journal";

// Who wrote it.
struct JournalOwner {
  std::string boot_id;
  pid_t pid = -1;
  std::uint64_t start_time = 0;  // clock ticks since boot; field 22 of /proc/PID/stat
  bool operator==(const JournalOwner&) const = default;
};

struct JournalEntry {
  enum class Stage {
    kIntent,  // may have happened, in part or whole
    kDone,
    kUndone,
  };
  int id = 0;  // from 1, in order of the actions
  HostAction action;
  OldState old;
  Stage stage = Stage::kIntent;
};

// What a journal says. One JSON object a line, each with a checksum ("sum", CRC-32 of the line
// without it).
struct JournalContent {
  std::optional<JournalOwner> owner;
  std::vector<JournalEntry> entries;  // by id
  // Lines that can't be used, in words. A torn last line is none: its writer died in the middle of
  // it, and what it announces had not begun.
  std::vector<std::string> problems;
  std::size_t good_bytes = 0;  // the text up to the end of its last whole line

  std::vector<const JournalEntry*> open() const;  // those that are not undone
  // Of these, those that are still to be undone in the boot of that id: what changes the kernel
  // alone is gone with another one.
  std::vector<const JournalEntry*> open_in(const std::string& boot_id) const;
};

JournalContent parse_journal(std::string_view text);

// nullopt when there is no such file. Throws vmrig::Error when it can't be read, is larger than any
// journal, or is another user's: what it says is done to the host.
std::optional<JournalContent> read_journal(const std::string& path);

// Appends to a journal. Every call returns when the record is on disk; one about what ends with the
// kernel, as a node's ACL in /dev does, when the kernel has it. Throws vmrig::Error; the journal,
// and content(), are then as before the call.
class Journal {
 public:
  // Where the disk is full, or can't be written any more. kGoOn is for undoing, which is better
  // done without a word about it than not at all: what throws is then the records alone.
  enum class Unwritable { kRefuse, kGoOn };

  // Begins a journal (mode 0600) or goes on with one of the same boot that has something open;
  // a torn tail is cut off first. A symlink is refused.
  Journal(const std::string& path, const JournalOwner& owner,
          Unwritable unwritable = Unwritable::kRefuse);

  const JournalContent& content() const { return content_; }

  int intent(const HostAction& action, const OldState& old);  // returns its id
  void done(int id);
  void undone(int id);
  // Before an undo that must not be done twice: the action is an intent again, `old` what the undo
  // will leave there.
  void undoing(int id, const OldState& old);

 private:
  enum class Keep { kForThisBoot, kOnDisk };
  static Keep keep_of(const HostAction& action, const OldState& old);
  Keep keep_of(int id) const;
  void append(const Json& record, Keep keep);
  void begin(const JournalOwner& owner);
  void write(const std::string& line, Keep keep);
  void keep_room(std::size_t bytes);
  void drop_tail();

  std::string path_;
  JournalContent content_;
  std::optional<Error> unwritable_;  // for good
  Fd file_;
  bool is_named_on_disk_ = false;
  std::size_t room_ = 0;  // bytes of the file that the disk has promised
};

}  // namespace vmrig
