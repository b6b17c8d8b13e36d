#include "hostcfg/facts_reader.hpp"

#include <fmt/format.h>

#include <charconv>
#include <stdexcept>
#include <utility>

#include "hostcfg/base/error.hpp"

namespace vmrig {
namespace {

// For messages; a hostile file may hold a text of any size or no UTF-8.
std::string shown(const Json& json) {
  std::string text = json.is_structured()
                         ? std::string("a ") + json.type_name()
                         : json.dump(-1, ' ', true, Json::error_handler_t::replace);
  constexpr std::size_t kLongest = 40;
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "…";
  return text;
}

// Compares before it converts: a getter of the JSON library would wrap -1, 2^32 and cut 3.9.
std::optional<std::int64_t> whole_number(const Json& json, std::int64_t lowest,
                                         std::int64_t highest) {
  if (json.is_number_unsigned()) {
    const auto value = json.get<std::uint64_t>();
    if (value > static_cast<std::uint64_t>(highest)) return std::nullopt;
    const auto small = static_cast<std::int64_t>(value);
    return small < lowest ? std::nullopt : std::optional(small);
  }
  if (!json.is_number_integer()) return std::nullopt;
  const auto value = json.get<std::int64_t>();
  return value < lowest || value > highest ? std::nullopt : std::optional(value);
}

}  // namespace

void FactsReader::refuse_at(std::string path, std::string cause) const {
  throw Error({.status = ExitStatus::kUsage,
               .operation = "read " + subject_ + ": key",
               .object = std::move(path),
               .cause = std::move(cause),
               .mend = subject_ == kFacts ? "record them again with: vmrig host facts" : ""});
}

FactsReader::FactsReader(const Json& json, std::string path, std::string subject)
    : json_(&json), path_(std::move(path)), subject_(std::move(subject)) {
  if (!json.is_object()) {
    refuse_at(path_.empty() ? "." : path_, fmt::format("{} is not an object", shown(json)));
  }
}

std::string FactsReader::path_of(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

void FactsReader::refuse(std::string_view key, std::string cause) const {
  refuse_at(path_of(key), std::move(cause));
}

bool FactsReader::has(const char* key) const { return json_->contains(key); }

const Json& FactsReader::get(const char* key) {
  const auto found = json_->find(key);
  if (found == json_->end()) refuse(key, "it is missing");
  used_.insert(key);
  return *found;
}

bool FactsReader::boolean(const char* key) {
  const Json& json = get(key);
  if (!json.is_boolean()) refuse(key, fmt::format("{} is not true or false", shown(json)));
  return json.get<bool>();
}

int FactsReader::integer(const char* key, int lowest, int highest) {
  const Json& json = get(key);
  const std::optional<std::int64_t> number = whole_number(json, lowest, highest);
  if (!number) {
    refuse(key,
           fmt::format("{} is not a whole number from {} to {}", shown(json), lowest, highest));
  }
  return static_cast<int>(*number);
}

std::uint64_t FactsReader::count(const char* key, std::uint64_t highest) {
  const Json& json = get(key);
  const std::optional<std::int64_t> number =
      whole_number(json, 0, static_cast<std::int64_t>(highest));
  if (!number) {
    refuse(key, fmt::format("{} is not a whole number from 0 to {}", shown(json), highest));
  }
  return static_cast<std::uint64_t>(*number);
}

std::string FactsReader::string(const char* key) {
  const Json& json = get(key);
  if (!json.is_string()) refuse(key, fmt::format("{} is not a text", shown(json)));
  const auto& text = json.get_ref<const std::string&>();
  if (text.find('\0') != std::string::npos) refuse(key, "the text has a NUL in it");
  return text;
}

std::vector<std::string> FactsReader::strings(const char* key) {
  const Json& json = get(key);
  if (!json.is_array()) refuse(key, fmt::format("{} is not a list", shown(json)));
  std::vector<std::string> texts;
  for (const Json& element : json) {
    if (!element.is_string()) {
      refuse(fmt::format("{}[{}]", key, texts.size()),
             fmt::format("{} is not a text", shown(element)));
    }
    texts.push_back(element.get<std::string>());
  }
  return texts;
}

std::vector<std::uint64_t> FactsReader::counts(const char* key, std::uint64_t highest) {
  const Json& json = get(key);
  if (!json.is_array()) refuse(key, fmt::format("{} is not a list", shown(json)));
  std::vector<std::uint64_t> counts;
  for (const Json& element : json) {
    const auto number = whole_number(element, 0, static_cast<std::int64_t>(highest));
    if (!number) {
      refuse(fmt::format("{}[{}]", key, counts.size()),
             fmt::format("{} is not a whole number from 0 to {}", shown(element), highest));
    }
    counts.push_back(static_cast<std::uint64_t>(*number));
  }
  return counts;
}

Bytes FactsReader::bytes(const char* key) {
  const std::string text = string(key);
  try {
    return parse_bytes(text);
  } catch (const std::invalid_argument& fault) {
    refuse(key, fault.what());
  }
}

std::optional<Bytes> FactsReader::bytes_or_unlimited(const char* key) {
  if (string(key) == "unlimited") return std::nullopt;
  return bytes(key);
}

CpuSet FactsReader::cpus(const char* key) {
  const std::string text = string(key);
  try {
    return CpuSet::parse(text);
  } catch (const std::invalid_argument& fault) {
    refuse(key, fault.what());
  }
}

PciAddress FactsReader::pci_address(const char* key) {
  const std::string text = string(key);
  try {
    return PciAddress::parse(text);
  } catch (const std::invalid_argument& fault) {
    refuse(key, fault.what());
  }
}

std::uint32_t FactsReader::hexadecimal(const char* key, std::size_t digits) {
  const std::string text = string(key);
  std::uint32_t value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value, 16);
  if (text.size() != digits || error != std::errc{} || rest != end) {
    refuse(key, fmt::format("{} is not {} hexadecimal digits", quote(text), digits));
  }
  return value;
}

std::map<int, int> FactsReader::distances(const char* key, int highest_node) {
  FactsReader reader = object(key);
  std::map<int, int> distances;
  for (const auto& [name, value] : reader.json_->items()) {
    int node = -1;
    const char* end = name.data() + name.size();
    const auto [rest, error] = std::from_chars(name.data(), end, node);
    // "007" and "7" are one node under two keys, so only the plain writing counts.
    if (error != std::errc{} || rest != end || node < 0 || node > highest_node ||
        std::to_string(node) != name) {
      reader.refuse(name, "the key is not a node's number");
    }
    distances[node] = reader.integer(name.c_str(), 0, 255);  // ACPI SLIT: one byte
  }
  return distances;
}

FactsReader FactsReader::object(const char* key) {
  const Json& json = get(key);
  return FactsReader(json, path_of(key), subject_);
}

std::vector<FactsReader> FactsReader::array(const char* key) {
  const Json& json = get(key);
  if (!json.is_array()) refuse(key, fmt::format("{} is not a list", shown(json)));
  std::vector<FactsReader> readers;
  readers.reserve(json.size());
  for (const Json& element : json) {
    readers.emplace_back(element, fmt::format("{}[{}]", path_of(key), readers.size()), subject_);
  }
  return readers;
}

void FactsReader::finish() const {
  for (const auto& [name, value] : json_->items()) {
    if (used_.find(name) == used_.end()) refuse(name, "it is not a key of " + subject_);
  }
}

}  // namespace vmrig
