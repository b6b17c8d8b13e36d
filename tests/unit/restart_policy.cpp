// Whether a VM is started anew, and when; how it ended, by what was seen of it.
#include <doctest/doctest.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "launcher/qemu_witness.hpp"
#include "launcher/restart_policy.hpp"

using namespace vmrig;
using std::chrono::seconds;

namespace {

VmOutcome end_by(VmOutcome::Kind kind) { return {.kind = kind, .reason = "so"}; }

qmp::Event event(const char* name, Json data = Json::object()) {
  qmp::Event made;
  made.name = name;
  made.data = std::move(data);
  return made;
}

VmOutcome judged(const QemuWitness& witness, ExitReport report = {}) {
  EndWitness testimony = witness.testimony();
  testimony.report = report;
  return judge_end(testimony);
}

constexpr VmOutcome::Kind kAllKinds[] = {VmOutcome::Kind::kPoweredOff, VmOutcome::Kind::kReset,
                                         VmOutcome::Kind::kStopped,    VmOutcome::Kind::kCrashed,
                                         VmOutcome::Kind::kPanicked,   VmOutcome::Kind::kKilled};

}  // namespace

TEST_CASE("only what the config names is followed by a start") {
  using Kind = VmOutcome::Kind;
  PowerConfig power;
  CHECK_FALSE(may_restart(power));
  for (const Kind kind : kAllKinds) CHECK_FALSE(RestartPolicy(power).wants(end_by(kind)));
  power.on_poweroff = OnEnd::kRestart;
  CHECK(may_restart(power));
  for (const Kind kind : kAllKinds) {
    CHECK(RestartPolicy(power).wants(end_by(kind)) == (kind == Kind::kPoweredOff));
  }
  power.on_poweroff = OnEnd::kPreserve;
  power.on_crash = OnEnd::kRestart;
  for (const Kind kind : kAllKinds) {
    const bool is_crash = kind == Kind::kCrashed || kind == Kind::kPanicked;
    CHECK(RestartPolicy(power).wants(end_by(kind)) == is_crash);
  }
}

TEST_CASE("pauses double up to a minute, and end at the bound") {
  PowerConfig power;
  power.on_crash = OnEnd::kRestart;
  RestartPolicy policy(power);
  const VmOutcome crash = end_by(VmOutcome::Kind::kCrashed);
  for (const int pause : {1, 2, 4, 8, 16, 32, 60, 60, 60, 60}) {
    CHECK(policy.next(crash, seconds(5)) == seconds(pause));
  }
  CHECK(policy.in_a_row() == 10);
  CHECK_FALSE(policy.next(crash, seconds(59)).has_value());
}

TEST_CASE("a VM that has lasted begins to count anew") {
  PowerConfig power;
  power.on_crash = OnEnd::kRestart;
  power.max_restarts = 2;
  RestartPolicy policy(power);
  const VmOutcome crash = end_by(VmOutcome::Kind::kPanicked);
  CHECK(policy.next(crash, seconds(1)) == seconds(1));
  CHECK(policy.next(crash, seconds(1)) == seconds(2));
  CHECK(policy.next(crash, seconds(60)) == seconds(1));
  CHECK(policy.next(crash, seconds(1)) == seconds(2));
  CHECK_FALSE(policy.next(crash, seconds(1)).has_value());
}

TEST_CASE("a very high bound overflows nothing") {
  PowerConfig power;
  power.on_crash = OnEnd::kRestart;
  power.max_restarts = 1'000'000;
  RestartPolicy policy(power);
  std::optional<seconds> pause;
  for (int i = 0; i < 200; ++i) pause = policy.next(end_by(VmOutcome::Kind::kCrashed), seconds(0));
  CHECK(pause == seconds(60));
}

TEST_CASE("the guest's own end, a reset that ends the VM and a quit are told apart") {
  using Kind = VmOutcome::Kind;
  const auto by_shutdown = [](const char* reason) {
    QemuWitness witness;
    witness.note(event("SHUTDOWN", {{"guest", true}, {"reason", reason}}));
    return judged(witness);
  };
  CHECK(by_shutdown("guest-shutdown").kind == Kind::kPoweredOff);
  CHECK(by_shutdown("guest-reset").kind == Kind::kReset);
  CHECK(by_shutdown("host-qmp-system-reset").kind == Kind::kReset);
  CHECK(by_shutdown("host-qmp-quit").kind == Kind::kStopped);
  CHECK(by_shutdown("host-signal").kind == Kind::kStopped);
  CHECK(by_shutdown("guest-panic").kind == Kind::kPanicked);
  CHECK(by_shutdown("something-new").status() == ExitStatus::kDone);
  CHECK(judged(QemuWitness(), {.signal_number = SIGSEGV}).kind == Kind::kCrashed);
  CHECK(judged(QemuWitness(), {.status = 1}).kind == Kind::kCrashed);
}

TEST_CASE("a watchdog that ends the VM is a crash, though QEMU ends with status 0") {
  QemuWitness witness;
  witness.note(event("WATCHDOG", {{"action", "poweroff"}}));
  const VmOutcome outcome = judged(witness);
  CHECK(outcome.kind == VmOutcome::Kind::kCrashed);
  CHECK(outcome.status() == ExitStatus::kFailed);
  CHECK(outcome.reason == "the guest hung, and its watchdog expired");

  QemuWitness reset;  // with on_reboot: destroy
  reset.note(event("WATCHDOG", {{"action", "reset"}}));
  reset.note(event("SHUTDOWN", {{"guest", true}, {"reason", "guest-reset"}}));
  CHECK(judged(reset).kind == VmOutcome::Kind::kCrashed);
}

TEST_CASE("what was before a reset has no part in the end") {
  QemuWitness witness;
  witness.note(event("GUEST_PANICKED", {{"action", "pause"}}));
  witness.note(event("WATCHDOG", {{"action", "reset"}}));
  witness.note(event("RESET", {{"guest", true}, {"reason", "guest-reset"}}));
  witness.note(event("SHUTDOWN", {{"guest", true}, {"reason", "guest-shutdown"}}));
  CHECK(judged(witness).kind == VmOutcome::Kind::kPoweredOff);

  QemuWitness other;  // a watchdog that let the guest power off
  other.note(event("WATCHDOG", {{"action", "shutdown"}}));
  other.note(event("SHUTDOWN", {{"guest", true}, {"reason", "guest-shutdown"}}));
  CHECK(judged(other).kind == VmOutcome::Kind::kPoweredOff);
}

TEST_CASE("events of any shape are taken") {
  QemuWitness witness;
  witness.note(event("WATCHDOG", Json::object()));
  witness.note(event("SHUTDOWN", Json::object()));
  witness.note(event("GUEST_PANICKED", Json::object()));
  CHECK(judged(witness).kind == VmOutcome::Kind::kPanicked);
}
