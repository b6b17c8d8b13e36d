#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "qmp/json.hpp"

namespace qmp {

/// An asynchronous event of QMP (qemu docs/interop/qmp-spec).
struct Event {
  std::string name;            ///< SHUTDOWN, DEVICE_DELETED, …
  Json data = Json::object();  ///< Empty object when the event carries none.
  std::int64_t seconds = 0;    ///< Host's real time; -1 when QEMU could not tell.
  std::int64_t microseconds = 0;

  /// The event as it stands on the wire.
  Json to_json() const;
};

/// Tells whether an event is the one waited for.
using EventMatch = std::function<bool(const Event&)>;

/// Matches by name alone.
EventMatch event_named(std::string name);

}  // namespace qmp
