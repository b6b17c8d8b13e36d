#include "hostcfg/journal.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/retry.hpp"
#include "hostcfg/checkpoint.hpp"
#include "hostcfg/files.hpp"
#include "hostcfg/journal_record.hpp"

namespace vmrig {
namespace {

constexpr const char* kOperation = "write the journal";
constexpr std::size_t kMaxBytes = std::size_t{16} << 20;

// What an action's end, its undoing and a few recoveries write about it, at most.
constexpr std::size_t kRoomForTheEnd = 2048;
constexpr std::size_t kRoomAhead = 16384;  // got at once, for the next actions, too

void sync_parent(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const Fd folder(
      retrying([&parent] { return ::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
  if (!folder || retrying([&folder] { return ::fsync(folder.get()); }) < 0) {
    throw system_error(kOperation, path, errno);
  }
}

Fd open_journal(const std::string& path) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY;
  return Fd(retrying([&path] { return ::open(path.c_str(), kFlags, 0600); }));
}

std::size_t size_of(const Fd& file, const std::string& path) {
  struct stat status {};
  if (::fstat(file.get(), &status) < 0) throw system_error(kOperation, path, errno);
  if (S_ISREG(status.st_mode)) return static_cast<std::size_t>(status.st_size);
  throw Error({.status = ExitStatus::kFailed,
               .operation = kOperation,
               .object = path,
               .cause = "it is not a regular file",
               .mend = {}});
}

int truncate_to(const Fd& file, std::size_t size) {
  return retrying([&] { return ::ftruncate(file.get(), static_cast<off_t>(size)); });
}

}  // namespace

std::optional<JournalContent> read_journal(const std::string& path) {
  const std::optional<std::string> text = read_own_file_if_exists(path, kMaxBytes);
  if (!text) return std::nullopt;
  return parse_journal(*text);
}

Journal::Journal(const std::string& path, const JournalOwner& owner, Unwritable unwritable)
    : path_(path), file_(open_journal(path)) {
  if (!file_) {
    const int number = errno;
    unwritable_ = system_error(kOperation, path, number);
    // Nobody but us writes here: a symlink was planted.
    if (unwritable == Unwritable::kRefuse || number == ELOOP) throw *unwritable_;
  }
  content_ = read_journal(path).value_or(JournalContent{});
  if (!file_) return;
  const std::size_t size = size_of(file_, path);
  // Of another boot, most is undone already. Of an unknown one, nobody knows: it is kept.
  const std::vector<const JournalEntry*> still_open = content_.open_in(owner.boot_id);
  const bool goes_on = !still_open.empty();
  std::vector<int> undone_by_reboot;
  for (const JournalEntry* entry : content_.open()) {
    const bool is_open = std::find(still_open.begin(), still_open.end(), entry) != still_open.end();
    if (goes_on && !is_open) undone_by_reboot.push_back(entry->id);
  }
  if (!goes_on) content_ = {};
  try {
    // To cut nothing off would give back the room that was kept (ext4).
    if (size != content_.good_bytes && truncate_to(file_, content_.good_bytes) < 0) {
      throw system_error(kOperation, path, errno);
    }
    // Before this boot's id stands there, which would make them its own.
    for (const int id : undone_by_reboot) undone(id);
    begin(owner);
  } catch (const Error& error) {
    if (unwritable == Unwritable::kRefuse || !goes_on) throw;
    unwritable_ = error;
    for (JournalEntry& entry : content_.entries) {
      const auto& undone = undone_by_reboot;
      const bool is_undone = std::find(undone.begin(), undone.end(), entry.id) != undone.end();
      if (is_undone) entry.stage = JournalEntry::Stage::kUndone;
    }
  }
}

void Journal::begin(const JournalOwner& owner) {
  append({{"record", "begin"},
          {"format", kJournalFormat},
          {"boot_id", owner.boot_id},
          {"pid", owner.pid},
          {"start_time", owner.start_time}},
         Keep::kForThisBoot);  // the first record that has to last takes it along
  content_.owner = owner;
}

Journal::Keep Journal::keep_of(const HostAction& action, const OldState& old) {
  const bool ends_with_kernel = std::holds_alternative<GrantAccess>(action) &&
                                !old.access.path.empty() && !old.access.survives_reboot;
  return ends_with_kernel ? Keep::kForThisBoot : Keep::kOnDisk;
}

Journal::Keep Journal::keep_of(int id) const {
  const auto entry = std::find_if(content_.entries.begin(), content_.entries.end(),
                                  [id](const JournalEntry& one) { return one.id == id; });
  return entry == content_.entries.end() ? Keep::kOnDisk : keep_of(entry->action, entry->old);
}

void Journal::append(const Json& record, Keep keep) {
  if (unwritable_) throw *unwritable_;
  checkpoint("before journal");
  const std::string line = journal_line(record);
  try {
    write(line, keep);
  } catch (const Error&) {
    drop_tail();
    throw;
  }
  content_.good_bytes += line.size();
  checkpoint("after journal");
}

void Journal::write(const std::string& line, Keep keep) {
  std::size_t written = 0;
  while (written < line.size()) {
    const ssize_t put = retrying(
        [&] { return ::write(file_.get(), line.data() + written, line.size() - written); });
    if (put < 0) throw system_error(kOperation, path_, errno);
    written += static_cast<std::size_t>(put);
  }
  if (keep == Keep::kForThisBoot) return;
  if (retrying([this] { return ::fdatasync(file_.get()); }) < 0) {
    throw system_error(kOperation, path_, errno);
  }
  if (!std::exchange(is_named_on_disk_, true)) sync_parent(path_);
}

// So that on a disk that gets full what was begun can be ended and undone, with every word of it
// written. A file system that can't promise has to be believed.
void Journal::keep_room(std::size_t bytes) {
  const std::size_t end =
      content_.good_bytes + bytes + kRoomForTheEnd * (content_.open().size() + 1);
  if (end <= room_) return;
  const int done = retrying([&] {
    return ::fallocate(file_.get(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(end + kRoomAhead));
  });
  if (done == 0) {
    room_ = end + kRoomAhead;
  } else if (errno != EOPNOTSUPP && errno != ENOSYS) {
    throw system_error(kOperation, path_, errno);
  }
}

// The next record would be glued to half a line, and lost with it.
void Journal::drop_tail() {
  room_ = 0;  // which is given back, too
  if (truncate_to(file_, content_.good_bytes) == 0) return;
  unwritable_ = system_error("cut off half a record of the journal", path_, errno);
}

int Journal::intent(const HostAction& action, const OldState& old) {
  int id = 1;
  for (const JournalEntry& entry : content_.entries) id = std::max(id, entry.id + 1);
  const Json record = {
      {"record", "intent"}, {"id", id}, {"action", to_json(action)}, {"old", to_json(old)}};
  if (!unwritable_) keep_room(journal_line(record).size());
  append(record, keep_of(action, old));
  content_.entries.push_back(
      {.id = id, .action = action, .old = old, .stage = JournalEntry::Stage::kIntent});
  return id;
}

void Journal::done(int id) {
  append({{"record", "done"}, {"id", id}}, keep_of(id));
  for (JournalEntry& entry : content_.entries) {
    if (entry.id == id) entry.stage = JournalEntry::Stage::kDone;
  }
}

void Journal::undoing(int id, const OldState& old) {
  append({{"record", "undoing"}, {"id", id}, {"old", to_json(old)}}, keep_of(id));
  for (JournalEntry& entry : content_.entries) {
    if (entry.id != id) continue;
    entry.stage = JournalEntry::Stage::kIntent;
    entry.old = old;
  }
}

void Journal::undone(int id) {
  append({{"record", "undone"}, {"id", id}}, keep_of(id));
  for (JournalEntry& entry : content_.entries) {
    if (entry.id == id) entry.stage = JournalEntry::Stage::kUndone;
  }
}

}  // namespace vmrig
