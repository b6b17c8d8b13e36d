// Bad input: a clear error with its mend and status; nothing started, nothing left.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

namespace {

using namespace vmrig;
using namespace vmrig::testing;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// `start` and `run` are refused with this status and these words.
void check_refused(const VmGuard& guard, const std::string& config_path, int status,
                   const std::vector<std::string>& words) {
  for (const std::string command : {"start", "run"}) {
    CAPTURE(command);
    const CommandResult result = guard.vmrig({command, config_path});
    INFO(result.err);
    CHECK(result.status == status);
    CHECK(result.err.starts_with("vmrig: "));
    for (const std::string& word : words) CHECK_MESSAGE(contains(result.err, word), word);
    CHECK(result.out.empty());
    CHECK_FALSE(result.timed_out);
  }
  CHECK(guard.processes().empty());
  CHECK(guard.remains().empty());
}

void check_refused(const VmGuard& guard, const Json& config, int status,
                   const std::vector<std::string>& words) {
  check_refused(guard, guard.write_config(config, "bad.json"), status, words);
}

std::string make_raw_disk(const VmGuard& guard, const std::string& name) {
  const std::string path = guard.folder() / name;
  write_text(path, "");
  std::filesystem::resize_file(path, 1 << 20);
  return path;
}

Json with_disk(Json config, const std::string& path) {
  config["disks"] = Json::array({{{"id", "disk0"}, {"path", path}, {"format", "raw"}}});
  return config;
}

TEST_CASE("a missing config is refused by its name") {
  const VmGuard guard;
  check_refused(guard, guard.folder() / "absent.json", 2, {"absent.json", "No such file"});
}

TEST_CASE("a config that may not be read is refused") {
  const VmGuard guard;
  const std::string path = guard.write_config(guard.config("x"));
  ::chmod(path.c_str(), 0);
  CommandRequest plan = guard.request({"plan", path});
  if (::geteuid() == 0) {  // root may read everything
    const std::vector<std::string> as_nobody = {"setpriv", "--reuid=65534", "--regid=65534",
                                                "--clear-groups"};
    plan.argv.insert(plan.argv.begin(), as_nobody.begin(), as_nobody.end());
  }
  const CommandResult result = run_command(plan);
  CHECK(result.status == 2);
  CHECK_MESSAGE(result.err.starts_with("vmrig: "), result.err);
  CHECK_MESSAGE(contains(result.err, "Permission denied"), result.err);
}

TEST_CASE("a folder in place of a config is refused") {
  const VmGuard guard;
  check_refused(guard, guard.folder().path(), 2, {"Is a directory"});
}

TEST_CASE("an empty config is refused") {
  const VmGuard guard;
  const std::string path = guard.folder() / "empty.json";
  write_text(path, "");
  check_refused(guard, path, 2, {"empty.json"});
}

TEST_CASE("binary junk is refused with the line, and does not reach the terminal") {
  const VmGuard guard;
  std::string junk = "{\"name\": \"x\x1b[2J\xff\xfe\x9b";
  for (int i = 0; i < 256; ++i) junk += static_cast<char>(i);
  const std::string path = guard.folder() / "junk.json";
  write_text(path, junk);
  check_refused(guard, path, 2, {"junk.json:1"});
  CHECK_FALSE(contains(guard.vmrig({"plan", path}).err, "\x1b"));
}

TEST_CASE("a hundred megabytes of brackets are refused at once") {
  const VmGuard guard;
  const std::string path = guard.folder() / "brackets.json";
  write_text(path, std::string(std::size_t{100} << 20, '['));
  const CommandResult result = guard.vmrig({"plan", path});
  CHECK(result.status == 2);
  CHECK(contains(result.err, "brackets.json"));
  CHECK(result.err.size() < 1000);
  CHECK(result.took < std::chrono::seconds(5));
  write_text(path, std::string(std::size_t{3} << 20, '['));  // small enough to be read
  check_refused(guard, path, 2, {"brackets.json"});
}

TEST_CASE("an endless config is refused") {
  const VmGuard guard;
  check_refused(guard, std::string("/dev/zero"), 2, {"/dev/zero"});
}

TEST_CASE("all faults of a config are told at once, with the nearest key") {
  const VmGuard guard;
  Json config = guard.config("many");
  config["memory"] = {{"sise", "64MiB"}, {"hugepage", "2MiB"}};
  config["cpu"] = {{"vcpus", -1}};
  check_refused(guard, config, 2, {"memory.sise", "hugepages", "cpu.vcpus", "bad.json:"});
}

TEST_CASE("names that are no folder's name are refused") {
  const VmGuard guard;
  for (const std::string& name :
       {std::string("a/b"), std::string("a\0b", 3), std::string("a\nb"), std::string(300, 'a'),
        std::string(".."), std::string("-x"), std::string()}) {
    CAPTURE(name);
    Json config = guard.config("x");
    config["name"] = name;
    check_refused(guard, config, 2, {"name"});
    // The commands that take a NAME don't look for such a folder either.
    if (name.find('\0') != std::string::npos) continue;
    const CommandResult stop = guard.vmrig({"stop", "--", name});
    CHECK(stop.status == 5);
  }
}

TEST_CASE("a missing disk is refused by its path") {
  const VmGuard guard;
  const std::string path = guard.folder() / "absent.img";
  check_refused(guard, with_disk(guard.config("x"), path), 2, {"disks[0].path", "absent.img"});
}

TEST_CASE("a disk that another VM writes is refused by that VM's name") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  const std::string disk = make_raw_disk(guard, "shared.img");
  const Json first = with_disk(guard.config("first"), disk);
  REQUIRE(guard.vmrig({"start", guard.write_config(first)}).status == 0);
  const std::string second = guard.write_config(with_disk(guard.config("second"), disk));
  for (const std::string command : {"start", "run", "plan"}) {
    CAPTURE(command);
    const CommandResult result = guard.vmrig({command, second});
    CHECK(result.status == 6);
    CHECK(contains(result.err + result.out, "first"));
  }
  CHECK(guard.qemus().size() == 1);
  CHECK(guard.remains() == std::vector<std::string>{"first"});

  // One that vmrig does not know of is found by QEMU's own lock of the image.
  const VmGuard other;
  const CommandResult locked = other.vmrig({"start", second});
  INFO(locked.err);
  CHECK(locked.status == 6);
  CHECK(contains(locked.err, "is in use by"));
  CHECK(other.nothing_left());
  CHECK(guard.vmrig({"stop", "first", "--force"}).status == 0);
  CHECK(guard.nothing_left());
}

TEST_CASE("a QEMU that is missing, not executable or no QEMU is refused") {
  const VmGuard guard;
  Json config = guard.config("x");
  config["qemu"] = guard.folder() / "absent-qemu";
  check_refused(guard, config, 3, {"absent-qemu"});

  config["qemu"] = "no-such-qemu-in-path";
  check_refused(guard, config, 3, {"no-such-qemu-in-path"});

  const std::string plain = guard.folder() / "plain";
  write_text(plain, "no program");
  config["qemu"] = plain;
  check_refused(guard, config, 3, {"plain"});

  config["qemu"] = "/bin/true";
  check_refused(guard, config, 4, {"/bin/true"});

  const std::string talks = guard.folder() / "talks";
  write_text(talks, "#!/bin/sh\necho 'words of its own' >&2\nexit 7\n");
  ::chmod(talks.c_str(), 0700);
  config["qemu"] = talks;
  check_refused(guard, config, 4, {"words of its own"});
}

TEST_CASE("an option that QEMU refuses is told in QEMU's own words") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  Json config = guard.config("x");
  config["qemu_args"] = {"-device", "no-such-device"};
  check_refused(guard, config, 4, {"no-such-device"});
}

TEST_CASE("KVM asked for and absent is refused with the reason") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  Json config = guard.config("x");
  config["machine"]["accel"] = "kvm";
  const std::string path = guard.write_config(config);
  const std::string facts = source_folder() + "/tests/data/facts/no-kvm.json";
  const CommandResult planned = guard.vmrig({"plan", path, "--facts", facts});
  CHECK(planned.status == 3);
  CHECK(contains(planned.out, "/dev/kvm"));

  // The same for a real start, where /dev/kvm can be hidden.
  const std::string plain = guard.folder() / "plain";
  write_text(plain, "");
  CommandRequest hidden = guard.request({"start", path});
  const std::vector<std::string> words = hidden.argv;
  hidden.argv = {"unshare", "--mount", "sh", "-c", "mount --bind \"$0\" /dev/kvm && exec \"$@\"",
                 plain};
  hidden.argv.insert(hidden.argv.end(), words.begin(), words.end());
  const CommandResult mounted = run_command(
      {.argv = {"unshare", "--mount", "sh", "-c", "mount --bind \"$0\" /dev/kvm", plain},
       .environment = {},
       .input = {}});
  if (mounted.status != 0) SKIP_TEST("/dev/kvm can't be hidden: " + mounted.err);
  const CommandResult started = run_command(hidden);
  INFO(started.err);
  CHECK(started.status == 3);
  CHECK(contains(started.err, "/dev/kvm"));
  CHECK(guard.nothing_left());
}

TEST_CASE("more vCPUs than the machine can have are refused") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  Json config = guard.config("x");
  config["cpu"] = {{"vcpus", 4}, {"max_vcpus", 2}};
  check_refused(guard, config, 2, {"cpu.", "max_vcpus"});
  config["cpu"] = {{"vcpus", 1000}};  // what this QEMU's machine can have is no fault of the config
  check_refused(guard, config, 3, {"cpu.vcpus", "at most"});
}

TEST_CASE("a pin to a CPU that is not there is refused") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  Json config = guard.config("x");
  config["cpu"] = {{"vcpus", 1}, {"pin", {"8000"}}};
  check_refused(guard, config, 3, {"cpu.pin", "8000"});
}

TEST_CASE("a shortage of hugepages is refused with the numbers and the mend") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  Json config = guard.config("x");
  config["memory"] = {{"size", "512GiB"}, {"hugepages", "2MiB"}};
  check_refused(guard, config, 3, {"memory.", "2MiB", "mend: "});
}

TEST_CASE("a path with commas, spaces, quotes and newlines works") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  const std::string disk = make_raw_disk(guard, "a,,b= \"c' d\ne,file=x\\.img");
  const std::string path = guard.write_config(with_disk(guard.config("odd"), disk));
  const CommandResult started = guard.vmrig({"start", path});
  REQUIRE_MESSAGE(started.status == 0, started.err);
  const Json blocks = guard.vmrig_json({"qmp", "odd", "query-named-block-nodes"});
  REQUIRE(blocks.is_array());
  bool found = false;
  for (const Json& node : blocks) found = found || node.at("file") == Json(disk);
  CHECK(found);
  CHECK(guard.vmrig({"stop", "odd", "--force"}).status == 0);
  CHECK(guard.nothing_left());

  // A shell reads the printed command line back as the very same words.
  const CommandResult line = guard.vmrig({"plan", path, "--argv"});
  REQUIRE(line.status == 0);
  const CommandResult words = run_command(
      {.argv = {"sh", "-c", "printf '%s\\0' " + line.out}, .environment = {}, .input = {}});
  const Json plan = guard.vmrig_json({"plan", path, "--json"});
  std::string expected = plan.at("qemu").at("path").get<std::string>() + '\0';
  for (const Json& argument : plan.at("arguments")) {
    for (const Json& word : argument.at("words")) expected += word.get<std::string>() + '\0';
  }
  CHECK(words.out == expected);
}

TEST_CASE("odd and overlong state folders work or are refused by name") {
  if (system_qemu().empty()) SKIP_TEST("no qemu-system-x86_64");
  const VmGuard guard;
  const std::string path = guard.write_config(guard.config("deep"));
  for (const std::string& part : {std::string("a, b='c'"), std::string(150, 'd')}) {
    CAPTURE(part);
    const std::string state = guard.folder() / part;
    CommandRequest request = guard.request({"start", path, "--state-dir", state});
    request.argv.erase(request.argv.begin() + 1, request.argv.begin() + 3);
    const CommandResult started = run_command(request);
    INFO(started.err);
    REQUIRE(started.status == 0);
    CommandRequest talk = guard.request({"qmp", "deep", "query-status", "--state-dir", state});
    talk.argv.erase(talk.argv.begin() + 1, talk.argv.begin() + 3);
    CHECK(run_command(talk).status == 0);
    CommandRequest stop = guard.request({"stop", "deep", "--force", "--state-dir", state});
    stop.argv.erase(stop.argv.begin() + 1, stop.argv.begin() + 3);
    CHECK(run_command(stop).status == 0);
  }
  CHECK(guard.nothing_left());
}

TEST_CASE("an unset variable of the environment is a fault, a set one can add no structure") {
  const VmGuard guard;
  Json config = guard.config("x");
  config["name"] = "${VMRIG_TEST_UNSET}";
  check_refused(guard, config, 2, {"VMRIG_TEST_UNSET"});
  VmGuard other;
  other.set_environment("VMRIG_TEST_NAME", "a\", \"profile\": \"nfv");
  config["name"] = "${VMRIG_TEST_NAME}";
  check_refused(other, config, 2, {"name"});
}

}  // namespace
