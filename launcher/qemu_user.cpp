#include "launcher/qemu_user.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>

#include "launcher/plan.hpp"
#include "launcher/preflight.hpp"
#include "launcher/scheduling.hpp"

namespace vmrig {
namespace {

constexpr const char* kPath = "security.user";
// QEMU's own threads, its helpers' and io_uring's workers; and the I/O workers of each event loop
// (qemu include/block/thread-pool.h THREAD_POOL_MAX_THREADS_DEFAULT).
constexpr int kTasks = 1024;
constexpr int kTasksOfLoop = 64;

constexpr std::array<std::string_view, 3> kKindNames = {"caller", "own", "named"};

// FNV-1a: the same on every host and in every version.
std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : text) {
    hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  }
  return hash;
}

class Chooser {
 public:
  Chooser(const PlanInput& input, const ThreadPlacement& placement, HugepageSize hugepages,
          std::vector<Diagnostic>& findings)
      : input_(input),
        facts_(input.facts),
        config_(input.config),
        placement_(placement),
        hugepages_(hugepages),
        findings_(findings) {}

  QemuUser choose() {
    const std::string& wanted = config_.security.user;
    if (wanted != kAutoUser && wanted != kCallingUser) return named(wanted);
    if (wanted == kCallingUser || facts_.user_id != 0) return caller(Severity::kOk, {});
    if (const std::string lack = lacking_right(); !lack.empty()) {
      return caller(Severity::kWarning, lack);
    }
    if (candidates().count == 0) {
      mend_ =
          fmt::format("a user namespace with {} more ids from {} on", kSmallUids, kFirstSmallUid);
      return caller(Severity::kWarning, "this user namespace has no uid for it");
    }
    if (serves_switch()) {
      mend_ = R"("server": false, where the switch can listen)";
      return caller(Severity::kWarning, "it makes the socket of a vhost-user NIC itself");
    }
    return own();
  }

 private:
  // QEMU hands the guest's memory through no socket that it was given as an fd, and to let another
  // user make one in a folder is to let it replace all that is there.
  // Source: qemu chardev/char-socket.c, QEMU_CHAR_FEATURE_FD_PASS.
  bool serves_switch() const {
    return std::any_of(config_.nics.begin(), config_.nics.end(), [](const NicConfig& nic) {
      return nic.type == NicType::kVhostUser && nic.vhost_user.server;
    });
  }

  void add(Severity severity, std::string message, std::string mend = {},
           ExitStatus status = ExitStatus::kHost) {
    findings_.push_back(finding(severity, kPath, std::move(message), std::move(mend), status));
  }

  QemuUser done(QemuUser user) {
    user.is_confined = facts_.user_id == 0;
    return user;
  }

  QemuUser caller(Severity severity, const std::string& why) {
    QemuUser user;
    user.account = {.uid = facts_.user_id, .gid = facts_.user_id, .groups = {}};
    if (severity == Severity::kWarning) {
      add(severity,
          fmt::format("QEMU has no user of its own and stays root, without capabilities: "
                      "{}",
                      why),
          fmt::format("{}, or \"user\": \"caller\"", mend_));
    } else if (facts_.user_id == 0) {
      add(severity, "QEMU is root, without capabilities");
    } else {
      add(severity, fmt::format("QEMU is user {}, who has started vmrig", facts_.user_id));
    }
    return done(std::move(user));
  }

  bool pins() const {
    return !placement_.emulator.empty() || !placement_.iothreads.empty() ||
           std::any_of(placement_.vcpus.begin(), placement_.vcpus.end(),
                       [](const CpuSet& cpus) { return !cpus.empty(); });
  }

  // Why vmrig can't do its work on a process of another user, in words; empty when it can.
  std::string lacking_right() {
    mend_ = "more capabilities for vmrig";
    if (!facts_.can_change_ids) return "vmrig has no CAP_SETUID and CAP_SETGID";
    if (!facts_.can_kill) return "without CAP_KILL vmrig could not end it";
    const bool is_nice = pins() || wants_realtime(config_);
    if (is_nice && !facts_.can_sys_nice) {
      mend_ = "CAP_SYS_NICE for vmrig (docker run --cap-add SYS_NICE)";
      return "without CAP_SYS_NICE vmrig could not pin its threads";
    }
    if (hugepages_ != HugepageSize::kNone && !facts_.can_sys_ptrace) {
      mend_ = "CAP_SYS_PTRACE for vmrig (docker run --cap-add SYS_PTRACE)";
      return "without CAP_SYS_PTRACE vmrig could not see which hugepages it has";
    }
    return {};
  }

  IdRange candidates() const {
    constexpr std::array<IdRange, 2> kRanges = {{{.first = kFirstOwnUid, .count = kOwnUids},
                                                 {.first = kFirstSmallUid, .count = kSmallUids}}};
    for (const IdRange& wanted : kRanges) {
      for (const IdRange& mapped : facts_.ids) {
        const std::uint64_t first = std::max(wanted.first, mapped.first);
        const std::uint64_t end = std::min(std::uint64_t{wanted.first} + wanted.count,
                                           std::uint64_t{mapped.first} + mapped.count);
        if (first < end) {
          return {.first = static_cast<unsigned>(first),
                  .count = static_cast<unsigned>(end - first)};
        }
      }
    }
    return {};
  }

  bool is_taken(unsigned uid) const {
    return std::any_of(input_.leases.begin(), input_.leases.end(),
                       [uid](const Lease& lease) { return lease.uid == uid; });
  }

  QemuUser own() {
    const IdRange range = candidates();
    const std::uint64_t start = hash_of(input_.state_folder + "/" + config_.name);
    for (unsigned i = 0; i < range.count; ++i) {
      const unsigned uid = range.first + static_cast<unsigned>((start + i) % range.count);
      if (is_taken(uid)) continue;
      QemuUser user;
      user.kind = QemuUser::Kind::kOwn;
      user.account = {.uid = uid, .gid = uid, .groups = {}};
      user.max_tasks = kTasks + config_.cpu.max_vcpus.value_or(config_.cpu.vcpus) +
                       kTasksOfLoop * (1 + static_cast<int>(config_.iothreads.size()));
      add(Severity::kOk, fmt::format("QEMU is user {}, of the VM's own", uid));
      return done(std::move(user));
    }
    add(Severity::kProblem, fmt::format("all {} uids for VMs are in use", range.count),
        R"("user": "caller", or the name of a user)", ExitStatus::kBusy);
    return caller(Severity::kOk, {});
  }

  QemuUser named(const std::string& name) {
    const auto asked = facts_.users.find(name);
    if (asked == facts_.users.end() || !asked->second) {
      add(Severity::kProblem,
          asked == facts_.users.end() ? fmt::format("user {} was not looked up", quote(name))
                                      : fmt::format("this host has no user {}", quote(name)),
          "getent passwd", ExitStatus::kUsage);
      return done({});
    }
    const UserFacts& facts = *asked->second;
    if (facts_.user_id != 0 && facts.uid == facts_.user_id) return caller(Severity::kOk, {});
    QemuUser user;
    user.kind = QemuUser::Kind::kNamed;
    user.name = name;
    user.account = {.uid = facts.uid, .gid = facts.gid, .groups = facts.groups};
    std::erase(user.account.groups, facts.gid);
    if (facts_.user_id != 0) {
      add(Severity::kProblem, fmt::format("only root can run QEMU as {}", quote(name)),
          R"(run vmrig as root, or "user": "caller")");
    } else if (const std::string lack = lack_for(user); !lack.empty()) {
      add(Severity::kProblem, lack, mend_ + R"(, or "user": "caller")");
    } else {
      add(Severity::kOk, fmt::format("QEMU is user {}", describe(user)));
    }
    return done(std::move(user));
  }

  std::string lack_for(const QemuUser& user) {
    if (std::string lack = lacking_right(); !lack.empty()) return lack;
    const auto is_mapped = [this](unsigned id) {
      return std::any_of(facts_.ids.begin(), facts_.ids.end(), [id](const IdRange& range) {
        return id >= range.first && id - range.first < range.count;
      });
    };
    mend_ = "a user namespace that has these ids";
    if (!is_mapped(user.account.uid) || !is_mapped(user.account.gid)) {
      return fmt::format("this user namespace has no user {}", describe(user));
    }
    return {};
  }

  const PlanInput& input_;
  const HostFacts& facts_;
  const VmConfig& config_;
  const ThreadPlacement& placement_;
  HugepageSize hugepages_;
  std::vector<Diagnostic>& findings_;
  std::string mend_;
};

}  // namespace

std::string describe(const QemuUser& user) {
  switch (user.kind) {
    case QemuUser::Kind::kOwn:
      return fmt::format("{} (the VM's own)", user.account.uid);
    case QemuUser::Kind::kNamed:
      if (user.name == std::to_string(user.account.uid)) return user.name;
      return fmt::format("{} ({})", user.name, user.account.uid);
    case QemuUser::Kind::kCaller:
      break;
  }
  return fmt::format("{} (vmrig's)", user.account.uid);
}

Json to_json(const QemuUser& user) {
  Json json = {{"kind", kKindNames.at(static_cast<std::size_t>(user.kind))},
               {"uid", user.account.uid},
               {"gid", user.account.gid},
               {"groups", user.account.groups},
               {"name", user.name},
               {"is_confined", user.is_confined},
               {"keeps_ipc_lock", user.keeps_ipc_lock}};
  if (user.max_tasks) json["max_tasks"] = *user.max_tasks;
  return json;
}

QemuUser qemu_user_from_json(const Json& json) {
  QemuUser user;
  const auto kind =
      std::find(kKindNames.begin(), kKindNames.end(), json.at("kind").get<std::string>());
  if (kind != kKindNames.end()) user.kind = static_cast<QemuUser::Kind>(kind - kKindNames.begin());
  user.account = {.uid = json.at("uid").get<unsigned>(),
                  .gid = json.at("gid").get<unsigned>(),
                  .groups = json.at("groups").get<std::vector<unsigned>>()};
  user.name = json.at("name").get<std::string>();
  user.is_confined = json.at("is_confined").get<bool>();
  user.keeps_ipc_lock = json.at("keeps_ipc_lock").get<bool>();
  if (json.contains("max_tasks")) user.max_tasks = json.at("max_tasks").get<int>();
  return user;
}

QemuUser choose_user(const PlanInput& input, const ThreadPlacement& placement,
                     HugepageSize hugepages, std::vector<Diagnostic>& findings) {
  return Chooser(input, placement, hugepages, findings).choose();
}

}  // namespace vmrig
