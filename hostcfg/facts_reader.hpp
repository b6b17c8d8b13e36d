// Strict access to the keys of one JSON object: recorded facts, and host actions in a journal.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/bytes.hpp"
#include "hostcfg/base/cpu_set.hpp"
#include "hostcfg/base/json.hpp"
#include "hostcfg/base/pci_address.hpp"

namespace vmrig {

// Every getter throws vmrig::Error with the key's full path ("cpus[3].core") when the key is
// absent, of another type or out of range; nothing is ever converted. The JSON has to outlive it.
class FactsReader {
 public:
  static constexpr const char* kFacts = "recorded host facts";

  // `subject` says in messages what the object belongs to.
  explicit FactsReader(const Json& json, std::string path = {}, std::string subject = kFacts);

  bool has(const char* key) const;
  bool boolean(const char* key);
  int integer(const char* key, int lowest, int highest);
  std::uint64_t count(const char* key, std::uint64_t highest);
  std::string string(const char* key);
  std::vector<std::string> strings(const char* key);
  std::vector<std::uint64_t> counts(const char* key, std::uint64_t highest);
  Bytes bytes(const char* key);
  std::optional<Bytes> bytes_or_unlimited(const char* key);  // none is unlimited
  CpuSet cpus(const char* key);
  PciAddress pci_address(const char* key);
  std::uint32_t hexadecimal(const char* key, std::size_t digits);  // exactly so many, at most 8
  std::map<int, int> distances(const char* key, int highest_node);
  FactsReader object(const char* key);
  std::vector<FactsReader> array(const char* key);  // of objects

  [[noreturn]] void refuse(std::string_view key, std::string cause) const;
  void finish() const;  // refuses keys that nobody asked for

 private:
  const Json& get(const char* key);
  std::string path_of(std::string_view key) const;

  [[noreturn]] void refuse_at(std::string path, std::string cause) const;

  const Json* json_;
  std::string path_;
  std::string subject_;
  std::set<std::string, std::less<>> used_;
};

}  // namespace vmrig
