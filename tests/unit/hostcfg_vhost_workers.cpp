// Which threads move a VM's packets.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <string>
#include <vector>

#include "hostcfg/vhost_workers.hpp"
#include "hostcfg_support.hpp"

using namespace vmrig;

namespace {

constexpr pid_t kQemu = 4000;

void add_process(test::FakeRoot& root, pid_t pid, const std::string& name, pid_t parent) {
  root.write(fmt::format("proc/{}/comm", pid), name + "\n");
  root.write(fmt::format("proc/{}/stat", pid),
             fmt::format("{} ({}) S {} 0 0 0 -1\n", pid, name, parent));
}

void add_thread(test::FakeRoot& root, pid_t tid, const std::string& name) {
  root.write(fmt::format("proc/{}/task/{}/comm", kQemu, tid), name + "\n");
}

std::vector<pid_t> workers_of(const test::FakeRoot& root) {
  const auto reader = FolderReader::open(root.path());
  REQUIRE(reader);
  return vhost_workers(*reader, kQemu);
}

}  // namespace

TEST_CASE("vhost workers are QEMU's own threads on new kernels") {
  test::FakeRoot root;
  add_process(root, kQemu, "vhost-a", 1);
  add_thread(root, kQemu, "vhost-a");
  add_thread(root, 4003, "vhost-4000");
  add_thread(root, 4001, "CPU 0/KVM");
  add_thread(root, 4002, "vhost-4000");
  CHECK(workers_of(root) == std::vector<pid_t>{4002, 4003});
}

TEST_CASE("vhost workers are kernel threads with QEMU's pid in their name on old ones") {
  test::FakeRoot root;
  add_process(root, kQemu, "qemu-system-x86", 1);
  add_thread(root, kQemu, "qemu-system-x86");
  add_process(root, 4010, "vhost-4000", 2);
  add_process(root, 4011, "vhost-4000", 2);
  add_process(root, 4012, "vhost-40001", 2);   // another QEMU's
  add_process(root, 4013, "vhost-4000", 900);  // a program that calls itself so
  add_process(root, 4014, "a) R 2 (b", 2);
  CHECK(workers_of(root) == std::vector<pid_t>{4010, 4011});
  CHECK(vhost_workers(*FolderReader::open(root.path()), 77).empty());
}
