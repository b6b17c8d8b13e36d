// What the shells' completions are told.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "launcher/cli/completion.hpp"
#include "launcher/cli/config_keys.hpp"
#include "launcher/commands/commands.hpp"
#include "launcher/config/load_config.hpp"

using namespace vmrig;

namespace {

using Words = std::vector<std::string>;

// A host with two VMs; the first has a disk.
std::vector<Candidate> found(WordKind kind, const TypedWords& typed, std::string_view begun) {
  if (kind == WordKind::kVm) return {{"web", "running"}, {"worker", "paused"}};
  const bool is_web = !typed.positionals.empty() && typed.positionals[0] == "web";
  if (kind == WordKind::kDeviceId && is_web) return {{"disk0", "disk"}, {"net0", "nic"}};
  if (kind == WordKind::kFolder) return {};
  if (kind == WordKind::kConfigKey) return config_keys(config_schema(), begun);
  if (kind == WordKind::kSetting) return {{"vcpus=", "vCPUs"}, {typed.state_dir, "state folder"}};
  return {};
}

Completions complete(const Words& words) { return complete_words(words, all_commands(), found); }

Words words_at(const Words& words) {
  Words all;
  for (const Candidate& candidate : complete(words).words) all.push_back(candidate.word);
  return all;
}

bool has(const Words& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::string text_at(const Words& words) { return to_text(complete(words)); }

}  // namespace

TEST_CASE("every word of every command has a meaning that completion knows") {
  for (const Command& command : all_commands()) {
    for (const CommandWord& word : words_of(command)) {
      INFO(command.name, " ", word.names[0]);
      CHECK_FALSE(word.doc.empty());
      if (word.form == CommandWord::Form::kFlag) continue;
      const bool is_option = word.form == CommandWord::Form::kOption;
      CHECK(word_kind(is_option ? word.value : word.names[0]) != WordKind::kUnknown);
    }
  }
}

TEST_CASE("commands complete by their first word, those of two words once, then the second") {
  const Words all = words_at({""});
  for (const Command& command : all_commands()) {
    const std::string first(command.name.substr(0, command.name.find(' ')));
    CHECK_MESSAGE(std::count(all.begin(), all.end(), first) == 1, first);
  }
  CHECK(has(all, "help"));
  CHECK_FALSE(has(all, "complete"));
  CHECK(words_at({"sta"}) == Words{"start", "status"});
  CHECK(words_at({"vfio", ""}) == Words{"list", "bind", "release"});
  CHECK(words_at({"vfio", "b"}) == Words{"bind"});
  CHECK(words_at({"help", "recov"}) == Words{"recover"});
  CHECK(words_at({"help", "stop", ""}).empty());
  CHECK(words_at({"nonsense", ""}).empty());
  CHECK(words_at({"--st"}) == Words{"--state-dir"});
  CHECK(words_at({}).size() == all.size());
}

TEST_CASE("options complete with their meaning, and none twice but those that repeat") {
  const Words all = words_at({"stop", "web", "--"});
  CHECK(has(all, "--force"));
  CHECK(has(all, "--help"));
  CHECK(has(all, "--state-dir"));
  CHECK_FALSE(has(words_at({"stop", "--force", "web", "--"}), "--force"));
  CHECK(has(words_at({"plan", "--set", "a=1", "--"}), "--set"));
  CHECK(text_at({"stop", "--fo"}) == "--force\tDon't ask the guest: end QEMU now\n");
  CHECK(words_at({"capture", "web", "net0", "--wr"}) == Words{"--write"});
  CHECK(words_at({"stop", "--", "--"}).empty());
  CHECK(has(words_at({"list", ""}), "--json"));
}

TEST_CASE("names of VMs and ids of devices come from the host, by the VM that was typed") {
  CHECK(words_at({"stop", "w"}) == Words{"web", "worker"});
  CHECK(words_at({"stop", "--timeout", "3", "wo"}) == Words{"worker"});
  CHECK(words_at({"stop", "--timeout=3", "--", "we"}) == Words{"web"});
  CHECK(words_at({"stop", "--timeout", ""}).empty());
  CHECK(words_at({"stop", "web", "w"}).empty());
  CHECK(words_at({"detach", "web", ""}) == Words{"disk0", "net0"});
  CHECK(words_at({"detach", "worker", ""}).empty());
  CHECK(words_at({"detach", "--json", "web", "d"}) == Words{"disk0"});
}

TEST_CASE("--state-dir is where it stands, and its value leads to folders") {
  CHECK(words_at({"--state-dir", "/x", "set", "web", ""}) == Words{"vcpus=", "/x"});
  CHECK(words_at({"--state-dir=/x", "set", "web", "v"}) == Words{"vcpus="});
  CHECK(words_at({"set", "--state-dir", "/y", "web", "/"}) == Words{"/y"});
  CHECK(words_at({"set", "--state-dir=/y", "web", "a", "/"}) == Words{"/y"});
  CHECK(text_at({"--state-dir", "/r"}) == ":folders \n");
  CHECK(text_at({"--state-dir=/r"}) == ":folders --state-dir=\n");
  CHECK(text_at({"list", "--state-dir=/r"}) == ":folders --state-dir=\n");
}

TEST_CASE("files are the shell's to complete, behind what stands before them") {
  CHECK(text_at({"plan", ""}) == ":files \n");
  CHECK(text_at({"plan", "a.json", "--facts", "f"}) == ":files \n");
  CHECK(text_at({"plan", "a.json", "--facts=f"}) == ":files --facts=\n");
  CHECK(text_at({"attach", "web", "disk", "@d"}) == ":files @\n");
  CHECK(words_at({"attach", "web", "disk", ""}) == Words{"@", "-"});
}

TEST_CASE("--set goes through the schema, a step at a time, to the values that a choice has") {
  CHECK(has(words_at({"run", "a.json", "--set", ""}), "cpu."));
  CHECK(has(words_at({"run", "a.json", "--set", ""}), "name="));
  CHECK(words_at({"run", "a.json", "--set", "cpu.vc"}) == Words{"cpu.vcpus="});
  CHECK(words_at({"run", "a.json", "--set=cpu.vc"}) == Words{"--set=cpu.vcpus="});
  CHECK(words_at({"run", "a.json", "--set", "profile="}) == Words{"profile=plain", "profile=nfv"});
  CHECK(has(words_at({"run", "a.json", "--set", "memory.prealloc="}), "memory.prealloc=true"));
  CHECK(words_at({"run", "a.json", "--set", "disks.disk0.pa"}) == Words{"disks.disk0.path="});
  CHECK(words_at({"run", "a.json", "--set", "cpu.nonsense."}).empty());
  CHECK(words_at({"run", "a.json", "--set", "name.x.y=z"}).empty());
}

TEST_CASE("keys that are not built yet are not offered") {
  std::vector<Candidate> keys = config_keys(config_schema(), "");
  std::set<std::string> names;
  for (const Candidate& key : keys) names.insert(key.word);
  const Json properties = config_schema().at("properties");
  for (const auto& [name, member] : properties.items()) {
    const bool is_built = !member.at("description").get<std::string>().starts_with("Not built");
    CHECK_MESSAGE((names.contains(name + ".") || names.contains(name + "=")) == is_built, name);
  }
}

TEST_CASE("what could drive a terminal or break a line is escaped") {
  const FindWords hostile = [](WordKind, const TypedWords&, std::string_view) {
    return std::vector<Candidate>{{"a\nb\tc\x1b[2J", "d\ne"}};
  };
  const std::string text = to_text(complete_words({"stop", ""}, all_commands(), hostile));
  CHECK(std::count(text.begin(), text.end(), '\n') == 1);
  CHECK(std::count(text.begin(), text.end(), '\t') == 1);
  CHECK(text.find('\x1b') == std::string::npos);
}
