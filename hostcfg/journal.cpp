#include "hostcfg/journal.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/checkpoint.hpp"
#include "hostcfg/files.hpp"
#include "hostcfg/journal_record.hpp"

namespace vmrig {
namespace {

constexpr const char* kOperation = "write the journal";
constexpr std::size_t kMaxBytes = std::size_t{16} << 20;

void sync_parent(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const Fd folder(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder || ::fsync(folder.get()) < 0) throw system_error(kOperation, path, errno);
}

Fd open_journal(const std::string& path) {
  Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY,
                 0600));
  if (!file) throw system_error(kOperation, path, errno);
  struct stat status {};
  if (::fstat(file.get(), &status) < 0) throw system_error(kOperation, path, errno);
  if (!S_ISREG(status.st_mode)) {
    throw Error({.status = ExitStatus::kFailed,
                 .operation = kOperation,
                 .object = path,
                 .cause = "it is not a regular file",
                 .mend = {}});
  }
  return file;
}

}  // namespace

std::optional<JournalContent> read_journal(const std::string& path) {
  const std::optional<std::string> text = read_own_file_if_exists(path, kMaxBytes);
  if (!text) return std::nullopt;
  return parse_journal(*text);
}

Journal::Journal(const std::string& path, const JournalOwner& owner)
    : path_(path), file_(open_journal(path)) {
  content_ = read_journal(path).value_or(JournalContent{});
  // Of another boot, most is undone already. Of an unknown one, nobody knows: it is kept.
  const std::vector<const JournalEntry*> still_open = content_.open_in(owner.boot_id);
  const bool goes_on = !still_open.empty();
  const std::size_t keep = goes_on ? content_.good_bytes : 0;
  std::vector<int> undone_by_reboot;
  for (const JournalEntry* entry : content_.open()) {
    const bool is_open =
        std::find(still_open.begin(), still_open.end(), entry) != still_open.end();
    if (goes_on && !is_open) undone_by_reboot.push_back(entry->id);
  }
  if (!goes_on) content_ = {};
  if (::ftruncate(file_.get(), static_cast<off_t>(keep)) < 0) {
    throw system_error(kOperation, path, errno);
  }
  // Before this boot's id stands there, which would make them its own.
  for (const int id : undone_by_reboot) undone(id);
  content_.owner = owner;
  append({{"record", "begin"},
          {"format", kJournalFormat},
          {"boot_id", owner.boot_id},
          {"pid", owner.pid},
          {"start_time", owner.start_time}},
         Keep::kForThisBoot);  // the first record that has to last takes it along
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
  checkpoint("before journal");
  const std::string line = journal_line(record);
  std::size_t written = 0;
  while (written < line.size()) {
    const ssize_t put = ::write(file_.get(), line.data() + written, line.size() - written);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw system_error(kOperation, path_, errno);
    written += static_cast<std::size_t>(put);
  }
  if (keep == Keep::kOnDisk) {
    if (::fdatasync(file_.get()) < 0) throw system_error(kOperation, path_, errno);
    if (!std::exchange(is_named_on_disk_, true)) sync_parent(path_);
  }
  content_.good_bytes += line.size();
  checkpoint("after journal");
}

int Journal::intent(const HostAction& action, const OldState& old) {
  int id = 1;
  for (const JournalEntry& entry : content_.entries) id = std::max(id, entry.id + 1);
  append({{"record", "intent"}, {"id", id}, {"action", to_json(action)}, {"old", to_json(old)}},
         keep_of(action, old));
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
