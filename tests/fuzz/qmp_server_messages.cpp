// libFuzzer entry point: what a client may send to the Server, up to what goes on to QEMU. Every
// request that passes has to be one valid JSON object again, so that nothing can be smuggled in.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "qmp/error.hpp"
#include "qmp/framing.hpp"
#include "qmp/server_request.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto oob =
      (data[0] & 1U) != 0 ? qmp::detail::OobState::enabled : qmp::detail::OobState::disabled;
  qmp::Framer framer({qmp::kMaxRequestBytes, qmp::kMaxNesting});
  framer.append(std::string_view(reinterpret_cast<const char*>(data) + 1, size - 1));
  while (true) {
    try {
      const auto message = framer.next();
      if (!message) return 0;
      const auto request = qmp::detail::parse_request(*message, oob);
      const std::string reply =
          request.fault.empty()
              ? qmp::detail::return_line("{}", request.id)
              : qmp::detail::error_line(qmp::detail::error_body("GenericError", request.fault),
                                        request.id);
      qmp::Framer check;
      check.append(reply);
      const auto line = check.next();
      if (!line || qmp::Json::parse(*line, nullptr, false).is_discarded()) std::abort();
      if (!request.fault.empty()) continue;
      const std::string upstream = request.upstream().dump();
      check.append(upstream);
      const auto whole = check.next();
      if (!whole || *whole != upstream || check.next()) std::abort();
    } catch (const qmp::Error& error) {
      if (error.kind() == qmp::ErrorKind::too_large) return 0;
      framer.resync();
    }
  }
}
