// What a journal's text says.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/facts_reader.hpp"
#include "hostcfg/journal.hpp"
#include "hostcfg/journal_record.hpp"

namespace vmrig {
namespace {

constexpr const char* kSubject = "the journal";
constexpr int kMaxId = 1'000'000;
constexpr int kMaxPid = 1 << 22;  // linux PID_MAX_LIMIT
constexpr std::uint64_t kMaxTicks = std::uint64_t{1} << 62;

// CRC-32 as Ethernet and zlib have it, bit by bit: a journal has a few dozen lines.
std::uint32_t crc32(std::string_view bytes) {
  constexpr std::uint32_t kPolynomial = 0xedb88320;
  std::uint32_t crc = 0xffffffff;
  for (const char byte : bytes) {
    crc ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    }
  }
  return ~crc;
}

std::string sum_of(const Json& record) {
  return fmt::format("{:08x}", crc32(record.dump(-1, ' ', true, Json::error_handler_t::replace)));
}

JournalOwner read_owner(FactsReader& reader) {
  const int format = reader.integer("format", 0, kMaxId);
  if (format != kJournalFormat) {
    reader.refuse("format",
                  fmt::format("it is {}; this program reads format {}", format, kJournalFormat));
  }
  JournalOwner owner;
  owner.boot_id = reader.string("boot_id");
  owner.pid = reader.integer("pid", 0, kMaxPid);
  owner.start_time = reader.count("start_time", kMaxTicks);
  return owner;
}

JournalEntry* find_entry(JournalContent& content, int id) {
  for (JournalEntry& entry : content.entries) {
    if (entry.id == id) return &entry;
  }
  return nullptr;
}

void read_record(const Json& json, JournalContent& content) {
  FactsReader reader(json, {}, kSubject);
  const std::string kind = reader.string("record");
  if (kind == "begin") {
    content.owner = read_owner(reader);
    reader.finish();
    return;
  }
  const int id = reader.integer("id", 1, kMaxId);
  JournalEntry* entry = find_entry(content, id);
  if (kind == "intent") {
    if (entry != nullptr) reader.refuse("id", "two actions have it");
    content.entries.push_back({.id = id,
                               .action = host_action_from_json(json.value("action", Json())),
                               .old = old_state_from_json(json.value("old", Json())),
                               .stage = JournalEntry::Stage::kIntent});
    return;
  }
  if (kind == "undoing" && entry != nullptr) {
    entry->stage = JournalEntry::Stage::kIntent;
    entry->old = old_state_from_json(json.value("old", Json()));
    return;
  }
  reader.finish();
  if (entry == nullptr) reader.refuse("id", "the action is not in the journal");
  if (kind == "done") {
    entry->stage = JournalEntry::Stage::kDone;
  } else if (kind == "undone") {
    entry->stage = JournalEntry::Stage::kUndone;
  } else {
    reader.refuse("record", quote(kind) + " is none of begin, intent, done, undone");
  }
}

// Why the line is refused; empty when it was taken.
std::string take_record(std::string_view line, JournalContent& content) {
  Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return "it is no JSON object";
  const auto sum = json.find("sum");
  if (sum == json.end() || !sum->is_string()) return "it has no checksum";
  const std::string told = sum->get<std::string>();
  json.erase(sum);
  if (sum_of(json) != told) return "its checksum is wrong";
  try {
    read_record(json, content);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

}  // namespace

std::string journal_line(Json record) {
  record["sum"] = sum_of(record);
  return record.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
}

JournalContent parse_journal(std::string_view text) {
  JournalContent content;
  int number = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    ++number;
    const std::size_t end = text.find('\n', at);
    if (end == std::string_view::npos) break;  // torn
    const std::string fault = take_record(text.substr(at, end - at), content);
    at = end + 1;
    content.good_bytes = at;
    if (!fault.empty()) {
      content.problems.push_back(
          fmt::format("line {} of the journal is not used: {}", number, fault));
    }
  }
  if (!content.owner && !content.entries.empty()) {
    content.problems.emplace_back("the journal does not say whose it is");
  }
  return content;
}

std::vector<const JournalEntry*> JournalContent::open() const {
  std::vector<const JournalEntry*> entries_open;
  for (const JournalEntry& entry : entries) {
    if (entry.stage != JournalEntry::Stage::kUndone) entries_open.push_back(&entry);
  }
  return entries_open;
}

std::vector<const JournalEntry*> JournalContent::open_in(const std::string& boot_id) const {
  std::vector<const JournalEntry*> entries_open = open();
  if (owner && owner->boot_id != boot_id) {
    std::erase_if(entries_open,
                  [](const JournalEntry* entry) { return !entry->old.access.survives_reboot; });
  }
  return entries_open;
}

}  // namespace vmrig
