#include "launcher/metrics/ask_qemu.hpp"

#include <fmt/format.h>
#include <chrono>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "devices/balloon.hpp"
#include "hostcfg/base/error.hpp"
#include "launcher/hotplug/hotplug.hpp"
#include "launcher/plan.hpp"
#include "qmp/error.hpp"
#include "qmp/sync_client.hpp"

namespace vmrig {
namespace {

struct Question {
  qmp::Request request;
  Json QemuReading::*answer;
};

Json kvm_only(const char* target, KvmStats kvm) {
  Json provider = {{"provider", "kvm"}};
  if (kvm == KvmStats::kExitsOnly) provider["names"] = {"exits"};
  return {{"target", target}, {"providers", Json::array({std::move(provider)})}};
}

bool has_balloon(const VmState& state) {
  return state.config.is_object() && state.config.value("balloon", Json(false)) == true;
}

std::vector<Question> questions_for(const VmState& state, const QemuQuestions& wanted) {
  std::vector<Question> questions;
  const auto ask = [&questions](Json QemuReading::*answer, const char* command,
                                Json arguments = Json::object()) {
    questions.push_back({{command, std::move(arguments)}, answer});
  };
  if (wanted.devices) {
    ask(&QemuReading::block, "query-blockstats");
    ask(&QemuReading::memory, "query-memory-size-summary");
  }
  if (wanted.devices && has_balloon(state)) {
    ask(&QemuReading::balloon, "query-balloon");
    ask(&QemuReading::balloon_stats, "qom-get",
        {{"path", fmt::format("{}/{}", kPeripherals, kBalloonId)}, {"property", "guest-stats"}});
  }
  if (state.accel != "kvm" || wanted.kvm == KvmStats::kSkip) return questions;
  ask(&QemuReading::cpus, "query-cpus-fast");
  ask(&QemuReading::vcpu_stats, "query-stats", kvm_only("vcpu", wanted.kvm));
  if (wanted.kvm == KvmStats::kExitsOnly) return questions;
  ask(&QemuReading::vm_stats, "query-stats", kvm_only("vm", wanted.kvm));
  ask(&QemuReading::stats_schemas, "query-stats-schemas", {{"provider", "kvm"}});
  return questions;
}

QemuReading converse(qmp::SyncClient& client, const VmState& state, const QemuQuestions& wanted,
                     qmp::Deadline deadline) {
  QemuReading reading;
  const auto begin = std::chrono::steady_clock::now();
  client.execute("query-status", Json::object(), {.deadline = deadline, .oob = false, .fds = {}});
  reading.round_trip = std::chrono::steady_clock::now() - begin;
  std::vector<Question> questions = questions_for(state, wanted);
  if (questions.empty()) return reading;
  std::vector<qmp::Request> requests;
  for (Question& question : questions) requests.push_back(std::move(question.request));
  std::vector<qmp::Outcome> outcomes = client.execute_all(std::move(requests), deadline);
  reading.at = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < questions.size(); ++i) {
    if (outcomes.at(i).ok()) reading.*questions[i].answer = std::move(outcomes[i].value);
  }
  return reading;
}

}  // namespace

std::optional<QemuReading> ask_qemu(const VmFolder& folder, const VmEntry& entry,
                                    const QemuQuestions& questions, qmp::Deadline deadline) {
  if (!entry.state || !entry.qemu_alive) return std::nullopt;
  const char* socket_name = entry.supervisor_alive ? kQmpSocketName : kMonitorSocketName;
  try {
    Fd socket = folder.connect(socket_name, deadline);
    qmp::SyncClient client(socket.release());
    client.handshake(deadline);
    return converse(client, *entry.state, questions, deadline);
  } catch (const qmp::Error&) {
    return std::nullopt;
  }
}

}  // namespace vmrig
