// Where a VM's cgroup can be made, on hosts of each kind.
#include "hostcfg/cgroup_facts.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "hostcfg_support.hpp"

using namespace vmrig;
using vmrig::test::FakeRoot;

namespace {

constexpr const char* kUnified = "30 20 0:26 / /cg rw - cgroup2 cgroup2 rw\n";

// A group's files; the root of a hierarchy is the one without a type.
void add_group(FakeRoot& root, const std::string& folder, bool is_root,
               const std::string& controllers) {
  for (const char* file : {"cgroup.procs", "cgroup.subtree_control"}) {
    root.write(folder + "/" + file, "");
  }
  root.write(folder + "/cgroup.controllers", controllers + "\n");
  if (!is_root) root.write(folder + "/cgroup.type", "domain\n");
}

CgroupFacts facts_of(const FakeRoot& root, const std::string& mountinfo) {
  return read_cgroup_facts(*FolderReader::open(root.path()), parse_mountinfo(mountinfo));
}

}  // namespace

TEST_CASE("in a container the top of what is seen is ours, with what it can hand on") {
  FakeRoot root;
  root.write("proc/self/cgroup", "0::/\n");
  add_group(root, "cg", false, "cpu memory pids");
  const CgroupFacts facts = facts_of(root, kUnified);
  CHECK(facts.base == "/cg");
  CHECK(facts.controllers == std::vector<std::string>{"cpu", "memory", "pids"});
  CHECK(facts.v1_controllers.empty());
}

TEST_CASE("a process that an earlier VM has put aside belongs to the group above") {
  FakeRoot root;
  root.write("proc/self/cgroup", "0::/vmrig-host\n");
  add_group(root, "cg", false, "pids");
  add_group(root, "cg/vmrig-host", false, "");
  CHECK(facts_of(root, kUnified).base == "/cg");
}

TEST_CASE("root in a shell, whose group is its session manager's, makes its own at the root") {
  if (::geteuid() != 0) return;
  FakeRoot root;
  root.write("proc/self/cgroup", "0::/user.slice/session-1.scope\n");
  add_group(root, "cg", true, "cpu io memory pids");
  add_group(root, "cg/user.slice/session-1.scope", false, "memory");
  const CgroupFacts facts = facts_of(root, kUnified);
  CHECK(facts.base == "/cg");
  CHECK(facts.controllers.size() == 4);
}

TEST_CASE("on a hybrid host v1 has what v2 lacks, and on one without v2 there is nothing") {
  FakeRoot root;
  root.write("proc/self/cgroup", "4:memory:/\n2:cpu,cpuacct:/\n9:name=systemd:/\n0::/\n");
  add_group(root, "cg/unified", true, "hugetlb");
  const std::string v1 =
      "31 20 0:27 / /cg/memory rw - cgroup cgroup rw,memory\n"
      "32 20 0:28 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
      "33 20 0:29 / /cg/systemd rw - cgroup cgroup rw,name=systemd\n";
  const CgroupFacts hybrid = facts_of(root, v1 + "34 20 0:30 / /cg/unified rw - cgroup2 x rw\n");
  CHECK(hybrid.base == "/cg/unified");
  CHECK(hybrid.controllers == std::vector<std::string>{"hugetlb"});
  CHECK(hybrid.v1_controllers == std::vector<std::string>{"cpu", "cpuacct", "memory"});
  const CgroupFacts old = facts_of(root, v1);
  CHECK(old.mount.empty());
  CHECK(old.base.empty());
  CHECK(old.v1_controllers.size() == 3);
}

TEST_CASE("a hierarchy that can't be written to, or is not there, has no base, and says why") {
  FakeRoot root;
  root.write("proc/self/cgroup", "0::/\n").write("cg/cgroup.procs", "");
  const CgroupFacts facts = facts_of(root, kUnified);
  CHECK(facts.mount == "/cg");
  CHECK(facts.base.empty());
  CHECK_FALSE(facts.why_not.empty());
}
