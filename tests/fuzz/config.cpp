// libFuzzer entry point: any bytes as a config, with --set laid over it: the lines behind one that
// says "%%". It is refused with words, or what was understood survives the way through JSON, and
// its plan holds what every plan holds (plan_checks.hpp).

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "hostcfg/base/error.hpp"
#include "launcher/config/load_config.hpp"
#include "launcher/text.hpp"
#include "tests/fuzz/check.hpp"
#include "tests/fuzz/plan_checks.hpp"

namespace {

using namespace vmrig;

ConfigSource source_of(std::string_view input) {
  constexpr std::string_view kSettings = "\n%%\n";
  ConfigSource source;
  source.file = "fuzz.json";
  source.folder = "/fuzz";
  source.environment = {{"NAME", "value"},         {"EMPTY", ""},
                        {"QUOTE", "\"}, {\""},     {"COMMA", "a,b=c,,d"},
                        {"BYTES", "\xff\xfe\x80"}, {"ESCAPE", "\x1b]0;x\x07\x1b[2J"}};
  const std::size_t at = input.find(kSettings);
  source.text = input.substr(0, at);
  if (at == std::string_view::npos) return source;
  input.remove_prefix(at + kSettings.size());
  while (!input.empty()) {
    const std::size_t end = input.find('\n');
    source.settings.emplace_back(input.substr(0, end));
    input.remove_prefix(end == std::string_view::npos ? input.size() : end + 1);
  }
  return source;
}

void check_config(const ConfigSource& source, std::size_t choice) {
  const VmConfig config = load_config(source);
  const Json json = to_json(config);
  fuzz::check(to_json(config_from_json(json)) == json, "a config is the same after JSON");
  const auto& hosts = fuzz::recorded_hosts();
  const auto& qemus = fuzz::recorded_qemus();
  const HostFacts& host = hosts[choice % hosts.size()];
  const qmp::QemuCaps& qemu = qemus[choice / hosts.size() % qemus.size()];
  fuzz::check_plan(config, host, qemu);
  fuzz::check_attaching(config, host, qemu);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  try {
    check_config(source_of(input), size);
  } catch (const DiagnosticsError& error) {
    fuzz::check(!error.diagnostics().empty(), "a refusal has a reason");
    for (const Diagnostic& each : error.diagnostics()) {
      fuzz::check(!each.message.empty(), "a fault has words");
      fuzz::check_printable(printable_lines(format_diagnostic(each)));
    }
  }
  return 0;
}
