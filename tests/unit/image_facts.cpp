// What is read of a disk image before QEMU opens it, and of ports that are in use.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/image_links.hpp"
#include "hostcfg/image_locks.hpp"
#include "hostcfg/listeners.hpp"
#include "hostcfg/path_facts.hpp"
#include "hostcfg_support.hpp"
#include "tests/support/temp_folder.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

void put(std::string& bytes, std::size_t at, std::uint64_t value, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) {
    bytes.at(at + i) = static_cast<char>(value >> (8 * (size - 1 - i)) & 0xff);
  }
}

// Version 3, with a backing file and a file for its data.
std::string qcow2(const std::string& backing, const std::string& data_file = {},
                  std::uint64_t incompatible = 0) {
  std::string bytes(4096, '\0');
  bytes.replace(0, 4, "QFI\xfb");
  put(bytes, 4, 3, 4);
  put(bytes, 72, incompatible | (data_file.empty() ? 0U : 4U), 8);
  put(bytes, 100, 104, 4);
  if (!backing.empty()) {
    put(bytes, 8, 1000, 8);
    put(bytes, 16, backing.size(), 4);
    bytes.replace(1000, backing.size(), backing);
  }
  // One of another kind first: it is passed over.
  put(bytes, 104, 0x6803f857, 4);
  put(bytes, 108, 3, 4);
  if (!data_file.empty()) {
    put(bytes, 120, 0x44415441, 4);
    put(bytes, 124, data_file.size(), 4);
    bytes.replace(128, data_file.size(), data_file);
  }
  return bytes;
}

void lock(int fd, off_t byte) {
  struct flock wanted {};
  wanted.l_type = F_RDLCK;  // as QEMU takes them
  wanted.l_whence = SEEK_SET;
  wanted.l_start = byte;
  wanted.l_len = 1;
  REQUIRE(::fcntl(fd, F_OFD_SETLK, &wanted) == 0);
}

}  // namespace

TEST_CASE("a qcow2 tells what lies below it, where its data are, and that it is corrupt") {
  const TempFolder folder;
  write_text(folder / "a.qcow2", qcow2("base.img", "data.raw", 2));
  write_text(folder / "plain.qcow2", qcow2({}));
  const auto links = read_path_facts(folder / "a.qcow2").links;
  REQUIRE(links.has_value());
  CHECK(links->backing_file == "base.img");
  CHECK(links->data_file == "data.raw");
  CHECK(links->corrupt);
  const auto plain = read_path_facts(folder / "plain.qcow2").links;
  REQUIRE(plain.has_value());
  CHECK(*plain == ImageLinks());
}

TEST_CASE("a header cut off at any byte, or with any byte changed, does no harm") {
  const std::string whole = qcow2("base.img", "data.raw", 2);
  const auto parses = [](std::string_view head) {
    try {
      const Qcow2Header header = parse_qcow2_header(head);
      CHECK(header.backing_size <= 1023);
      return true;
    } catch (const Error& error) {
      CHECK_FALSE(error.parts().cause.empty());
      return false;
    }
  };
  for (std::size_t size = 0; size < 1100; ++size) {
    (void)parses(std::string_view(whole).substr(0, size));
  }
  for (std::size_t at = 0; at < 140; ++at) {
    for (const char byte : {'\xff', '\x7f', '\0'}) {
      std::string changed = whole;
      changed[at] = byte;
      (void)parses(changed);
    }
  }
  CHECK(parses(whole));
  CHECK_FALSE(parses("QFI\xfb"));
  CHECK_FALSE(parses("no image at all"));
}

TEST_CASE("the name of an image below another is a path beside it, unless it is none") {
  CHECK(linked_path("/i/a.qcow2", "base.img") == "/i/base.img");
  CHECK(linked_path("/i/a.qcow2", "../b/base.img") == "/i/../b/base.img");
  CHECK(linked_path("/i/a.qcow2", "/abs/base.img") == "/abs/base.img");
  CHECK(linked_path("/i/a.qcow2", "a/b:c.img") == "/i/a/b:c.img");
  for (const char* name : {"", "nbd://host/x", "json:{\"driver\":\"raw\"}", "ssh:x"}) {
    CHECK_FALSE(linked_path("/i/a.qcow2", name));
  }
}

TEST_CASE("the images below an image are facts, too, and a chain that ends in itself ends") {
  const TempFolder folder;
  write_text(folder / "top.qcow2", qcow2("middle.qcow2"));
  write_text(folder / "middle.qcow2", qcow2("lost.img", "data.raw"));
  write_text(folder / "ring.qcow2", qcow2("ring.qcow2"));
  const auto facts = read_paths({folder / "top.qcow2", folder / "ring.qcow2"});
  REQUIRE(facts.size() == 5);
  CHECK(facts.at(folder / "top.qcow2").links->backing_file == "middle.qcow2");
  CHECK(facts.at(folder / "middle.qcow2").links->data_file == "data.raw");
  CHECK(facts.at(folder / "lost.img").type == PathFacts::Type::kMissing);
  CHECK(facts.at(folder / "ring.qcow2").links->backing_file == "ring.qcow2");
}

TEST_CASE("locks on an image are told apart, with who holds them, and one's own are none") {
  const TempFolder folder;
  write_text(folder / "a.img", "x");
  const Fd ours(::open((folder / "a.img").c_str(), O_RDONLY | O_CLOEXEC));
  const Fd theirs(::open((folder / "a.img").c_str(), O_RDWR | O_CLOEXEC));
  CHECK_FALSE(read_image_locks(ours.get()).any());
  lock(theirs.get(), 100);  // reads, as every user does
  CHECK_FALSE(read_image_locks(ours.get()).any());
  lock(theirs.get(), 201);
  ImageLocks locks = read_image_locks(ours.get());
  CHECK(locks.no_writer);
  CHECK_FALSE(locks.written);
  CHECK_FALSE(locks.no_reader);
  lock(theirs.get(), 101);
  lock(theirs.get(), 200);
  locks = read_image_locks(ours.get());
  CHECK(locks.written);
  CHECK(locks.no_reader);
  CHECK_MESSAGE(locks.holder == "unit_tests (pid " + std::to_string(::getpid()) + ")",
                locks.holder);
  CHECK_FALSE(read_image_locks(theirs.get()).any());
  CHECK(read_path_facts(folder / "a.img").locks.written);
}

TEST_CASE("ports that are listened on are read for both protocols and families") {
  test::FakeRoot root;
  root.write("proc/net/tcp",
             "  sl  local_address rem_address   st tx_queue rx_queue\n"
             "   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000\n"
             "   1: 0100007F:1F90 0200007F:D431 01 00000000:00000000 00:00000000\n"
             "   2: garbage\n"
             "   3: 00000000:FFFFF 00000000:0000 0A\n")
      .write("proc/net/tcp6",
             "  sl  local_address                         remote_address st\n"
             "   0: 00000000000000000000000000000000:1F91 "
             "00000000000000000000000000000000:0000 0A\n")
      .write("proc/net/udp",
             "  sl  local_address rem_address   st\n"
             "  10: 00000000:0044 00000000:0000 07\n");
  const auto folder = FolderReader::open(root.path());
  REQUIRE(folder);
  using Protocol = Listener::Protocol;
  CHECK(read_listeners(*folder) ==
        std::vector<Listener>{{.protocol = Protocol::kTcp, .address = "127.0.0.1", .port = 22},
                              {.protocol = Protocol::kTcp, .address = "::", .port = 8081},
                              {.protocol = Protocol::kUdp, .address = "0.0.0.0", .port = 68}});
}
