// The capture file's format, byte by byte.
#include "hostcfg/pcap_file.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/error.hpp"

using namespace vmrig;
using namespace std::string_literals;

static_assert(std::endian::native == std::endian::little, "the bytes below are of such a host");

TEST_CASE("a capture file begins with the nanosecond magic, version 2.4 and Ethernet") {
  CHECK(pcap_header(262144) ==
        "\x4d\x3c\xb2\xa1\x02\x00\x04\x00\0\0\0\0\0\0\0\0\x00\x00\x04\x00\x01\x00\x00\x00"s);
}

TEST_CASE("a packet's record has its time, its bytes and its length on the wire") {
  std::string out = "before";
  append_pcap_record(out,
                     {.time_ns = 0x65000001LL * 1'000'000'000 + 999'999'999,
                      .original_bytes = 1500,
                      .data = "abcdef"},
                     4);
  CHECK(out ==
        "before\x01\x00\x00\x65\xff\xc9\x9a\x3b\x04\x00\x00\x00\xdc\x05\x00\x00"
        "abcd"s);
}

TEST_CASE("a record never claims fewer bytes on the wire than it holds") {
  std::string file = pcap_header(100);
  append_pcap_record(file, {.time_ns = 1, .original_bytes = 2, .data = "abcdef"}, 100);
  PcapStream stream;
  stream.feed(file);
  CHECK(stream.next()->original_bytes == 6);
}

TEST_CASE("packets come out of a stream that is cut anywhere") {
  std::string file = pcap_header(100);
  append_pcap_record(file, {.time_ns = 5'000'000'007, .original_bytes = 60, .data = "one"}, 100);
  append_pcap_record(file, {.time_ns = 6'000'000'008, .original_bytes = 3, .data = ""}, 100);
  for (std::size_t step = 1; step <= file.size(); ++step) {
    PcapStream stream;
    std::vector<std::string> found;
    std::vector<std::int64_t> times;
    for (std::size_t at = 0; at < file.size(); at += step) {
      stream.feed(std::string_view(file).substr(at, step));
      while (const auto packet = stream.next()) {
        found.emplace_back(packet->data);
        times.push_back(packet->time_ns);
      }
    }
    CHECK(found == std::vector<std::string>{"one", ""});
    CHECK(times == std::vector<std::int64_t>{5'000'000'007, 6'000'000'008});
  }
}

TEST_CASE("microsecond files, as QEMU writes them, are read, too") {
  std::string file = pcap_header(100);
  file.replace(0, 4, "\xd4\xc3\xb2\xa1"s);
  append_pcap_record(file, {.time_ns = 2'000'000'123, .original_bytes = 1, .data = "x"}, 100);
  PcapStream stream;
  stream.feed(file);
  CHECK(stream.next()->time_ns == 2'000'123'000);
}

TEST_CASE("what is no capture file is refused") {
  PcapStream text;
  text.feed("this is no pcap file at all");
  CHECK_THROWS_WITH_AS(text.next(), doctest::Contains("no pcap"), Error);
  PcapStream huge;
  huge.feed(pcap_header(100) + std::string(16, '\x7f'));
  CHECK_THROWS_WITH_AS(huge.next(), doctest::Contains("longer"), Error);
}
