// A journal whose disk is full, and what is undone then.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "hostcfg/base/error.hpp"
#include "hostcfg/files.hpp"
#include "hostcfg/host_lease.hpp"
#include "hostcfg_support.hpp"
#include "tests/unit/fake_memory.hpp"
#include "tests/unit/file_size_limit.hpp"
#include "tests/unit/plain_host.hpp"

using namespace vmrig;
using testing::FileSizeLimit;
using testing::PlainHost;

namespace {

constexpr std::size_t kLimit = 1 << 20;
const JournalOwner kOwner{"boot-1", 4242, 99};
const Bytes kPage = Bytes::mib(2);
const ReservePages kPages{.node = 0, .page_size = kPage, .pages = 8};
const MountHugetlbfs kMount{.path = "/mnt", .page_size = kPage};

std::uint64_t size_of(const std::string& path) { return std::filesystem::file_size(path); }

PlainHost host_with_pool() {
  PlainHost host;
  host.pools.pools[{0, kPage}] = PagePool{.total = 2, .surplus = 0, .free = 2};
  return host;
}

std::uint64_t pages_of(PlainHost& host) { return host.pools.pool(0, kPage)->total; }

}  // namespace

TEST_CASE(
    "a record that is cut off by a full disk leaves the journal as it was, and the next is read") {
  const test::TemporaryFolder folder;
  const std::string path = folder / "journal";
  Journal journal(path, kOwner);
  journal.done(journal.intent(kMount, {}));
  const std::string before = read_small_file(path, kLimit);
  for (const std::size_t room : {std::size_t{0}, std::size_t{1}, std::size_t{40}}) {
    CAPTURE(room);
    const FileSizeLimit full(before.size() + room);
    CHECK_THROWS_AS((void)journal.intent(kPages, {}), Error);
    CHECK_THROWS_AS(journal.undone(1), Error);
    CHECK(read_small_file(path, kLimit) == before);
    CHECK(journal.content().open().size() == 1);
  }
  CHECK(journal.intent(kPages, {}) == 2);
  journal.undone(1);
  const auto content = read_journal(path);
  REQUIRE(content);
  CHECK(content->problems.empty());
  REQUIRE(content->open().size() == 1);
  CHECK(content->open().front()->action == HostAction(kPages));
}

TEST_CASE("an action that can't be journaled is not done") {
  const test::TemporaryFolder folder;
  PlainHost host = host_with_pool();
  HostLease lease(host, folder / "journal", kOwner);
  {
    const FileSizeLimit full(size_of(folder / "journal") + 10);
    CHECK_THROWS_AS(lease.apply(kMount), Error);
  }
  CHECK(host.pools.mounts.empty());
  CHECK(lease.held().empty());
  lease.apply(kMount);
  CHECK(host.pools.mounts.size() == 1);
}

TEST_CASE(
    "a full disk keeps nothing from being put back but pages, of which a second undo takes "
    "others'") {
  for (const bool by_recovery : {false, true}) {
    CAPTURE(by_recovery);
    const test::TemporaryFolder folder;
    const std::string path = folder / "journal";
    PlainHost host = host_with_pool();
    HostLease lease(host, path, kOwner);
    lease.apply(kMount);
    lease.apply(kPages);
    const auto undo = [&] {
      return by_recovery ? recover_journal(host, path, {"boot-1", 5, 5}) : lease.undo();
    };
    {
      const FileSizeLimit full(size_of(path));
      const UndoReport report = undo();
      CHECK(host.pools.mounts.empty());
      CHECK(pages_of(host) == 10);
      CHECK_FALSE(report.complete());
      REQUIRE(report.problems.size() == 1);  // of two records, one word
      CHECK(report.problems.front().find("write the journal") != std::string::npos);
      CHECK(undo().lines.size() == 2);
      CHECK(pages_of(host) == 10);
    }
    CHECK(undo().complete());
    CHECK(pages_of(host) == 2);
    CHECK(undo().lines.empty());
  }
}

TEST_CASE("the room for an action's end is got before it is done") {
  const test::TemporaryFolder folder;
  const std::string path = folder / "journal";
  Journal journal(path, kOwner);
  (void)journal.intent(kMount, {});
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  // A file system without fallocate() promises nothing.
  if (status.st_blocks * 512 < 8192) return;
  CHECK(status.st_blocks * 512 > status.st_size + 4096);
}
