// libFuzzer entry point: any bytes as the journal of a dead supervisor, and the recovery by it on a
// host that is as far as that journal says. Nothing in it makes the recovery fail, touch what the
// journal does not name, or find something to do a second time.
//
// Behind a first line "raw" the rest is taken as it is; else each line gets the checksum that it
// ought to have, without which hardly any would be looked at.

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "hostcfg/base/error.hpp"
#include "hostcfg/host_lease.hpp"
#include "hostcfg/journal.hpp"
#include "hostcfg/journal_record.hpp"
#include "hostcfg/text_fields.hpp"
#include "launcher/text.hpp"
#include "tests/fuzz/check.hpp"
#include "tests/fuzz/journal_host.hpp"

namespace {

using namespace vmrig;

const JournalOwner kOwner{"boot-1", 4242, 99};

// In memory: a disk would take most of an input's time.
class JournalFile {
 public:
  JournalFile() {
    std::string name = "/dev/shm/vmrig-fuzz-XXXXXX";
    fuzz::check(::mkdtemp(name.data()) != nullptr, "there is room in /dev/shm");
    folder_ = name;
  }
  JournalFile(const JournalFile&) = delete;
  JournalFile& operator=(const JournalFile&) = delete;
  ~JournalFile() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  std::string path() const { return folder_ + "/journal"; }
  void write(std::string_view text) const {
    std::ofstream(path(), std::ios::binary | std::ios::trunc) << text;
  }

 private:
  std::string folder_;
};

std::string with_checksums(std::string_view input) {
  std::string text;
  while (!input.empty()) {
    const bool is_whole = input.find('\n') != std::string_view::npos;
    const std::string_view line = take_line(input);
    Json record = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (record.is_object() && is_whole) {
      record.erase("sum");
      text += journal_line(std::move(record));
    } else {
      text += line;
      if (is_whole) text += '\n';
    }
  }
  return text;
}

void check_content(const JournalContent& content) {
  for (const std::string& problem : content.problems) {
    fuzz::check_printable(printable(problem));
  }
  for (const JournalEntry& entry : content.entries) {
    fuzz::check(host_action_from_json(to_json(entry.action)) == entry.action,
                "an action is the same after JSON", to_json(entry.action).dump());
    fuzz::check(old_state_from_json(to_json(entry.old)) == entry.old,
                "an old state is the same after JSON", to_json(entry.old).dump());
  }
}

void check_report(const UndoReport& report) {
  for (const UndoLine& line : report.lines) {
    fuzz::check(!line.text.empty(), "what was undone is told");
    fuzz::check_printable(printable(line.text));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const JournalFile file;
  std::string_view input(reinterpret_cast<const char*>(data), size);
  constexpr std::string_view kRaw = "raw\n";
  const bool is_raw = input.starts_with(kRaw);
  if (is_raw) input.remove_prefix(kRaw.size());
  const std::string text = is_raw ? std::string(input) : with_checksums(input);
  const JournalContent content = parse_journal(text);
  fuzz::check(content.good_bytes <= text.size(), "a journal is used up to its end at most");
  check_content(content);
  if (content.open().empty()) return 0;

  fuzz::JournalHost host;
  host.net().create_bridge({.name = "bystander", .address = {}, .mtu = {}}, "somebody's");
  std::size_t choice = size;
  for (const JournalEntry& entry : content.entries) {
    using Came = fuzz::JournalHost::Came;
    const bool is_done = entry.stage == JournalEntry::Stage::kDone;
    host.happen(entry, is_done           ? Came::kToTheEnd
                       : choice % 3 == 0 ? Came::kToTheEnd
                       : choice % 3 == 1 ? Came::kToTheMiddle
                                         : Came::kNotAtAll);
    choice = choice / 3 + 1;
  }
  UndoRules rules;
  if (choice % 4 == 0) rules.others_share = [](const HostAction&) { return true; };
  if (choice % 4 == 1) rules.others_use_vfs_of = [](const PciAddress&) { return true; };

  file.write(text);
  const std::size_t left_by_restart = content.open_in(kOwner.boot_id).size();
  const std::string before = host.shown();
  const UndoReport report = recover_journal(host, file.path(), kOwner, rules);
  check_report(report);
  const std::string after = host.shown();
  fuzz::check(report.lines.size() == left_by_restart,
              "each open action that a restart has not undone is accounted for");
  if (left_by_restart == 0) {
    fuzz::check(after == before, "a restart has undone everything else");
    return 0;
  }
  if (text.find("bystander") == std::string::npos) {
    fuzz::check(host.net().link("bystander").has_value(), "what the journal does not name stays");
  }
  const UndoReport again = recover_journal(host, file.path(), kOwner, rules);
  check_report(again);
  if (!report.complete()) return 0;
  fuzz::check(again.lines.empty() && host.shown() == after,
              "a second recovery finds nothing to do");
  return 0;
}
