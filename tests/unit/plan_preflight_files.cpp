// What a plan refuses about images, other files and ports before anything is touched.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <string>

#include "tests/support/plan_inputs.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

bool has(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE("missing: " << part << "\nin: " << text);
  return found;
}

PathFacts file(std::string magic = {}) {
  PathFacts facts;
  facts.type = PathFacts::Type::kFile;
  facts.readable = true;
  facts.writable = true;
  facts.magic_format = std::move(magic);
  return facts;
}

PathFacts folder() {
  PathFacts facts = file();
  facts.type = PathFacts::Type::kDirectory;
  return facts;
}

std::string with_disk(const std::string& more = {}, const std::string& path = "/i/a.img") {
  return fmt::format(R"({{"name": "d", "memory": {{"size": "64MiB"}},
      "disks": [{{"id": "disk0", "path": "{}"{}}}]}})",
                     path, more);
}

std::string problems(const std::string& config, HostFacts facts, std::vector<Lease> leases = {}) {
  return problems_of(plan_of(config.c_str(), facts, std::move(leases)));
}

HostFacts with_image(const PathFacts& image, const std::string& path = "/i/a.img") {
  HostFacts facts = recorded_facts("vm-2cpu");
  facts.paths[path] = image;
  return facts;
}

// An overlay over one image.
HostFacts with_chain(const PathFacts& base) {
  PathFacts top = file("qcow2");
  top.backing = "/i/base.img";
  HostFacts facts = with_image(top, "/i/a.qcow2");
  facts.paths["/i/base.img"] = base;
  return facts;
}

std::string with_nic(const std::string& nic) {
  return R"({"name": "n", "memory": {"size": "64MiB"}, "nics": [)" + nic + "]}";
}

constexpr const char* kForward =
    R"({"id": "n0", "type": "user", "forward": ["tcp:127.0.0.1:2222-:22"]})";

std::string port_findings(const Listener& held, const std::string& nic = kForward) {
  HostFacts facts = recorded_facts("vm-2cpu");
  facts.listeners = {held};
  const Plan plan = plan_of(with_nic(nic).c_str(), facts);
  std::string text = problems_of(plan);
  for (const Diagnostic& found : plan.preflight) {
    if (found.severity == Severity::kWarning && found.path.starts_with("nics")) {
      text += "warning " + found.path + ": " + found.message;
    }
  }
  return text;
}

}  // namespace

TEST_CASE("an image that another process has open is busy, by what each of the two does to it") {
  PathFacts image = file();
  image.locks = {.written = true, .no_writer = true, .holder = "qemu-system-x86 (pid 42)"};
  const std::string busy = "6 disks[0].path: \"/i/a.img\" is in use by qemu-system-x86 (pid 42)";
  CHECK(has(problems(with_disk(), with_image(image)), busy + " | end it"));
  CHECK(has(problems(with_disk(R"(, "readonly": true)"), with_image(image)), busy));
  image.locks = {.no_writer = true};  // a reader
  CHECK(has(problems(with_disk(), with_image(image)),
            "\"/i/a.img\" is in use by another process | \"readonly\": true, or end it"));
  CHECK(problems(with_disk(R"(, "readonly": true)"), with_image(image)).empty());
  image.locks = {.no_reader = true};
  CHECK_FALSE(problems(with_disk(R"(, "readonly": true)"), with_image(image)).empty());
  // Where it is a VM of vmrig's, that one is named, and no more.
  Lease other;
  other.vm = "db";
  other.written_disks = {"/i/a.img"};
  image.locks = {.written = true};
  const std::string held = problems(with_disk(), with_image(image), {other});
  CHECK(has(held, "is in use by VM \"db\""));
  CHECK(held.find("another process") == std::string::npos);
}

TEST_CASE("a cache mode that the file system can't do is refused with one that it can") {
  PathFacts image = file();
  image.direct = false;
  CHECK(problems(with_disk(), with_image(image)).empty());
  CHECK(
      has(problems(with_disk(R"(, "cache": "none")"), with_image(image)),
          "2 disks[0].cache: the file system of \"/i/a.img\" has no O_DIRECT, which \"none\" needs "
          "| \"cache\": \"writeback\""));
  CHECK(has(problems(with_disk(R"(, "cache": "directsync")"), with_image(image)),
            "\"cache\": \"writethrough\""));
}

TEST_CASE("images below an image have to be there, readable, and written by nobody") {
  const std::string config = with_disk({}, "/i/a.qcow2");
  CHECK(problems(config, with_chain(file())).empty());
  CHECK(
      has(problems(config, with_chain(PathFacts())),
          "2 disks[0].path: \"/i/base.img\" is the backing file of \"/i/a.qcow2\": no such file | "
          "qemu-img rebase -u -b OTHER /i/a.qcow2"));
  PathFacts base = file();
  base.readable = false;
  base.error = "Permission denied";
  CHECK(has(problems(config, with_chain(base)),
            "3 disks[0].path: \"/i/base.img\", the backing file "
            "of \"/i/a.qcow2\", can't be read: Permission"));
  base = file();
  base.locks = {.no_writer = true};  // of another overlay
  CHECK(problems(config, with_chain(base)).empty());
  base.locks = {.written = true};
  CHECK(has(problems(config, with_chain(base)), "is in use by another process"));
  Lease other;
  other.vm = "db";
  other.written_disks = {"/i/base.img"};
  CHECK(has(problems(config, with_chain(file()), {other}),
            "is written by VM \"db\" | vmrig stop db"));
  base = file("qcow2");
  base.backing = "/i/a.qcow2";
  CHECK(has(problems(config, with_chain(base)), "lies below itself"));
  PathFacts apart = file("qcow2");
  apart.data_file = "/i/data.raw";
  HostFacts facts = with_image(apart, "/i/a.qcow2");
  facts.paths["/i/data.raw"] = PathFacts();
  CHECK(has(problems(config, facts), "\"/i/data.raw\" is the data file of \"/i/a.qcow2\""));
}

TEST_CASE("a corrupt image is not started on, but may be looked at") {
  PathFacts image = file("qcow2");
  image.corrupt = true;
  CHECK(
      has(problems(with_disk({}, "/i/a.qcow2"), with_image(image, "/i/a.qcow2")),
          "3 disks[0].path: \"/i/a.qcow2\" is marked corrupt | qemu-img check -r all /i/a.qcow2"));
  CHECK(problems(with_disk(R"(, "readonly": true)", "/i/a.qcow2"), with_image(image, "/i/a.qcow2"))
            .empty());
}

TEST_CASE("a serial port's file has to have a folder that takes it") {
  const std::string config = R"({"name": "s", "memory": {"size": "64MiB"},
      "serial": [{"id": "s0", "type": "file", "path": "/log/s0"}]})";
  const auto with = [&config](const PathFacts& log, const PathFacts& parent) {
    HostFacts facts = recorded_facts("vm-2cpu");
    facts.paths["/log/s0"] = log;
    facts.paths["/log"] = parent;
    return problems(config, facts);
  };
  CHECK(with(PathFacts(), folder()).empty());
  CHECK(with(file(), folder()).empty());
  CHECK(has(with(PathFacts(), PathFacts()),
            "2 serial[0].path: there is no folder \"/log\" | mkdir -p /log"));
  PathFacts closed = folder();
  closed.writable = false;
  CHECK(has(with(PathFacts(), closed), "3 serial[0].path: no file can be made in \"/log\""));
  PathFacts fixed = file();
  fixed.writable = false;
  CHECK(has(with(fixed, folder()), "3 serial[0].path: \"/log/s0\" can't be written"));
  CHECK(has(with(folder(), folder()), "2 serial[0].path: \"/log/s0\" is a folder"));
}

TEST_CASE("an option ROM has to be a file that can be read") {
  const std::string config = R"({"name": "v", "memory": {"size": "64MiB"},
      "vfio": [{"id": "v0", "host": "0000:01:00.0", "romfile": "/r.rom"}]})";
  HostFacts facts = recorded_facts("vm-2cpu");
  facts.paths["/r.rom"] = PathFacts();
  CHECK(has(problems(config, facts), "2 vfio[0].romfile: \"/r.rom\": no such file"));
  facts.paths["/r.rom"] = folder();
  CHECK(has(problems(config, facts), "2 vfio[0].romfile: \"/r.rom\": it is no file"));
  facts.paths["/r.rom"] = file();
  CHECK(problems(config, facts).find("romfile") == std::string::npos);
}

TEST_CASE("a path that no socket can have is refused by its length") {
  const std::string nic = R"({"id": "n0", "type": "vhost-user", "socket": ")";
  const std::string fits = "/" + std::string(106, 's');
  const HostFacts facts = recorded_facts("vm-2cpu");
  CHECK(problems(with_nic(nic + fits + "\"}"), facts).find("bytes") == std::string::npos);
  CHECK(has(problems(with_nic(nic + fits + "s\"}"), facts),
            "has 108 bytes, and a socket's path 107 at most"));
}

TEST_CASE("a port that another process listens on is busy") {
  using Protocol = Listener::Protocol;
  CHECK(has(port_findings({.protocol = Protocol::kTcp, .address = "127.0.0.1", .port = 2222}),
            "6 nics[0].forward[0]: TCP 127.0.0.1:2222 is in use | ss -ltnp sport = :2222"));
  CHECK(has(port_findings({.protocol = Protocol::kTcp, .address = "0.0.0.0", .port = 2222}),
            "TCP 127.0.0.1:2222 is in use"));
  CHECK(has(port_findings({.protocol = Protocol::kTcp, .address = "::", .port = 2222}),
            "warning nics[0].forward[0]: TCP 127.0.0.1:2222 is in use for IPv6"));
  CHECK(port_findings({.protocol = Protocol::kTcp, .address = "127.0.0.2", .port = 2222}).empty());
  CHECK(port_findings({.protocol = Protocol::kTcp, .address = "::1", .port = 2222}).empty());
  CHECK(port_findings({.protocol = Protocol::kUdp, .address = "127.0.0.1", .port = 2222}).empty());
  CHECK(port_findings({.protocol = Protocol::kTcp, .address = "127.0.0.1", .port = 2223}).empty());
  CHECK(has(port_findings({.protocol = Protocol::kUdp, .address = "10.0.0.1", .port = 53},
                          R"({"id": "n0", "type": "user", "forward": ["udp::53-:53"]})"),
            "UDP 0.0.0.0:53 is in use | ss -lunp sport = :53"));
}

TEST_CASE("two forwards of one config can't have the same port") {
  const std::string two =
      std::string(kForward) +
      R"(, {"id": "n1", "type": "user", "forward": ["udp::2222-:22", "tcp::2222-:23"]})";
  CHECK(has(problems(with_nic(two), recorded_facts("vm-2cpu")),
            "2 nics[1].forward[1]: TCP 0.0.0.0:2222 is that of nics[0].forward[0] already"));
}
