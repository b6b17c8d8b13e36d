// What QEMU's events have told of its run, for the judgement at its end.
#pragma once

#include <string>

#include "hostcfg/base/json.hpp"
#include "launcher/vm_outcome.hpp"
#include "qmp/event.hpp"

namespace vmrig {

class QemuWitness {
 public:
  void note(const qmp::Event& event);

  bool has_shut_down() const { return has_shut_down_; }
  // Of the last SHUTDOWN event; QEMU's own words for an unknown end before there was one.
  const Json& shutdown_data() const { return shutdown_data_; }
  bool has_panicked() const { return has_panicked_; }
  // A guest that was found panicked by one who did not hear its events.
  void note_panic() { has_panicked_ = true; }
  // All but how the process ended, and what vmrig itself did for it.
  EndWitness testimony() const;

 private:
  Json shutdown_data_ = Json{{"guest", false}, {"reason", "host-error"}};
  bool has_shut_down_ = false;
  bool has_panicked_ = false;
  bool has_hung_ = false;
};

// Whether the event belongs into the VM's log.
bool is_of_note(const qmp::Event& event);

}  // namespace vmrig
