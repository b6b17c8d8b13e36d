#pragma once

#include <chrono>

namespace qmp {

/// A point on CLOCK_MONOTONIC (std::chrono::steady_clock) up to which an operation may take.
/// A deadline, unlike a timeout, can be handed down through several steps unchanged.
using Deadline = std::chrono::steady_clock::time_point;

/// Wait for as long as it takes; no timer is started for it.
inline constexpr Deadline kNoDeadline = Deadline::max();

/// The deadline that lies `span` from now.
inline Deadline deadline_in(std::chrono::steady_clock::duration span) {
  return std::chrono::steady_clock::now() + span;
}

}  // namespace qmp
