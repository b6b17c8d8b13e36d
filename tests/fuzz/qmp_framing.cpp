// libFuzzer entry point: a byte stream in arbitrary chunks through Framer and open_envelope().
// The first byte chooses the size of the chunks.

#include "qmp/framing.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "qmp/error.hpp"
#include "qmp/json.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t chunk = std::size_t{data[0]} + 1;
  qmp::FramingLimits limits;
  limits.max_message_bytes = 4096;
  limits.max_nesting = 64;
  qmp::Framer framer(limits);
  std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  while (!rest.empty()) {
    const auto part = rest.substr(0, std::min(chunk, rest.size()));
    rest.remove_prefix(part.size());
    framer.append(part);
    while (true) {
      try {
        const auto message = framer.next();
        if (!message) break;
        if (message->size() > limits.max_message_bytes || !qmp::is_utf8(*message)) std::abort();
        const qmp::Envelope envelope = qmp::open_envelope(*message);
        const auto value = qmp::Json::parse(envelope.returned, nullptr, /*allow_exceptions=*/false);
        if (envelope.returned.empty() && !value.is_discarded()) std::abort();
      } catch (const qmp::Error& error) {
        if (error.kind() == qmp::ErrorKind::too_large) return 0;
        framer.resync();
      }
    }
  }
  return 0;
}
