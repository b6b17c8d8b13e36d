#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>

#include "hostcfg/base/error.hpp"
#include "hostcfg/files.hpp"
#include "hostcfg_support.hpp"

using namespace vmrig;

namespace {

mode_t mode_of(const std::string& path) {
  struct stat status {};
  REQUIRE(::lstat(path.c_str(), &status) == 0);
  return status.st_mode & 07777;
}

}  // namespace

TEST_CASE("a small file is read whole, and one byte above the limit is refused") {
  test::FakeRoot root;
  const std::string content(10000, 'a');
  root.write("file", content).write("empty", "");
  CHECK(read_small_file(root / "file", 10000) == content);
  CHECK(read_small_file(root / "empty", 0).empty());
  CHECK_THROWS_WITH_AS(read_small_file(root / "file", 9999),
                       doctest::Contains("larger than 9999 bytes"), Error);
}

TEST_CASE("a FIFO, a folder and a missing file are refused without waiting") {
  test::FakeRoot root;
  root.fifo("fifo");
  CHECK_THROWS_WITH_AS(read_small_file(root / "fifo", 10), doctest::Contains("not a regular file"),
                       Error);
  CHECK_THROWS_AS(read_small_file(root.path(), 10), Error);
  CHECK_THROWS_AS(read_small_file(root / "absent", 10), Error);
  CHECK_FALSE(read_file_if_exists(root / "absent", 10).has_value());
  CHECK_THROWS_AS(read_file_if_exists(root / "fifo", 10), Error);
}

TEST_CASE("a file is written with mode 0600 in place of the old one, and nothing else stays") {
  test::FakeRoot root;
  root.write("precious", "precious").link("state", "precious");
  write_file_atomically(root / "state", "new");
  CHECK(read_small_file(root / "state", 10) == "new");
  CHECK(mode_of(root / "state") == 0600);
  CHECK(read_small_file(root / "precious", 10) == "precious");  // the symlink was not followed
  CHECK_THROWS_AS(write_file_atomically(root / "absent/state", "x"), Error);
  std::filesystem::create_directory(root / "folder");
  CHECK_THROWS_AS(write_file_atomically(root / "folder", "x"), Error);
  CHECK(list_folder(root.path()) == std::vector<std::string>{"folder", "precious", "state"});
}

TEST_CASE("two writers at once never leave a mixture") {
  test::FakeRoot root;
  const std::string path = root / "state";
  const std::string one(50000, '1');
  const std::string two(70000, '2');
  write_file_atomically(path, one);
  constexpr int kRounds = 50;
  std::atomic<int> running = 2;
  std::atomic<int> faults = 0;
  const auto writer = [&](const std::string& content) {
    try {
      for (int round = 0; round < kRounds; ++round) write_file_atomically(path, content);
    } catch (const Error&) {
      ++faults;
    }
    --running;
  };
  std::thread first(writer, one);
  std::thread second(writer, two);
  int mixtures = 0;
  while (running > 0) {
    const std::string seen = read_small_file(path, 1 << 20);
    mixtures += seen != one && seen != two;
  }
  first.join();
  second.join();
  CHECK(faults == 0);
  CHECK(mixtures == 0);
  CHECK(list_folder(root.path()) == std::vector<std::string>{"state"});
}

TEST_CASE("a private folder is made with mode 0700 and may be there already") {
  test::TemporaryFolder folder;
  const Fd made = ensure_private_folder(folder / "run");
  CHECK(made.get() >= 0);
  CHECK(mode_of(folder / "run") == 0700);
  CHECK_NOTHROW(ensure_private_folder(folder / "run"));
  CHECK_THROWS_AS(ensure_private_folder(folder / "absent/run"), Error);
}

TEST_CASE("a private folder that is a symlink, a file or open to others is refused") {
  test::FakeRoot root;
  root.write("file", "").write("real/x", "").link("link", "real");
  CHECK_THROWS_WITH_AS(ensure_private_folder(root / "link"), doctest::Contains("symlink"), Error);
  CHECK_THROWS_AS(ensure_private_folder(root / "file"), Error);
  REQUIRE(::chmod((root / "real").c_str(), 0750) == 0);
  try {
    ensure_private_folder(root / "real");
    FAIL("it was accepted");
  } catch (const Error& error) {
    CHECK(error.parts().cause == "others have access to it (mode 0750)");
    CHECK(error.parts().mend == "chmod 700 " + (root / "real"));
  }
}

TEST_CASE("a private folder of another user is refused") {
  test::TemporaryFolder folder;
  const std::string path = folder / "foreign";
  ensure_private_folder(path);
  if (::chown(path.c_str(), 65534, 65534) != 0) return;  // only root can give it away
  CHECK_THROWS_WITH_AS(ensure_private_folder(path), doctest::Contains("belongs to user 65534"),
                       Error);
}
