// QEMU as a user of its own, with real QEMUs: what it may do, what it has open, and that all is as
// before afterwards.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "hostcfg/base/fd.hpp"
#include "hostcfg/journal.hpp"
#include "hostcfg/posix_acl.hpp"
#include "launcher/process.hpp"
#include "tests/support/guest_console.hpp"
#include "tests/support/page_pool_guard.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

namespace fs = std::filesystem;
using namespace vmrig;
using namespace vmrig::testing;

#define NEED_ROOT()                                                       \
  do {                                                                    \
    if (::geteuid() != 0) SKIP_TEST("only root gives QEMU another user"); \
    if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");        \
  } while (false)

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

bool has(const std::string& text, const std::string& part) {
  const bool found = contains(text, part);
  if (!found) MESSAGE("missing: " << part << "\nin: " << text);
  return found;
}

// The system's, and what else the environment names.
std::vector<std::string> qemus() {
  std::vector<std::string> list = {system_qemu()};
  for (const char* name : {"VMRIG_QEMU10", "VMRIG_QEMU52", "VMRIG_QEMU111"}) {
    if (const char* path = std::getenv(name)) list.emplace_back(path);
  }
  return list;
}

// Whose a file is, its mode and its ACL.
std::string rights_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return "gone";
  std::string acl(4096, '\0');
  const ssize_t size = ::getxattr(path.c_str(), kAclAttribute, acl.data(), acl.size());
  acl.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
  return fmt::format("{} {} {:o} {}", status.st_uid, status.st_gid, status.st_mode, acl);
}

std::string private_file(const std::string& path, const std::string& content) {
  write_text(path, content);
  REQUIRE(::chmod(path.c_str(), 0600) == 0);
  return path;
}

void make_image(const std::string& path, const std::string& backing, const std::string& format) {
  CommandRequest create;
  create.argv = {"qemu-img", "create", "-q", "-f", "qcow2"};
  if (!backing.empty()) create.argv.insert(create.argv.end(), {"-b", backing, "-F", format});
  create.argv.push_back(path);
  if (backing.empty()) create.argv.emplace_back("16M");
  const CommandResult made = run_command(create);
  REQUIRE_MESSAGE(made.status == 0, made.err);
  REQUIRE(::chmod(path.c_str(), 0600) == 0);
}

// A raw base of 1 MiB of one letter, and two qcow2 images on it; only root may read them.
std::string make_chain(const TempFolder& folder, const std::string& name) {
  private_file(folder / (name + "-base.img"), std::string(1 << 20, 'b'));
  make_image(folder / (name + "-mid.qcow2"), name + "-base.img", "raw");
  make_image(folder / (name + ".qcow2"), folder / (name + "-mid.qcow2"), "qcow2");
  return folder / (name + ".qcow2");
}

std::vector<std::string> files_of(pid_t pid) {
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(fmt::format("/proc/{}/fd", pid))) {
    std::error_code gone;
    const fs::path file = fs::read_symlink(entry.path(), gone);
    if (!gone) files.push_back(file.string());
  }
  return files;
}

// What QEMU has open beside the files that it was given, sockets and what the kernel made for it.
std::set<std::string> unexplained(pid_t pid, const std::set<std::string>& given) {
  std::set<std::string> found;
  for (const std::string& file : files_of(pid)) {
    const bool is_kernels = file.starts_with("socket:[") || file.starts_with("anon_inode:") ||
                            file == "/dev/null" || file.starts_with("/memfd:vmrig-");
    if (!is_kernels && given.count(file) == 0) found.insert(file);
  }
  return found;
}

pid_t only_qemu(const VmGuard& guard) {
  const std::vector<pid_t> all = guard.qemus();
  REQUIRE(all.size() == 1);
  return all.front();
}

// "pass" rows of verify by what they are about.
Json row_of(const VmGuard& guard, const std::string& name, const std::string& subject) {
  const CommandResult verified = guard.vmrig({"verify", name, "--seconds", "0", "--json"});
  const Json rows = Json::parse(verified.out, nullptr, false);
  REQUIRE_MESSAGE(rows.is_array(), verified.err);
  for (const Json& row : rows) {
    if (row.at("subject") == subject) return row;
  }
  FAIL("no row " << subject);
  return nullptr;
}

TEST_CASE("QEMU is a user of the VM's own, can do nothing, and each of its fds is explained") {
  NEED_ROOT();
  const std::string kvm_before = rights_of("/dev/kvm");
  for (const std::string& qemu : qemus()) {
    CAPTURE(qemu);
    const VmGuard guard;
    const std::string& folder = guard.folder().path();
    Json config = guard.config("own");
    config["qemu"] = qemu;
    config["disks"] = {{{"id", "d0"},
                        {"path", make_chain(guard.folder(), "d0")},
                        {"cache", "none"},
                        {"aio", "native"}},
                       {{"id", "d1"},
                        {"path", private_file(folder + "/d1.img", std::string(1 << 20, '1'))},
                        {"format", "raw"},
                        {"readonly", true}}};
    config["usb"] = {{{"id", "stick"},
                      {"type", "storage"},
                      {"path", private_file(folder + "/stick.img", std::string(1 << 20, 's'))},
                      {"format", "raw"}}};
    config["serial"].push_back({{"id", "log"}, {"type", "file"}, {"path", folder + "/serial.log"}});
    const CommandResult started = guard.vmrig({"start", "--paused", guard.write_config(config)});
    REQUIRE_MESSAGE(started.status == 0, started.err);
    const Json row = row_of(guard, "own", "privileges");
    CHECK_MESSAGE(row.at("pass") == true, row.dump());
    CHECK(has(row.at("measured").get<std::string>(),
              "no capabilities, no new privileges, seccomp filter"));
    const Json user = guard.vmrig_json({"status", "own", "--json"}).at("user");
    CHECK(user.at("kind") == "own");
    CHECK(user.at("uid").get<unsigned>() >= 1'900'000'000U);
    const std::string state = guard.state_dir() + "/own";
    CHECK(unexplained(only_qemu(guard),
                      {folder + "/d0.qcow2", folder + "/d0-mid.qcow2", folder + "/d0-base.img",
                       folder + "/d1.img", folder + "/stick.img", folder + "/serial.log",
                       state + "/qemu.log", "/dev/kvm"})
              .empty());
    CHECK(guard.vmrig({"stop", "own", "--force"}).status == 0);
    CHECK(guard.nothing_left());
    CHECK(rights_of("/dev/kvm") == kvm_before);
  }
}

TEST_CASE("two VMs have two users, and a VM has the same again") {
  NEED_ROOT();
  const VmGuard guard;
  const auto user_of = [&guard](const std::string& name) {
    REQUIRE(guard.vmrig({"start", "--paused", guard.write_config(guard.config(name))}).status == 0);
    return guard.vmrig_json({"status", name, "--json"}).at("user").at("uid").get<unsigned>();
  };
  const unsigned one = user_of("one");
  const unsigned two = user_of("two");
  CHECK(one != two);
  CHECK(guard.vmrig({"stop", "one", "--force"}).status == 0);
  CHECK(user_of("one") == one);
  CHECK(guard.vmrig({"stop", "--all", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("after SIGKILL of supervisor and QEMU recover puts /dev/kvm back") {
  NEED_ROOT();
  if (quick_accel() != "kvm") SKIP_TEST("/dev/kvm does not open");
  const std::string before = rights_of("/dev/kvm");
  const VmGuard guard;
  for (int i = 0; i < 2; ++i) {
    const Json config = guard.config(fmt::format("k{}", i));
    REQUIRE(guard.vmrig({"start", "--paused", guard.write_config(config)}).status == 0);
  }
  const bool was_given = rights_of("/dev/kvm") != before;
  // By pidfds: a process whose /proc is empty already may still hold its locks.
  std::vector<Fd> ends;
  for (const pid_t pid : guard.processes()) {
    const std::optional<ProcessIdentity> process = identify_process(pid);
    if (process) ends.push_back(open_pidfd(*process));
    ::kill(pid, SIGKILL);
  }
  for (const Fd& end : ends) {
    CHECK((!end || wait_for_exit(end.get(), qmp::deadline_in(std::chrono::seconds(10)))));
  }
  const CommandResult recovered = guard.vmrig({"recover"});
  CHECK_MESSAGE(recovered.status == 0, recovered.err);
  CAPTURE(recovered.out);
  CAPTURE(recovered.err);
  if (was_given) CHECK(has(recovered.out, "/dev/kvm is closed to user 19000"));
  CHECK(rights_of("/dev/kvm") == before);
  CHECK(guard.nothing_left());
}

TEST_CASE("a guest whose kernel and disks only root can read boots, reads and writes them") {
  NEED_GUEST();
  NEED_ROOT();
  for (const std::string& qemu : qemus()) {
    CAPTURE(qemu);
    VmGuard guard;
    const TempFolder& folder = guard.folder();
    Json config = guest_config(guard, "guest", "");
    config["qemu"] = qemu;
    for (const char* file : {"kernel", "initrd"}) {
      const std::string path = folder / file;
      fs::copy(config["boot"][file].get<std::string>(), path);
      REQUIRE(::chmod(path.c_str(), 0600) == 0);
      config["boot"][file] = path;
    }
    config["disks"] = {{{"id", "d0"}, {"path", make_chain(folder, "d0")}, {"serial", "chain"}},
                       {{"id", "d1"},
                        {"path", private_file(folder / "d1.img", std::string(1 << 20, 'r'))},
                        {"format", "raw"},
                        {"cache", "none"},
                        {"aio", "native"},
                        {"serial", "raw"}}};
    const CommandResult started = guard.vmrig({"start", guard.write_config(config)});
    REQUIRE_MESSAGE(started.status == 0, started.err);
    GuestConsole console(guard.state_dir() + "/guest/console.sock");
    console.await("test -b /dev/vdb");
    const auto read_of = [&console](const std::string& disk) {
      return console.run("dd if=/dev/" + disk + " bs=4 count=1 2>/dev/null");
    };
    CHECK(read_of("vda") == "bbbb");
    CHECK(read_of("vdb") == "rrrr");
    console.run("printf wwww | dd of=/dev/vda conv=notrunc,fsync 2>/dev/null");
    console.run("printf zzzz | dd of=/dev/vdb conv=notrunc,fsync 2>/dev/null");
    CHECK(read_of("vda") == "wwww");

    // A disk that comes and goes, with all that it stands on; its supervisor may change meanwhile.
    // Not while the guest powers its empty slots off: with QEMU 5.2 it would take the plug for a
    // wish to power this one off.
    console.await("test $(cut -d. -f1 /proc/uptime) -ge 8");
    const std::string hot = make_chain(folder, "hot");
    const CommandResult attached = guard.vmrig(
        {"attach", "guest", "disk", Json{{"id", "hot"}, {"path", hot}, {"serial", "hot"}}.dump()});
    REQUIRE_MESSAGE(attached.status == 0, attached.err);
    console.await("test -b /dev/vdc");
    CHECK(read_of("vdc") == "bbbb");
    console.run("printf hhhh | dd of=/dev/vdc conv=notrunc,fsync 2>/dev/null");
    const auto supervisor =
        guard.vmrig_json({"status", "guest", "--json"}).at("supervisor").get<pid_t>();
    REQUIRE(::kill(supervisor, SIGKILL) == 0);
    REQUIRE(eventually([&] {
      const Json all = guard.vmrig_json({"list", "--json"});
      return all.is_array() && all.size() == 1 && all[0].at("state") == "orphaned";
    }));
    REQUIRE(guard.vmrig({"recover"}).status == 0);
    const CommandResult detached = guard.vmrig({"detach", "guest", "hot", "--timeout", "60"});
    CHECK_MESSAGE(detached.status == 0, detached.err);
    for (const std::string& file : files_of(only_qemu(guard))) {
      CHECK_MESSAGE(file.find("/hot") == std::string::npos, file);
    }
    CHECK(guard.vmrig_json({"qmp", "guest", "query-fdsets"}).dump().find("hot") ==
          std::string::npos);
    CHECK(row_of(guard, "guest", "privileges").at("pass") == true);
    CHECK(guard.vmrig({"stop", "guest", "--timeout", "60"}).status == 0);
    CHECK(guard.nothing_left());
    // Nobody has written to what they stand on.
    CHECK(read_text(folder / "d0-base.img") == std::string(1 << 20, 'b'));
    CHECK(read_text(folder / "d1.img").substr(0, 5) == "zzzzr");
    for (const auto& [image, bytes] :
         {std::pair{"d0.qcow2", "77 77 77 77 62"}, std::pair{"hot.qcow2", "68 68 68 68 62"}}) {
      CommandRequest read;
      read.argv = {"qemu-io", "-r", "-f", "qcow2", "-c", "read -v 0 512", folder / image};
      CHECK_MESSAGE(has(run_command(read).out, bytes), image);
    }
  }
}

TEST_CASE("hugepages that are there before QEMU are its user's") {
  NEED_ROOT();
  const PagePoolGuard pool(64);
  if (!pool.fault().empty()) SKIP_TEST(pool.fault());
  const VmGuard guard;
  for (const bool is_populated : {true, false}) {
    CAPTURE(is_populated);
    Json config = guard.config("huge");
    config["memory"] = {{"size", "64MiB"}, {"hugepages", "2MiB"}, {"prealloc", is_populated}};
    const CommandResult started = guard.vmrig({"start", "--paused", guard.write_config(config)});
    REQUIRE_MESSAGE(started.status == 0, started.err);
    CHECK(row_of(guard, "huge", "privileges").at("pass") == true);
    CHECK(row_of(guard, "huge", "memory").at("pass") == true);
    CHECK(guard.vmrig({"stop", "huge", "--force"}).status == 0);
  }
  CHECK(guard.nothing_left());
}

TEST_CASE("a named user has its own ids, and what it may not read comes as an fd, too") {
  NEED_ROOT();
  const VmGuard guard;
  Json config = guard.config("named");
  config["security"] = {{"user", "nobody"}};
  config["disks"] = {{{"id", "d0"}, {"path", make_chain(guard.folder(), "d0")}}};
  const std::string before = rights_of("/dev/kvm");
  // Two share what is given to one user: it stays for the other.
  Json second = guard.config("named2");
  second["security"] = {{"user", "nobody"}};
  REQUIRE(guard.vmrig({"start", "--paused", guard.write_config(second)}).status == 0);
  const std::string shared = rights_of("/dev/kvm");
  const CommandResult started = guard.vmrig({"start", "--paused", guard.write_config(config)});
  REQUIRE_MESSAGE(started.status == 0, started.err);
  const Json row = row_of(guard, "named", "privileges");
  CHECK_MESSAGE(row.at("pass") == true, row.dump());
  CHECK(has(row.at("measured").get<std::string>(), "uid 65534"));
  CHECK(guard.vmrig({"stop", "named2", "--force"}).status == 0);
  CHECK(rights_of("/dev/kvm") == shared);
  CHECK(guard.vmrig({"stop", "named", "--force"}).status == 0);
  CHECK(rights_of("/dev/kvm") == before);
  config["security"] = {{"user", "no-such-user"}};
  const CommandResult refused = guard.vmrig({"start", guard.write_config(config)});
  CHECK(refused.status == 2);
  CHECK(has(refused.err, R"(security.user: this host has no user "no-such-user")"));
  CHECK(guard.nothing_left());
}

TEST_CASE("as the caller QEMU is root and yet can do nothing but with what is root's") {
  NEED_ROOT();
  const VmGuard guard;
  Json config = guard.config("caller");
  config["security"] = {{"user", "caller"}};
  REQUIRE(guard.vmrig({"start", "--paused", guard.write_config(config)}).status == 0);
  const Json row = row_of(guard, "caller", "privileges");
  CHECK_MESSAGE(row.at("pass") == true, row.dump());
  CHECK(has(row.at("measured").get<std::string>(), "uid 0, gid 0, no groups, no capabilities"));
  CHECK(guard.vmrig({"stop", "caller", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

// vmrig as a user without any right, in a folder of that user's.
class Nobody {
 public:
  static constexpr uid_t kUid = 1'900'070'000;

  Nobody() : home_(guard_.folder() / "home") {
    REQUIRE(::mkdir(home_.c_str(), 0700) == 0);
    REQUIRE(::chown(home_.c_str(), kUid, kUid) == 0);
    guard_.set_environment("VMRIG_CACHE_DIR", home_ + "/cache");
  }

  const VmGuard& guard() const { return guard_; }
  const std::string& home() const { return home_; }
  std::string state_dir() const { return home_ + "/state"; }

  CommandResult vmrig(const std::string& state_dir, std::vector<std::string> words) const {
    CommandRequest request;
    const std::string id = std::to_string(kUid);
    request.argv = {"setpriv",       "--reuid=" + id, "--regid=" + id, "--clear-groups",
                    vmrig_program(), "--state-dir",   state_dir};
    request.argv.insert(request.argv.end(), words.begin(), words.end());
    request.environment = guard_.environment();
    return run_command(request);
  }
  CommandResult vmrig(std::vector<std::string> words) const {
    return vmrig(state_dir(), std::move(words));
  }

  Json config(const std::string& name) const {
    Json config = guard_.config(name);
    config["machine"]["accel"] = "tcg";
    return config;
  }
  // Readable by all: it is root that writes it.
  std::string write_config(const Json& config) const { return guard_.write_config(config); }

  std::string own_file(const std::string& name, const std::string& content) const {
    const std::string path = home_ + "/" + name;
    write_text(path, content);
    REQUIRE(::chown(path.c_str(), kUid, kUid) == 0);
    REQUIRE(::chmod(path.c_str(), 0600) == 0);
    return path;
  }

 private:
  VmGuard guard_;
  std::string home_;
};

TEST_CASE("without root works what needs none: user networking, TCG, one's own images") {
  NEED_ROOT();
  const Nobody nobody;
  Json config = nobody.config("mine");
  config["nics"] = {{{"id", "net0"}, {"type", "user"}}};
  config["disks"] = {{{"id", "d0"},
                      {"path", nobody.own_file("d0.img", std::string(1 << 20, '0'))},
                      {"format", "raw"}}};
  config["memory"]["share"] = true;  // a memfd
  const CommandResult started = nobody.vmrig({"start", nobody.write_config(config)});
  REQUIRE_MESSAGE(started.status == 0, started.err);
  const CommandResult verified = nobody.vmrig({"verify", "mine", "--seconds", "0"});
  CHECK_MESSAGE(verified.status == 0, verified.out);
  CHECK(has(verified.out, fmt::format("uid {}, no capabilities, no new privileges, seccomp filter",
                                      Nobody::kUid)));
  const std::string image = nobody.own_file("hot.img", std::string(1 << 20, 'h'));
  const CommandResult attached = nobody.vmrig(
      {"attach", "mine", "disk", Json{{"id", "hot"}, {"path", image}, {"format", "raw"}}.dump()});
  CHECK_MESSAGE(attached.status == 0, attached.err);
  // Root controls every VM; but it does nothing on the word of another user's files.
  const CommandResult recovered =
      run_command({.argv = {vmrig_program(), "--state-dir", nobody.state_dir(), "recover"},
                   .environment = nobody.guard().environment(),
                   .input = {}});
  CHECK(recovered.status == 1);
  CHECK(has(recovered.err, fmt::format("it belongs to user {}, not to user 0", Nobody::kUid)));
  const CommandResult stopped = run_command(
      {.argv = {vmrig_program(), "--state-dir", nobody.state_dir(), "stop", "mine", "--force"},
       .environment = nobody.guard().environment(),
       .input = {}});
  CHECK_MESSAGE(stopped.status == 0, stopped.err);
  CHECK(nobody.guard().nothing_left());
}

TEST_CASE("without root what needs more is named before anything is touched") {
  NEED_ROOT();
  const Nobody nobody;
  const auto refusal_of = [&nobody](const Json& more) {
    Json config = nobody.config("poor");
    config.update(more, true);
    const CommandResult refused = nobody.vmrig({"start", nobody.write_config(config)});
    REQUIRE(refused.status == 3);
    return refused.err;
  };
  CHECK(has(refusal_of({{"machine", {{"accel", "kvm"}}}}), "/dev/kvm does not open"));
  CHECK(has(refusal_of({{"nics", {{{"id", "n"}, {"type", "tap"}, {"bridge", "br0"}}}}}),
            "without CAP_NET_ADMIN"));
  CHECK(has(
      refusal_of(
          {{"memory",
            {{"size", "2GiB"}, {"hugepages", "2MiB"}, {"backing", "memfd"}, {"reserve", true}}}}),
      "only root can add pages"));
  CHECK(has(refusal_of({{"memory", {{"lock", true}, {"size", "64MiB"}}}}), "memory.lock"));
  CHECK(has(refusal_of({{"limits", {{"cpu_weight", 50}}}}), "run vmrig as root"));
  CHECK(has(refusal_of({{"cpu", {{"scheduler", {{"policy", "fifo"}, {"priority", 1}}}}}}),
            "cpu.scheduler"));
  CHECK(has(refusal_of({{"security", {{"user", "root"}}}}), "only root can run QEMU as \"root\""));
  const std::string theirs = private_file(nobody.guard().folder() / "theirs.img", "x");
  CHECK(has(refusal_of({{"disks", {{{"id", "d"}, {"path", theirs}, {"format", "raw"}}}}}),
            "can't be read: Permission denied"));
  CHECK(nobody.guard().nothing_left());
}

TEST_CASE("sockets refuse other users, even when somebody has opened the folder to them") {
  NEED_ROOT();
  const Nobody nobody;
  const VmGuard& guard = nobody.guard();
  REQUIRE(guard.vmrig({"start", guard.write_config(guard.config("guarded"))}).status == 0);
  const std::string folder = guard.state_dir() + "/guarded";
  for (const auto& entry : fs::directory_iterator(folder)) {
    struct stat status {};
    REQUIRE(::lstat(entry.path().c_str(), &status) == 0);
    CHECK_MESSAGE((status.st_mode & 077) == 0, entry.path());
    CHECK(status.st_uid == ::geteuid());
  }
  // As the user's own state folder would be, with the sockets of root's VM in it.
  REQUIRE(::chmod(guard.state_dir().c_str(), 0777) == 0);
  REQUIRE(::chmod(folder.c_str(), 0777) == 0);
  for (const char* socket : {"/qmp.sock", "/console.sock"}) {
    REQUIRE(::chmod((folder + socket).c_str(), 0777) == 0);
    CommandRequest connect;
    const std::string id = std::to_string(Nobody::kUid);
    // Prints what comes until the other side ends.
    const std::string program = fmt::format(
        "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('{}')\ns.settimeout(20)\n"
        "s.sendall(b'x')\nprint('got', s.recv(100))",
        folder + socket);
    connect.argv = {"setpriv",        "--reuid=" + id,    "--regid=" + id,
                    "--clear-groups", "/usr/bin/python3", "-c",
                    program};
    const CommandResult answer = run_command(connect);
    const bool is_refused = contains(answer.out, "got b''") ||
                            contains(answer.err, "BrokenPipeError") ||
                            contains(answer.err, "ConnectionResetError");
    CHECK_MESSAGE(is_refused, answer.out << answer.err);
  }
  CHECK(has(read_text(folder + "/vmrig.log"), "refused"));
  const CommandResult commanded = nobody.vmrig(guard.state_dir(), {"stop", "guarded"});
  CHECK(commanded.status == 1);
  CHECK(has(commanded.err, "it belongs to user 0"));
  REQUIRE(::chmod(guard.state_dir().c_str(), 0700) == 0);
  CHECK(guard.vmrig({"stop", "guarded", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("root undoes nothing on the word of another user's journal") {
  NEED_ROOT();
  const Nobody nobody;
  const std::string vm = nobody.state_dir() + "/forged";
  fs::create_directories(vm);
  const std::string victim = private_file(nobody.guard().folder() / "victim", "");
  // A record as vmrig would have written it: to undo it makes root's file the user's.
  const std::string journal = vm + "/journal";
  {
    OldState old;
    old.access = {.path = victim, .by = AccessOldState::By::kOwner, .owner = Nobody::kUid};
    Journal forged(journal, {.boot_id = read_boot_id(), .pid = 1, .start_time = 1});
    forged.done(forged.intent(GrantAccess{.path = victim, .uid = 0}, old));
  }
  for (const std::string& path : {nobody.state_dir(), vm, journal}) {
    REQUIRE(::chown(path.c_str(), Nobody::kUid, Nobody::kUid) == 0);
    REQUIRE(::chmod(path.c_str(), path == journal ? 0600 : 0700) == 0);
  }
  const CommandResult stopped =
      run_command({.argv = {vmrig_program(), "--state-dir", nobody.state_dir(), "stop", "forged"},
                   .environment = nobody.guard().environment(),
                   .input = {}});
  CHECK(stopped.status == 1);
  CHECK(has(stopped.err, fmt::format("it belongs to user {}", Nobody::kUid)));
  CHECK(fs::exists(journal));
  CHECK(rights_of(victim).starts_with("0 0 "));
}

TEST_CASE("a state folder whose name is any bytes works") {
  NEED_ROOT();
  const VmGuard guard;
  const std::string state_dir = guard.folder() / "a b\n\"\xff,=";
  const auto vmrig = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {vmrig_program(), "--state-dir", state_dir});
    return run_command({.argv = std::move(words), .environment = guard.environment(), .input = {}});
  };
  const CommandResult started = vmrig({"start", guard.write_config(guard.config("bytes"))});
  REQUIRE_MESSAGE(started.status == 0, started.err);
  for (const std::vector<std::string>& words : {std::vector<std::string>{"status", "bytes"},
                                                {"status", "bytes", "--json"},
                                                {"list", "--json"},
                                                {"logs", "bytes"},
                                                {"qmp", "bytes", "query-status"},
                                                {"verify", "bytes", "--seconds", "0"}}) {
    const CommandResult result = vmrig(words);
    CHECK_MESSAGE(result.status == 0, words.front() << ": " << result.err);
    CHECK_MESSAGE(result.out.find("b\n\"") == std::string::npos, result.out);
  }
  CHECK(vmrig({"stop", "bytes", "--force"}).status == 0);
  CHECK(eventually([&] { return guard.processes().empty(); }));
}

}  // namespace
