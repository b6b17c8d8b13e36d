// Files for other users' programs.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "hostcfg/base/error.hpp"
#include "hostcfg/files.hpp"
#include "hostcfg/public_file.hpp"
#include "hostcfg_support.hpp"

using namespace vmrig;
using vmrig::test::TemporaryFolder;

namespace {

std::size_t count_files(const std::string& folder) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    (void)entry;
    ++count;
  }
  return count;
}

TEST_CASE("a public file is replaced whole, readable by all whatever the umask") {
  const TemporaryFolder folder;
  const std::string path = folder / "vmrig.prom";
  const mode_t before = ::umask(0077);
  replace_public_file(path, "old\n");
  replace_public_file(path, "new\n");
  ::umask(before);
  CHECK(read_small_file(path, 100) == "new\n");
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0644);
  CHECK(count_files(folder.path()) == 1);
}

TEST_CASE("a symlink in the place of a public file is replaced, not followed") {
  const TemporaryFolder folder;
  std::ofstream(folder / "precious") << "precious";
  std::filesystem::create_symlink(folder / "precious", folder / "vmrig.prom");
  replace_public_file(folder / "vmrig.prom", "new\n");
  CHECK(read_small_file(folder / "precious", 100) == "precious");
  CHECK_FALSE(std::filesystem::is_symlink(folder / "vmrig.prom"));
}

TEST_CASE("a public file that can't be written is named, and leaves nothing behind") {
  const TemporaryFolder folder;
  try {
    replace_public_file(folder / "absent/vmrig.prom", "x");
    FAIL("it was written");
  } catch (const Error& error) {
    CHECK(error.parts().object == folder / "absent/vmrig.prom");
  }
  // A folder in its place: the rename fails, after all has been written.
  std::filesystem::create_directory(folder / "taken");
  CHECK_THROWS_AS(replace_public_file(folder / "taken", "x"), Error);
  CHECK(count_files(folder.path()) == 1);
}

}  // namespace
