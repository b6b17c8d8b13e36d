// Who QEMU is, and what a plan does so that it may be that.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "launcher/child_fd_plan.hpp"
#include "launcher/verify_privileges.hpp"
#include "tests/support/plan_inputs.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

bool has(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE("missing: " << part << "\nin: " << text);
  return found;
}

std::string config_with(const std::string& more, const std::string& name = "vm") {
  return fmt::format(R"({{"name": "{}", "memory": {{"size": "64MiB"}}{}{}}})", name,
                     more.empty() ? "" : ", ", more);
}

HostFacts facts() { return recorded_facts("isolated-1gib"); }

std::string warnings_of(const Plan& plan) {
  std::string text;
  for (const Diagnostic& finding : plan.preflight) {
    if (finding.severity == Severity::kWarning) {
      text += fmt::format("{}: {} | {}\n", finding.path, finding.message, finding.mend);
    }
  }
  return text;
}

std::string steps_of(const Plan& plan) {
  std::string text;
  for (const HostStep& step : plan.host_steps) {
    text += fmt::format("{} {} > {}\n", action_kind(step.action), step.text, step.undo);
  }
  return text;
}

std::string argument_of(const Plan& plan, const std::string& option) {
  for (const QemuArgument& argument : plan.arguments) {
    if (argument.words.front() == option) return argument.words.at(1);
  }
  return {};
}

PathFacts file_of(unsigned uid, unsigned mode) {
  PathFacts path;
  path.type = PathFacts::Type::kFile;
  path.readable = path.writable = true;
  path.size = Bytes::mib(1);
  path.rights = FileRights{.uid = uid, .gid = uid, .mode = mode};
  return path;
}

}  // namespace

TEST_CASE("started by root a VM gets a uid of its own, the same one again, and no other's") {
  const Plan one = plan_of(config_with(""), facts());
  CHECK(problems_of(one) == "");
  CHECK(one.user.kind == QemuUser::Kind::kOwn);
  CHECK(one.user.is_confined);
  CHECK(one.user.account.uid >= kFirstOwnUid);
  CHECK(one.user.account.uid < kFirstOwnUid + kOwnUids);
  CHECK(one.user.account.gid == one.user.account.uid);
  CHECK(one.claim.uid == one.user.account.uid);
  CHECK(plan_of(config_with(""), facts()).user == one.user);
  // While another VM has it, the next one.
  Lease other;
  other.vm = "other";
  other.uid = one.user.account.uid;
  const Plan two = plan_of(config_with(""), facts(), {other});
  CHECK(two.user.account.uid != one.user.account.uid);
  CHECK(lease_from_json(to_json(two.claim)).uid == two.claim.uid);
}

TEST_CASE("many VMs get as many uids, and one too many is refused") {
  HostFacts small = facts();
  small.ids = {{.first = 0, .count = kFirstSmallUid + 3}};
  std::vector<Lease> leases;
  std::set<unsigned> uids;
  for (int i = 0; i < 3; ++i) {
    const Plan plan = plan_of(config_with("", fmt::format("vm{}", i)), small, leases);
    CHECK(problems_of(plan) == "");
    REQUIRE(plan.claim.uid.has_value());
    CHECK(*plan.claim.uid >= kFirstSmallUid);
    uids.insert(*plan.claim.uid);
    leases.push_back(plan.claim);
    leases.back().vm = fmt::format("vm{}", i);
  }
  CHECK(uids.size() == 3);
  const std::string problems = problems_of(plan_of(config_with("", "vm3"), small, leases));
  CHECK(has(problems, "6 security.user: all 3 uids for VMs are in use"));
}

TEST_CASE("in a user namespace without such a uid QEMU stays root, without capabilities") {
  HostFacts rootless = facts();
  rootless.ids = {{.first = 0, .count = 1}};
  const Plan plan = plan_of(config_with(""), rootless);
  CHECK(problems_of(plan) == "");
  CHECK(plan.user.kind == QemuUser::Kind::kCaller);
  CHECK(plan.user.is_confined);
  CHECK_FALSE(plan.claim.uid.has_value());
  CHECK(has(warnings_of(plan),
            "security.user: QEMU has no user of its own and stays root, without "
            "capabilities: this user namespace has no uid for it"));
}

TEST_CASE("a uid of its own is not taken where vmrig could not do its work on it") {
  HostFacts docker = facts();
  docker.can_sys_nice = false;
  const Plan plain = plan_of(config_with(""), docker);
  CHECK(plain.user.kind == QemuUser::Kind::kOwn);
  const Plan pinned = plan_of(config_with(R"("cpu": {"pin": "auto"})"), docker);
  CHECK(pinned.user.kind == QemuUser::Kind::kCaller);
  CHECK(has(warnings_of(pinned),
            "without CAP_SYS_NICE vmrig could not pin its threads | "
            "CAP_SYS_NICE for vmrig (docker run --cap-add SYS_NICE)"));
  docker.can_sys_ptrace = false;
  const Plan huge =
      plan_of(R"({"name": "vm", "memory": {"size": "1GiB", "hugepages": "1GiB"}})", docker);
  CHECK(huge.user.kind == QemuUser::Kind::kCaller);
  HostFacts poor = facts();
  poor.can_change_ids = false;
  CHECK(plan_of(config_with(""), poor).user.kind == QemuUser::Kind::kCaller);
}

TEST_CASE("who is not root is the user that QEMU is, and opens its files itself") {
  HostFacts user = recorded_facts("container-cpuset");
  user.paths["/vms/d.img"] = file_of(1000, 0600);
  const Plan plan = plan_of(config_with(R"("disks": [{"id": "d", "path": "d.img"}])"), user);
  CHECK(plan.user.kind == QemuUser::Kind::kCaller);
  CHECK_FALSE(plan.user.is_confined);
  CHECK(plan.user.account.uid == 1000);
  CHECK(argument_of(plan, "-add-fd") == "");
  CHECK(has(argument_of(plan, "-blockdev"), "\"filename\":\"/vms/d.img\""));
}

TEST_CASE("a user by name takes that user's groups, and only root may name another") {
  HostFacts known = facts();
  known.users["qemu"] = UserFacts{.uid = 107, .gid = 108, .groups = {36, 108}};
  known.users["ghost"] = std::nullopt;
  const std::string config = config_with(R"("security": {"user": "qemu"})");
  const Plan plan = plan_of(config, known);
  CHECK(problems_of(plan) == "");
  CHECK(plan.user.kind == QemuUser::Kind::kNamed);
  CHECK(plan.user.account == Account{.uid = 107, .gid = 108, .groups = {36, 106}});  // and kvm's
  CHECK(describe(plan.user) == "qemu (107)");
  CHECK_FALSE(plan.claim.uid.has_value());
  CHECK(has(problems_of(plan_of(config_with(R"("security": {"user": "ghost"})"), known)),
            R"(2 security.user: this host has no user "ghost")"));
  HostFacts user = recorded_facts("container-cpuset");
  user.users = known.users;
  CHECK(has(problems_of(plan_of(config, user)),
            R"(3 security.user: only root can run QEMU as "qemu")"));
  user.users["me"] = UserFacts{.uid = 1000, .gid = 1000, .groups = {1000}};
  const Plan me = plan_of(config_with(R"("security": {"user": "me"})"), user);
  CHECK(problems_of(me) == "");
  CHECK(me.user.kind == QemuUser::Kind::kCaller);
}

TEST_CASE("a number is a user, too, with and without quotes") {
  HostFacts known = facts();
  known.users["4711"] = UserFacts{.uid = 4711, .gid = 4711, .groups = {4711}};
  for (const char* value : {"4711", "\"4711\""}) {
    const Plan plan =
        plan_of(config_with(fmt::format(R"("security": {{"user": {}}})", value)), known);
    CHECK(problems_of(plan) == "");
    CHECK(plan.user.account.uid == 4711);
    CHECK(describe(plan.user) == "4711");
  }
  known.ids = {{.first = 0, .count = 1000}};
  CHECK(has(problems_of(plan_of(config_with(R"("security": {"user": 4711})"), known)),
            "this user namespace has no user 4711"));
}

TEST_CASE(
    "QEMU as the caller, when that is root, is without capabilities, and gets its files open") {
  HostFacts root = facts();
  root.paths["/vms/d.img"] = file_of(107, 0600);
  const Plan plan = plan_of(
      config_with(R"("security": {"user": "caller"}, "disks": [{"id": "d", "path": "d.img"}])"),
      root);
  CHECK(plan.user.kind == QemuUser::Kind::kCaller);
  CHECK(plan.user.account.uid == 0);
  CHECK(plan.user.is_confined);
  CHECK(has(argument_of(plan, "-add-fd"), "opaque=rw:/vms/d.img"));
}

TEST_CASE("images, logs and boot files come as fds where QEMU may not open them") {
  HostFacts root = facts();
  root.paths["/vms/a,b.img"] = file_of(0, 0600);
  root.paths["/boot/vmlinuz"] = file_of(0, 0600);
  root.paths["/boot/initrd"] = file_of(0, 0644);
  const Plan plan = plan_of(config_with(R"(
      "boot": {"kernel": "/boot/vmlinuz", "initrd": "/boot/initrd"},
      "serial": [{"id": "log", "type": "file", "path": "/var/log/vm.log"}],
      "disks": [{"id": "d", "path": "a,b.img", "readonly": true, "cache": "none"}])"),
                            root);
  CHECK(problems_of(plan) == "");
  CHECK(argument_of(plan, "-kernel").starts_with("/proc/self/fd/"));
  CHECK(argument_of(plan, "-initrd") == "/boot/initrd");
  std::string sets;
  for (const QemuArgument& argument : plan.arguments) {
    if (argument.words.front() == "-add-fd") sets += argument.words.at(1) + "\n";
  }
  CHECK(has(sets, "opaque=ro:/vms/a,,b.img"));
  CHECK(has(sets, "opaque=rw:/var/log/vm.log"));
  const auto image = std::find_if(plan.fds.begin(), plan.fds.end(), [](const ChildFd& fd) {
    return fd.source.kind == FdSource::Kind::kImage;
  });
  REQUIRE(image != plan.fds.end());
  CHECK_FALSE(image->source.is_writable);
  CHECK(image->source.is_direct);
  CHECK(plan.disk_fds.at("d") == std::vector<int>{image->number});
}

TEST_CASE("/dev/kvm: open to all, by fd, by its group, by ACL, or a problem") {
  const std::string config = config_with(R"("machine": {"accel": "kvm"})");
  HostFacts root = facts();
  const auto node = [&root](unsigned gid, unsigned mode, bool has_acl) {
    root.kvm.rights = FileRights{.uid = 0, .gid = gid, .mode = mode};
    root.kvm.has_acl = has_acl;
  };
  node(106, 0660, true);
  CHECK(plan_of(config, root).user.account.groups == std::vector<unsigned>{106});
  node(0, 0666, true);
  const Plan open = plan_of(config, root);
  CHECK(open.user.account.groups.empty());
  CHECK(open.host_steps.empty());
  // Root's group would open more than this.
  node(0, 0660, true);
  const Plan by_acl = plan_of(config, root);
  CHECK(by_acl.user.account.groups.empty());
  CHECK(steps_of(by_acl) ==
        fmt::format("access /dev/kvm for user {} > taken back\n", by_acl.user.account.uid));
  node(0, 0600, false);
  CHECK(has(problems_of(plan_of(config, root)), "3 machine.accel: /dev/kvm is not open to user"));

  const VmConfig loaded = config_of(config);
  const qmp::QemuCaps newer = recorded_caps("10.0");
  const Plan by_fd = make_plan(
      {.config = loaded, .facts = root, .caps = newer, .qemu = "/usr/bin/qemu", .leases = {}});
  CHECK(problems_of(by_fd) == "");
  CHECK(by_fd.host_steps.empty());
  CHECK(argument_of(by_fd, "-accel").starts_with("kvm,device=/dev/fdset/"));
}

TEST_CASE("a VFIO group, a USB device and a switch's socket are opened to QEMU's user") {
  HostFacts root = recorded_facts("two-socket-72cpu");
  UsbDeviceFacts stick;
  stick.bus = 1;
  stick.address = 5;
  stick.vendor = 0x1d6b;
  stick.product = 2;
  stick.node = {.exists = true, .opens = true, .rights = FileRights{0, 0, 0664}, .has_acl = true};
  root.usb = {stick};
  PathFacts socket;
  socket.type = PathFacts::Type::kOther;
  socket.rights = FileRights{.uid = 50, .gid = 50, .mode = 0755};
  socket.closed = {{.path = "/run/switch", .rights = {.uid = 50, .gid = 50, .mode = 0750}}};
  root.paths["/run/switch/vhu0.sock"] = socket;
  const Plan plan = plan_of(config_with(R"(
      "usb": [{"id": "u", "type": "host", "device": "1d6b:0002"}],
      "nics": [{"id": "n", "type": "vf", "pf": "eno2"},
               {"id": "s", "type": "vhost-user", "socket": "/run/switch/vhu0.sock"}])"),
                            root);
  const std::string uid = std::to_string(plan.user.account.uid);
  const std::string steps = steps_of(plan);
  CHECK(has(steps, "access the VFIO group of 0000:3b:10.1 for user " + uid));
  CHECK(has(steps, "access /dev/bus/usb/001/005 for user " + uid));
  CHECK(has(steps, "access through /run/switch for user " + uid));
  CHECK(has(steps, "access /run/switch/vhu0.sock for user " + uid));
  // The group's node comes with the driver.
  CHECK(steps.find("bind ") < steps.find("access the VFIO"));
  for (const HostStep& step : plan.host_steps) {
    const auto* grant = std::get_if<GrantAccess>(&step.action);
    if (grant != nullptr) CHECK_FALSE(is_shared(step.action));
  }
}

TEST_CASE("who makes the socket that a switch connects to stays root, and that is told") {
  const char* nic = R"("nics": [{"id": "t", "type": "vhost-user", "socket": "/run/vm.sock",
                                 "server": true}])";
  const Plan plan = plan_of(config_with(nic), facts());
  CHECK(plan.user.kind == QemuUser::Kind::kCaller);
  CHECK(plan.user.account.uid == 0);
  CHECK(plan.user.is_confined);
  CHECK(has(steps_of(plan), "socket /run/vm.sock > removed"));
}

TEST_CASE("locked memory: the limit is raised, or the one capability for it stays") {
  const std::string config = R"({"name": "vm", "memory": {"size": "64MiB", "lock": true}})";
  CHECK_FALSE(plan_of(config, facts()).user.keeps_ipc_lock);
  CHECK(plan_of(config, facts()).locked_memory == LockedMemory::kUnlimited);
  const Plan kept = plan_of(config, recorded_facts("vm-2cpu"));
  CHECK(problems_of(kept) == "");
  CHECK(kept.user.keeps_ipc_lock);
  CHECK(has(warnings_of(kept), "QEMU keeps CAP_IPC_LOCK"));
  HostFacts none = recorded_facts("vm-2cpu");
  none.can_ipc_lock = false;
  CHECK(has(problems_of(plan_of(config, none)), "3 memory.lock: "));
}

TEST_CASE("a QEMU that its user can't execute is a problem with the folder that is closed") {
  HostFacts root = facts();
  PathFacts qemu = file_of(0, 0755);
  qemu.closed = {{.path = "/root", .rights = {.uid = 0, .gid = 0, .mode = 0700}}};
  root.paths["/usr/bin/qemu-system-x86_64"] = qemu;
  CHECK(has(problems_of(plan_of(config_with(""), root)),
            "can't execute \"/usr/bin/qemu-system-x86_64\": \"/root\" is closed to it | chmod o+x "
            "/root"));
  CHECK(problems_of(plan_of(config_with(R"("security": {"user": "caller"})"), root)) == "");
}

TEST_CASE("hugepages that are there from the start are QEMU's user's; others need no file") {
  const std::string memory = R"("size": "2GiB", "hugepages": "1GiB")";
  const Plan early = plan_of(
      fmt::format(R"({{"name": "vm", "memory": {{{}, "prealloc": true}}}})", memory), facts());
  REQUIRE(early.regions.size() == 1);
  CHECK(early.regions[0].owner == early.user.account.uid);
  const Plan late = plan_of(fmt::format(R"({{"name": "vm", "memory": {{{}}}}})", memory), facts());
  CHECK(late.regions.empty());
  CHECK(has(argument_of(late, "-object"), "memory-backend-memfd"));
}

TEST_CASE("what QEMU may do is told from what it should") {
  const QemuUser own = plan_of(config_with(""), facts()).user;
  const unsigned uid = own.account.uid;
  ProcessRights good;
  good.uids = good.gids = {uid, uid, uid, uid};
  good.groups = own.account.groups;  // kvm's
  good.no_new_privileges = true;
  good.seccomp = 2;
  CHECK(judge_privileges(own, true, good).pass);
  CHECK(judge_privileges(own, true, good).expected == judge_privileges(own, true, good).found);
  const auto fails = [&](auto change) {
    ProcessRights bad = good;
    change(bad);
    const PrivilegesVerdict verdict = judge_privileges(own, true, bad);
    CHECK(verdict.found != verdict.expected);
    return !verdict.pass;
  };
  CHECK(fails([](ProcessRights& r) { r.uids[1] = 0; }));
  CHECK(fails([](ProcessRights& r) { r.gids[0] = 0; }));
  CHECK(fails([](ProcessRights& r) { r.groups = {0}; }));
  CHECK(fails([](ProcessRights& r) { r.effective = 1; }));
  CHECK(fails([](ProcessRights& r) { r.permitted = 1; }));
  CHECK(fails([](ProcessRights& r) { r.bounding = 1; }));
  CHECK(fails([](ProcessRights& r) { r.no_new_privileges = false; }));
  CHECK(fails([](ProcessRights& r) { r.seccomp = 0; }));
  ProcessRights unfiltered = good;
  unfiltered.seccomp = 0;
  CHECK(judge_privileges(own, false, unfiltered).pass);
  QemuUser locks = own;
  locks.keeps_ipc_lock = true;
  CHECK_FALSE(judge_privileges(locks, true, good).pass);
  // Only root could have emptied the bounding set of a user who is vmrig's caller.
  QemuUser caller;
  caller.account = {.uid = 1000, .gid = 1000, .groups = {}};
  ProcessRights users = good;
  users.uids = {1000, 1000, 1000, 1000};
  users.bounding = 0x1ff;
  CHECK(judge_privileges(caller, true, users).pass);
}

TEST_CASE("names that can't be a user's are refused") {
  for (const char* bad : {"", " ", "-x", "a b", "a\\n", "a/b", "99999999999", "4294967295"}) {
    CHECK_THROWS_AS(
        (void)config_of(config_with(fmt::format(R"("security": {{"user": "{}"}})", bad))),
        DiagnosticsError);
  }
  CHECK_THROWS_AS((void)config_of(config_with(R"("security": {"user": -1})")), DiagnosticsError);
  CHECK_THROWS_AS((void)config_of(config_with(R"("security": {"user": 4294967295})")),
                  DiagnosticsError);
  CHECK_THROWS_AS((void)config_of(config_with(R"("security": {"user": true})")), DiagnosticsError);
  CHECK(config_of(config_with(R"("security": {"user": "libvirt-qemu"})")).security.user ==
        "libvirt-qemu");
}
