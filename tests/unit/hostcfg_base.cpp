#include <doctest/doctest.h>

#include <cerrno>
#include <stdexcept>
#include <string>

#include "hostcfg/base/bytes.hpp"
#include "hostcfg/base/cpu_set.hpp"
#include "hostcfg/base/error.hpp"
#include "hostcfg/base/pci_address.hpp"

using namespace vmrig;

TEST_CASE("a size is a whole number with an IEC unit") {
  CHECK(parse_bytes("8GiB") == Bytes::gib(8));
  CHECK(parse_bytes("0B") == Bytes{0});
  CHECK(parse_bytes("1TiB") == Bytes::gib(1024));
  CHECK(parse_bytes("18446744073709551615B").value == UINT64_MAX);
  for (const char* wrong : {"", "8", "8GB", "-1GiB", "+1GiB", " 1GiB", "1GiB ", "1.5GiB", "0x10MiB",
                            "18446744073709551616B", "16384PiB", "GiB", "8gib"}) {
    CAPTURE(wrong);
    CHECK_THROWS_AS(parse_bytes(wrong), std::invalid_argument);
  }
}

TEST_CASE("a size prints exactly, in the largest unit that divides it, and reads back") {
  CHECK(to_string(Bytes::mib(1536)) == "1536MiB");
  CHECK(to_string(Bytes::gib(1024)) == "1TiB");
  CHECK(to_string(Bytes{0}) == "0B");
  for (const std::uint64_t value :
       {std::uint64_t{1}, std::uint64_t{4097}, std::uint64_t{1} << 52, UINT64_MAX}) {
    CHECK(parse_bytes(to_string(Bytes{value})).value == value);
  }
}

TEST_CASE("a CPU list reads and prints in the kernel's format") {
  CHECK(CpuSet::parse("0-3,8,10-11").to_string() == "0-3,8,10-11");
  CHECK(CpuSet::parse("1,0,2").to_string() == "0-2");
  CHECK(CpuSet::parse("").empty());
  CHECK(CpuSet::parse("8191").size() == 1);
  for (const char* wrong : {"-1", "1-", "3-1", "1,,2", "1,", ",1", "a", "1 ", "8192", "0-8192",
                            "4294967296", "0x1", "(null)"}) {
    CAPTURE(wrong);
    CHECK_THROWS_AS(CpuSet::parse(wrong), std::invalid_argument);
  }
}

TEST_CASE("a CPU list that says the same over and over is read at once") {
  std::string text = "0-8191";
  for (int i = 0; i < 9000; ++i) text += ",0-8191";
  const CpuSet all = CpuSet::parse(text);
  CHECK(all.size() == CpuSet::kMaxCpus);
  CHECK(all.to_string() == "0-8191");
  CHECK(CpuSet::parse("5-7,2-6,0").to_string() == "0,2-7");
  for (const char* range : {"0-63", "63-64", "64-127", "1-128", "60-70,300-8191"}) {
    CHECK(CpuSet::parse(range).to_string() == range);
  }
}

TEST_CASE("CPU sets are equal whatever was inserted and erased on the way") {
  CpuSet set = {1, 4000};
  set.erase(4000);
  set.erase(4000);
  set.erase(-1);
  CHECK(set == CpuSet{1});
  CHECK_FALSE(set.contains(-1));
  CHECK_FALSE(set.contains(9000));
  CHECK(CpuSet{}.first() == -1);
}

TEST_CASE("CPU sets unite, intersect and subtract") {
  const CpuSet a = CpuSet::parse("0-3");
  const CpuSet b = CpuSet::parse("2-5");
  CHECK((a | b).to_string() == "0-5");
  CHECK((a & b).to_string() == "2-3");
  CHECK((a - b).to_string() == "0-1");
  CHECK(a.includes(CpuSet{1, 2}));
  CHECK_FALSE(a.includes(b));
}

TEST_CASE("a PCI address reads with and without its domain, and sorts by number") {
  CHECK(PciAddress::parse("3b:10.1").to_string() == "0000:3b:10.1");
  CHECK(PciAddress::parse("10000:e1:00.0").domain == 0x10000);  // VMD
  CHECK(PciAddress::parse("0000:3b:00.1") < PciAddress::parse("0000:3b:10.0"));
  for (const char* wrong :
       {"", "3b", "3b:10", "3b:10.8", "3b:20.0", "100:00.0", "0000:3b:10.1 ", "0000:3b:10.-1",
        "0000:3b:10.", ":3b:10.1", "0:0:0:0.0", "000000000:3b:10.1", "../../3b:10.1"}) {
    CAPTURE(wrong);
    CHECK_THROWS_AS(PciAddress::parse(wrong), std::invalid_argument);
  }
}

TEST_CASE("an error reads as what failed, the object in quotes, and the cause") {
  const Error error({.status = ExitStatus::kHost,
                     .operation = "open",
                     .object = "/dev/kvm",
                     .cause = "no such device",
                     .mend = "modprobe kvm"});
  CHECK(std::string(error.what()) == "open \"/dev/kvm\": no such device");
  CHECK(error.status() == ExitStatus::kHost);
  CHECK(error.parts().mend == "modprobe kvm");
  CHECK(std::string(system_error("open", "x", ENOENT).what()) ==
        "open \"x\": No such file or directory");
}

TEST_CASE("a quoted text can't write to the terminal") {
  CHECK(quote("a\"b\\c") == "\"a\\\"b\\\\c\"");
  CHECK(quote("\x1b[2J\n") == "\"\\x1b[2J\\n\"");
  CHECK(quote("Köln €") == "\"Köln €\"");
  CHECK(quote(std::string("\0", 1)) == "\"\\x00\"");
  CHECK(quote("\x7f") == "\"\\x7f\"");
  CHECK(quote("\xc2\x9b") == "\"\\xc2\\x9b\"");                    // CSI as a C1 control
  CHECK(quote("\xe0\x80\x9b") == "\"\\xe0\\x80\\x9b\"");           // an overlong form of ESC
  CHECK(quote("\xe2\x80\xae") == "\"\\xe2\\x80\\xae\"");           // from right to left
  CHECK(quote("\xe2\x81\xa6") == "\"\\xe2\\x81\\xa6\"");           // the same, isolated
  CHECK(quote("\xef\xbb\xbf") == "\"\\xef\\xbb\\xbf\"");           // not seen at all
  CHECK(quote("\xc0\x9b") == "\"\\xc0\\x9b\"");                    // another
  CHECK(quote("\xed\xa0\x80") == "\"\\xed\\xa0\\x80\"");           // a surrogate
  CHECK(quote("\xf4\x90\x80\x80") == "\"\\xf4\\x90\\x80\\x80\"");  // above U+10FFFF
  CHECK(quote("\xe2\x82") == "\"\\xe2\\x82\"");                    // cut short
  CHECK(quote("a\xe2\x80\xae"
              "b") ==
        "\"a\\xe2\\x80\\xae"
        "b\"");  // RIGHT-TO-LEFT OVERRIDE
}
