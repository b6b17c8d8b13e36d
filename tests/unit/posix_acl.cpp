// ACLs as bytes, and on this kernel's files.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "hostcfg/access_control.hpp"
#include "hostcfg/base/error.hpp"
#include "hostcfg/posix_acl.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/temp_folder.hpp"

using namespace vmrig;
using vmrig::testing::TempFolder;
using vmrig::testing::write_text;

namespace {

constexpr unsigned kAlice = 1'900'000'001;
constexpr unsigned kBob = 1'900'000'002;
constexpr unsigned kRead = 4;
constexpr unsigned kReadWrite = 6;

unsigned mode_of(const std::string& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 07777;
}

bool has_acl(const std::string& path) {
  return ::getxattr(path.c_str(), kAclAttribute, nullptr, 0) >= 0;
}

}  // namespace

TEST_CASE("an entry comes into an ACL and goes from it, and the file is as it was") {
  const PosixAcl before = PosixAcl::of_mode(0640);
  PosixAcl acl = before;
  CHECK_FALSE(acl.user(kAlice).has_value());
  CHECK(acl.set_user(kAlice, kReadWrite));
  CHECK(acl.user(kAlice) == kReadWrite);
  CHECK(acl.effective(kAlice) == kReadWrite);
  CHECK(PosixAcl::parse(acl.attribute()) == acl);
  CHECK(acl.set_user(kBob, kRead));
  acl.remove_user(kAlice);
  CHECK(acl.user(kBob) == kRead);
  acl.remove_user(kBob);
  CHECK(acl == before);
}

TEST_CASE("an ACL is written in the kernel's order, whoever comes first") {
  PosixAcl one = PosixAcl::of_mode(0600);
  PosixAcl other = one;
  CHECK(one.set_user(kAlice, kRead));
  CHECK(one.set_user(kBob, kRead));
  CHECK(other.set_user(kBob, kRead));
  CHECK(other.set_user(kAlice, kRead));
  CHECK(one.attribute() == other.attribute());
}

TEST_CASE("a mask that holds others back is not widened") {
  // user::rw-, user:bob:rw-, group::r--, mask::r--, other::---
  PosixAcl acl = PosixAcl::of_mode(0640);
  CHECK(acl.set_user(kBob, kReadWrite));
  std::string bytes = acl.attribute();
  const std::size_t mask = 4 + 3 * 8 + 2;
  REQUIRE(bytes[mask] == 6);
  bytes[mask] = 4;
  PosixAcl held = PosixAcl::parse(bytes);
  CHECK(held.effective(kBob) == kRead);
  const PosixAcl before = held;
  CHECK_FALSE(held.set_user(kAlice, kReadWrite));
  CHECK(held == before);
}

TEST_CASE("bytes that are no ACL are refused") {
  for (const std::string& bytes :
       {std::string(), std::string("\2\0\0", 3), std::string("\1\0\0\0", 4),
        std::string("\2\0\0\0\1\0\6\0", 8), std::string("\2\0\0\0\3\0\6\0\0\0\0\0", 12),
        std::string("\2\0\0\0\1\0\11\0\0\0\0\0", 12)}) {
    CHECK_THROWS_AS((void)PosixAcl::parse(bytes), std::invalid_argument);
  }
}

TEST_CASE("access by ACL on this kernel: given, seen, taken back, and the mode is as before") {
  if (::geteuid() != 0) SKIP_TEST("only root names other users");
  const TempFolder folder;
  const std::string file = folder / "node";
  write_text(file, "");
  ::chmod(file.c_str(), 0600);
  LinuxAccess access(Sysfs(), folder / "lock");
  if (!access.read(file, kAlice)->has_acl) SKIP_TEST("no ACLs on this file system");

  access.set_entry(file, kAlice, kReadWrite);
  access.set_entry(file, kBob, kReadWrite);
  CHECK(access.read(file, kAlice)->permissions == kReadWrite);
  CHECK(access.read(file, kBob)->permissions == kReadWrite);
  CHECK_FALSE(access.read(file, kBob + 1)->permissions.has_value());
  access.set_entry(file, kAlice, std::nullopt);
  CHECK(access.read(file, kBob)->permissions == kReadWrite);
  access.set_entry(file, kBob, std::nullopt);
  CHECK(mode_of(file) == 0600);
  CHECK_FALSE(has_acl(file));
  CHECK_FALSE(access.read(folder / "absent", kAlice).has_value());
  CHECK_THROWS_AS(access.set_entry(folder / "absent", kAlice, kRead), Error);
}

TEST_CASE("VMs that change one node's ACL at once lose no entry") {
  if (::geteuid() != 0) SKIP_TEST("only root names other users");
  const TempFolder folder;
  const std::string file = folder / "node";
  write_text(file, "");
  ::chmod(file.c_str(), 0600);
  if (!LinuxAccess().read(file, kAlice)->has_acl) SKIP_TEST("no ACLs on this file system");
  constexpr unsigned kUsers = 8;
  constexpr int kTurns = 25;
  {
    std::vector<std::jthread> users;
    for (unsigned i = 0; i < kUsers; ++i) {
      users.emplace_back([&folder, &file, uid = kAlice + i] {
        LinuxAccess access(Sysfs(), folder / "lock");
        for (int turn = 0; turn < kTurns; ++turn) {
          access.set_entry(file, uid, kReadWrite);
          access.set_entry(file, uid, std::nullopt);
        }
        access.set_entry(file, uid, kRead);
      });
    }
  }
  LinuxAccess access(Sysfs(), folder / "lock");
  for (unsigned i = 0; i < kUsers; ++i) {
    CHECK(access.read(file, kAlice + i)->permissions == kRead);
    access.set_entry(file, kAlice + i, std::nullopt);
  }
  CHECK(mode_of(file) == 0600);
}

TEST_CASE("a socket is told from none, from one that nobody serves, and from a file") {
  const TempFolder folder;
  LinuxAccess access(Sysfs(), folder / "lock");
  CHECK(access.socket_state(folder / "absent") == SocketState::kNothing);
  write_text(folder / "file", "");
  CHECK(access.socket_state(folder / "file") == SocketState::kNoSocket);
}
