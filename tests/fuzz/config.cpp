// libFuzzer entry point: any bytes as a config. It is refused with words, or what was understood
// survives the way through JSON.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "hostcfg/base/error.hpp"
#include "launcher/config/load_config.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vmrig::ConfigSource source;
  source.text.assign(reinterpret_cast<const char*>(data), size);
  source.file = "fuzz.json";
  source.folder = "/fuzz";
  source.environment = {{"NAME", "value"}, {"EMPTY", ""}, {"QUOTE", "\"}, {\""}};
  try {
    const vmrig::VmConfig config = vmrig::load_config(source);
    const vmrig::Json json = vmrig::to_json(config);
    if (vmrig::to_json(vmrig::config_from_json(json)) != json) std::abort();
  } catch (const vmrig::DiagnosticsError& error) {
    if (error.diagnostics().empty()) std::abort();
    for (const vmrig::Diagnostic& each : error.diagnostics()) {
      if (vmrig::format_diagnostic(each).empty()) std::abort();
    }
  }
  return 0;
}
