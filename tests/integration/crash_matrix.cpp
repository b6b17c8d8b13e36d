// SIGKILL at each step of a VM's life, to its supervisor, its QEMU or both; then recover. A sample
// of the steps, or with VMRIG_FULL=1 all of them.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/full_life.hpp"
#include "tests/support/full_run.hpp"
#include "tests/support/network_sandbox.hpp"
#include "tests/support/skip.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

constexpr const char* kVictims[] = {"supervisor", "both", "qemu"};

std::vector<std::string> lines_of(const std::string& path) {
  std::vector<std::string> lines;
  const std::string text = read_text(path);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

struct Strike {
  int at = 0;  // 0: nobody dies
  std::string victim;
};

class Matrix {
 public:
  Matrix() : before_(life_.host()) {}

  std::optional<std::string> lack() const { return life_.lack(); }

  // Lives with a death; the steps that the supervisor came to. Checks nothing.
  std::vector<std::string> live(const Strike& strike) {
    const std::string log = life_.guard().folder() / "points";
    write_text(log, "");
    const std::map<std::string, std::string> environment = {
        {"VMRIG_CRASH_AT", std::to_string(strike.at)},
        {"VMRIG_CRASH_LOG", log},
        {"VMRIG_CRASH_KILL", strike.victim},
        {"VMRIG_CRASH_QEMU", life_.record()}};
    for (const FullLife::Step step : FullLife::kSteps) {
      const bool is_start = step == FullLife::Step::kStart;
      const CommandResult result =
          is_start ? life_.take(step, test_program("vmrig_crash"), environment) : life_.take(step);
      CHECK_MESSAGE(!result.timed_out, name_of(step));
      if (strike.at == 0) CHECK_MESSAGE(result.status == 0, name_of(step) << ": " << result.err);
      // Who goes on without a supervisor is for recover.
      if (has_died(log, strike)) break;
    }
    const std::vector<std::string> lived = lines_of(log);
    const auto born = std::find(lived.begin(), lived.end(), "after QEMU") - lived.begin();
    if (strike.victim == "qemu" && has_died(log, strike) && strike.at > born) {
      // Its supervisor puts the host back by itself.
      CHECK(eventually([this] { return life_.guard().processes().empty(); }));
    }
    return lived;
  }

  // A VM that runs, with a NIC more.
  void begin() {
    for (const FullLife::Step step : {FullLife::Step::kStart, FullLife::Step::kAttachNic}) {
      const CommandResult result = life_.take(step);
      REQUIRE_MESSAGE(result.status == 0, result.err);
    }
  }

  int steps_of_start() {
    const std::string log = life_.guard().folder() / "points";
    write_text(log, "");
    REQUIRE(
        life_.take(FullLife::Step::kStart, test_program("vmrig_crash"), {{"VMRIG_CRASH_LOG", log}})
            .status == 0);
    const int steps = static_cast<int>(lines_of(log).size());
    REQUIRE(life_.take(FullLife::Step::kStop).status == 0);
    return steps;
  }

  // kIsMortal: one that is to die may live yet, and die of the stop.
  enum class Supervisor { kIsWell, kIsMortal };
  void check_recovery(const std::string& what, Supervisor supervisor = Supervisor::kIsWell) {
    CAPTURE(what);
    recover();
    Json vms;
    std::string fault;
    // A supervisor that finds its QEMU dead ends the VM in a moment.
    const bool agrees = eventually([&] {
      vms = listed();
      // One that was to die has done so after this recover looked.
      const bool is_lost = state_of(vms) == "orphaned" || state_of(vms) == "stale";
      if (is_lost && supervisor == Supervisor::kIsMortal) {
        supervisor = Supervisor::kIsWell;
        recover();
        vms = listed();
      }
      if (state_of(vms) == "none" || state_of(vms) == "crashed") return true;
      fault = life_.disagreement();
      return fault.empty();
    });
    CHECK(state_of(vms) != "orphaned");
    CHECK_MESSAGE(agrees, fault);
    if (!vms.empty()) {
      const CommandResult stopped = life_.guard().vmrig({"stop", "k", "--force"});
      if (supervisor == Supervisor::kIsWell) CHECK_MESSAGE(stopped.status == 0, stopped.err);
      if (stopped.status != 0) {
        recover();
        // Whose supervisor died before it ended QEMU has another now.
        const std::string state = state_of(listed());
        if (state != "none" && state != "crashed") {
          const CommandResult again = life_.guard().vmrig({"stop", "k", "--force"});
          CHECK_MESSAGE(again.status == 0, again.err);
        }
      }
    }
    check_as_before(what);
  }

  void check_as_before(const std::string& what) {
    CAPTURE(what);
    CHECK(life_.guard().nothing_left());
    const std::string difference = life_.difference_to(before_);
    CHECK_MESSAGE(difference.empty(), difference);
    if (!difference.empty()) before_ = life_.host();  // told once
  }

  FullLife& life() { return life_; }

 private:
  void recover() {
    const CommandResult recovered = life_.guard().vmrig({"recover"});
    CHECK_MESSAGE(recovered.status == 0, recovered.out << recovered.err);
  }
  Json listed() const {
    const Json vms = life_.guard().vmrig_json({"list", "--json"});
    REQUIRE(vms.is_array());
    return vms;
  }
  static std::string state_of(const Json& vms) {
    return vms.empty() ? "none" : vms[0].at("state").get<std::string>();
  }
  static bool has_died(const std::string& log, const Strike& strike) {
    return strike.at > 0 && static_cast<int>(lines_of(log).size()) >= strike.at;
  }

  FullLife life_;
  std::string before_;
};

// What a recover finds.
enum class Left { kNothing, kVm, kVmInAttach };

const char* text_of(Left left) {
  if (left == Left::kNothing) return "QEMU is dead";
  return left == Left::kVm ? "QEMU lives" : "QEMU lives, and a NIC was on its way";
}

#define NEED_LIFE()                                              \
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64"); \
  if (const auto lack = no_network_sandbox()) SKIP_TEST(*lack)

}  // namespace

TEST_CASE("a death at any step of a VM's life leaves nothing that recover does not put back") {
  NEED_LIFE();
  std::optional<std::string> lack;
  in_network_sandbox([&lack] {
    Matrix matrix;
    lack = matrix.lack();
    if (lack) return;
    const std::vector<std::string> all = matrix.live({});
    matrix.check_as_before("a life without a death");
    REQUIRE(all.size() > 100);
    const int stride = is_full_run() ? 1 : 17;
    int deaths = 0;
    for (int at = is_full_run() ? 1 : 3; at <= static_cast<int>(all.size()); at += stride) {
      for (const char* victim : kVictims) {
        // A sample takes them in turn.
        if (!is_full_run() && kVictims[(at / stride) % 3] != std::string(victim)) continue;
        const std::vector<std::string> lived = matrix.live({at, victim});
        const std::string what =
            fmt::format("SIGKILL of {} at step {} of {}, {}", victim, at, all.size(),
                        lived.size() < static_cast<std::size_t>(at)
                            ? "never come to"
                            : lived.at(static_cast<std::size_t>(at) - 1));
        matrix.check_recovery(what);
        ++deaths;
      }
    }
    MESSAGE(deaths << " deaths; the life has " << all.size() << " steps");
  });
  if (lack) SKIP_TEST(*lack);
}

TEST_CASE("a death at any step of recover leaves nothing that the next one does not put back") {
  NEED_LIFE();
  std::optional<std::string> lack;
  in_network_sandbox([&lack] {
    Matrix matrix;
    lack = matrix.lack();
    if (lack) return;
    const std::string log = matrix.life().guard().folder() / "points";
    const int in_attach = matrix.steps_of_start() + 11;
    int deaths = 0;
    std::size_t steps = 0;
    for (const Left left : {Left::kNothing, Left::kVm, Left::kVmInAttach}) {
      const int stride = is_full_run() ? 1 : 9;
      for (int at = is_full_run() ? 1 : 2;; at += stride) {
        if (left == Left::kVmInAttach) {
          (void)matrix.live({in_attach, "supervisor"});
        } else {
          matrix.begin();
          ::kill(matrix.life().pid_of("supervisor"), SIGKILL);
          if (left == Left::kNothing) ::kill(matrix.life().pid_of("qemu"), SIGKILL);
        }
        write_text(log, "");
        CommandRequest request = matrix.life().guard().request({"recover"});
        request.argv.front() = test_program("vmrig_crash");
        request.environment["VMRIG_CRASH_AT"] = std::to_string(at);
        request.environment["VMRIG_CRASH_LOG"] = log;
        CHECK_FALSE(run_command(std::move(request)).timed_out);
        const std::size_t reached = lines_of(log).size();
        matrix.check_recovery(fmt::format("a death at step {} of recover, {}", at, text_of(left)),
                              Matrix::Supervisor::kIsMortal);
        if (reached < static_cast<std::size_t>(at)) {
          steps += reached;
          break;
        }
        ++deaths;
      }
    }
    MESSAGE(deaths << " deaths; the recoveries have " << steps << " steps");
  });
  if (lack) SKIP_TEST(*lack);
}
