#include "launcher/cli/command_words.hpp"

#include <array>
#include <utility>

namespace vmrig {
namespace {

constexpr std::array<std::pair<std::string_view, WordKind>, 23> kKinds = {{
    {"NAME", WordKind::kVm},
    {"CONFIG", WordKind::kFile},
    {"FILE", WordKind::kFile},
    {"QEMU", WordKind::kFile},
    {"DIR", WordKind::kFolder},
    {"ID", WordKind::kDeviceId},
    {"NIC", WordKind::kNicId},
    {"KIND", WordKind::kDeviceKind},
    {"DEVICE", WordKind::kDevice},
    {"KEY=VALUE", WordKind::kSetting},
    {"PATH=VALUE", WordKind::kConfigKey},
    {"COMMAND", WordKind::kQmpCommand},
    {"EVENT[,EVENT]", WordKind::kQmpEvents},
    {"BDF", WordKind::kPciDevice},
    {"PF", WordKind::kPf},
    {"ORDER", WordKind::kOrder},
    {"N", WordKind::kText},
    {"SECONDS", WordKind::kText},
    {"TEXT", WordKind::kText},
    {"TEXT|agent", WordKind::kText},
    {"JSON", WordKind::kText},
    {"FD", WordKind::kText},
    {"BYTES", WordKind::kText},
}};

std::vector<std::string> split_names(std::string_view names) {
  std::vector<std::string> all;
  for (;;) {
    const std::size_t comma = names.find(',');
    all.emplace_back(names.substr(0, comma));
    if (comma == std::string_view::npos) return all;
    names.remove_prefix(comma + 1);
  }
}

// Takes the description down. The values are the command's own, and stay as they are.
class WordList final : public CommandLine {
 public:
  using Form = CommandWord::Form;
  using Count = CommandWord::Count;

  void positional(std::string_view name, std::string_view doc, std::string& /*value*/) override {
    add({Form::kPositional, Count::kOne, {std::string(name)}, {}, std::string(doc)});
  }
  void positional(std::string_view name, std::string_view doc,
                  std::optional<std::string>& /*value*/) override {
    add({Form::kPositional, Count::kAtMostOne, {std::string(name)}, {}, std::string(doc)});
  }
  void positionals(std::string_view name, std::string_view doc,
                   std::vector<std::string>& /*values*/) override {
    add({Form::kPositional, Count::kSome, {std::string(name)}, {}, std::string(doc)});
  }
  void flag(std::string_view name, std::string_view doc, bool& /*value*/) override {
    add({Form::kFlag, Count::kAtMostOne, split_names(name), {}, std::string(doc)});
  }
  void option(std::string_view name, std::string_view value_name, std::string_view doc,
              std::optional<std::string>& /*value*/) override {
    add({Form::kOption, Count::kAtMostOne, split_names(name), std::string(value_name),
         std::string(doc)});
  }
  void seconds(std::string_view name, std::string_view doc,
               std::optional<double>& /*value*/) override {
    add({Form::kOption, Count::kAtMostOne, split_names(name), "SECONDS", std::string(doc)});
  }
  void repeated(std::string_view name, std::string_view value_name, std::string_view doc,
                std::vector<std::string>& /*values*/) override {
    add({Form::kOption, Count::kAny, split_names(name), std::string(value_name), std::string(doc)});
  }

  std::vector<CommandWord> take() { return std::move(words_); }

 private:
  void add(CommandWord word) { words_.push_back(std::move(word)); }

  std::vector<CommandWord> words_;
};

}  // namespace

WordKind word_kind(std::string_view name) {
  for (const auto& [known, kind] : kKinds) {
    if (known == name) return kind;
  }
  return WordKind::kUnknown;
}

std::vector<CommandWord> words_of(const Command& command) {
  WordList list;
  (void)command.define(list);
  return list.take();
}

}  // namespace vmrig
