// What qcow2 headers say, and what a plan makes of a chain of them.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "hostcfg/base/error.hpp"
#include "hostcfg/image_links.hpp"
#include "hostcfg/path_facts.hpp"
#include "launcher/image_chain.hpp"
#include "launcher/preflight.hpp"
#include "tests/support/plan_inputs.hpp"
#include "tests/support/temp_folder.hpp"

using namespace vmrig;
using namespace vmrig::testing;

namespace {

void put(std::string& bytes, std::size_t offset, std::uint64_t number, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) {
    bytes[offset + i] = static_cast<char>(number >> (8 * (size - 1 - i)));
  }
}

void append(std::string& bytes, std::uint32_t type, std::string_view data) {
  const std::size_t at = bytes.size();
  bytes.resize(at + 8 + (data.size() + 7) / 8 * 8);
  put(bytes, at, type, 4);
  put(bytes, at + 4, data.size(), 4);
  bytes.replace(at + 8, data.size(), data);
}

// A header of version 3 with these names; an empty one is left out.
std::string qcow2(const std::string& backing, std::string_view format, std::string_view data = {}) {
  std::string bytes(104, '\0');
  bytes.replace(0, 4, "QFI\xfb");
  put(bytes, 4, 3, 4);
  put(bytes, 100, 104, 4);
  if (!data.empty()) put(bytes, 72, 4, 8);
  if (!format.empty()) append(bytes, 0xe2792aca, format);
  append(bytes, 0x6803f857, std::string(48, 'x'));  // feature names: of no meaning here
  if (!data.empty()) append(bytes, 0x44415441, data);
  append(bytes, 0, {});
  if (!backing.empty()) {
    put(bytes, 8, bytes.size(), 8);
    put(bytes, 16, backing.size(), 4);
    bytes += backing;
  }
  return bytes;
}

// Facts of images by their paths, as they would be read.
HostFacts facts_of(const TempFolder& folder, const std::string& image) {
  HostFacts facts = recorded_facts("vm-2cpu");
  facts.paths = read_paths({folder / image});
  return facts;
}

struct Found {
  DiskFiles files;
  std::string problems;
};

Found find_files(const HostFacts& facts, const std::string& path, std::vector<Lease> leases = {}) {
  const VmConfig config = config_of(R"({"name": "vm", "memory": {"size": "64MiB"}})");
  const qmp::QemuCaps caps = recorded_caps("7.2");
  const PlanInput input{
      .config = config, .facts = facts, .caps = caps, .qemu = {}, .leases = std::move(leases)};
  DiskConfig disk;
  disk.id = "d";
  disk.path = path;
  std::vector<Diagnostic> findings;
  Found found;
  found.files = files_of(disk, "disks[0]", input, findings);
  check_image(input, disk, "disks[0]", facts.paths.at(path), findings);
  for (const Diagnostic& finding : findings) {
    found.problems += finding.message + (finding.mend.empty() ? "" : " | " + finding.mend) + "\n";
  }
  return found;
}

bool has(const std::string& text, const std::string& part) {
  const bool is_there = text.find(part) != std::string::npos;
  if (!is_there) MESSAGE("missing: " << part << "\nin: " << text);
  return is_there;
}

}  // namespace

TEST_CASE("a header names the backing file, its format and the data file") {
  const Qcow2Header header = parse_qcow2_header(qcow2("base.img", "raw", "top.data"));
  CHECK(header.backing_size == 8);
  CHECK(header.backing_format == "raw");
  CHECK(header.has_data_file);
  CHECK(header.data_file == "top.data");
  const Qcow2Header alone = parse_qcow2_header(qcow2("", ""));
  CHECK(alone.backing_offset == 0);
  CHECK_FALSE(alone.has_data_file);
}

TEST_CASE(
    "headers that are cut off or make no sense are refused, and none is read beyond its end") {
  const std::string good = qcow2("base.img", "qcow2", "d");
  for (std::size_t size = 0; size < good.size() - 8; ++size) {
    std::string cut = good.substr(0, size);
    try {
      (void)parse_qcow2_header(cut);
    } catch (const Error&) {
      continue;
    }
    CHECK(size >= 104);
  }
  std::string bad = good;
  put(bad, 4, 9, 4);
  CHECK_THROWS_WITH_AS((void)parse_qcow2_header(bad), doctest::Contains("version 9"), Error);
  bad = good;
  put(bad, 16, 5000, 4);
  CHECK_THROWS_AS((void)parse_qcow2_header(bad), Error);
  bad = good;
  put(bad, 108, 0xfffffff0, 4);  // an extension's length
  CHECK_THROWS_AS((void)parse_qcow2_header(bad), Error);
}

TEST_CASE("a name in an image is seen from the image, as QEMU does") {
  CHECK(linked_path("/a/top.qcow2", "base.img") == "/a/base.img");
  CHECK(linked_path("/a/top.qcow2", "../b/base.img") == "/a/../b/base.img");
  CHECK(linked_path("/a/top.qcow2", "/b/base.img") == "/b/base.img");
  CHECK(linked_path("/a/top.qcow2", "file:/b/base.img") == "/b/base.img");
  CHECK(linked_path("/a/top.qcow2", "dir/with:colon") == "/a/dir/with:colon");
  CHECK_FALSE(linked_path("/a/top.qcow2", "nbd://host/x").has_value());
  CHECK_FALSE(linked_path("/a/top.qcow2", "json:{}").has_value());
  CHECK_FALSE(linked_path("/a/top.qcow2", "").has_value());
}

TEST_CASE("a chain of images is followed to its end, with each one's format") {
  const TempFolder folder;
  write_text(folder / "top.qcow2", qcow2("mid.qcow2", "qcow2", "top.data"));
  write_text(folder / "top.data", "");
  write_text(folder / "mid.qcow2", qcow2(folder / "base.img", "raw"));
  write_text(folder / "base.img", std::string(512, '\0'));
  const Found found = find_files(facts_of(folder, "top.qcow2"), folder / "top.qcow2");
  CHECK(found.problems == "");
  CHECK(found.files.data == ImageFile{folder / "top.data", false});
  REQUIRE(found.files.backing.size() == 2);
  CHECK(found.files.backing[0].format == "qcow2");
  CHECK(found.files.backing[1] ==
        ImageLayer{.file = {folder / "base.img", false}, .format = "raw", .data = {}});
  CHECK(disk_files_from_json(to_json(found.files)) == found.files);
  CHECK(paths_below(found.files).size() == 3);
}

TEST_CASE("what a raw image says is not followed: a guest may have written it") {
  const TempFolder folder;
  write_text(folder / "top.qcow2", qcow2("base.img", "raw"));
  write_text(folder / "base.img", qcow2("/etc/shadow", "raw"));
  const HostFacts facts = facts_of(folder, "top.qcow2");
  CHECK(facts.paths.count("/etc/shadow") == 0);
  const Found found = find_files(facts, folder / "top.qcow2");
  CHECK(found.problems == "");
  REQUIRE(found.files.backing.size() == 1);
  CHECK(found.files.backing[0].format == "raw");
}

TEST_CASE("an image of a format that nobody wrote down is refused unless it looks raw") {
  const TempFolder folder;
  write_text(folder / "top.qcow2", qcow2("base.img", ""));
  write_text(folder / "base.img", std::string(512, '\0'));
  CHECK(find_files(facts_of(folder, "top.qcow2"), folder / "top.qcow2").problems == "");
  write_text(folder / "base.img", qcow2("", ""));
  const Found found = find_files(facts_of(folder, "top.qcow2"), folder / "top.qcow2");
  CHECK(has(found.problems, "does not say which format"));
  CHECK(has(found.problems, "qemu-img rebase -u -b base.img -F qcow2 "));
  CHECK(found.files.backing.empty());
}

TEST_CASE("a format by which QEMU would connect to somewhere is refused") {
  const TempFolder folder;
  write_text(folder / "top.qcow2", qcow2("base.img", "nbd"));
  write_text(folder / "base.img", "");
  CHECK(has(find_files(facts_of(folder, "top.qcow2"), folder / "top.qcow2").problems,
            R"(is of format "nbd", which vmrig does not know)"));
}

TEST_CASE("a chain that goes in circles, or ends nowhere, is told before QEMU starts") {
  const TempFolder folder;
  write_text(folder / "a.qcow2", qcow2("b.qcow2", "qcow2"));
  write_text(folder / "b.qcow2", qcow2("a.qcow2", "qcow2"));
  CHECK(has(find_files(facts_of(folder, "a.qcow2"), folder / "a.qcow2").problems,
            "lies below itself"));
  write_text(folder / "c.qcow2", qcow2("absent.img", "raw"));
  CHECK(has(find_files(facts_of(folder, "c.qcow2"), folder / "c.qcow2").problems,
            "No such file or directory"));
  write_text(folder / "d.qcow2", qcow2("/dev/null", "raw"));
  CHECK(has(find_files(facts_of(folder, "d.qcow2"), folder / "d.qcow2").problems,
            "it is a character device"));
  write_text(folder / "e.qcow2", qcow2("base\xff.img", "raw"));
  CHECK(has(find_files(facts_of(folder, "e.qcow2"), folder / "e.qcow2").problems, "no UTF-8"));
}

TEST_CASE("what is on the network is left to QEMU, with a word about it") {
  const TempFolder folder;
  write_text(folder / "top.qcow2", qcow2("nbd://192.0.2.1/x", "raw"));
  const Found found = find_files(facts_of(folder, "top.qcow2"), folder / "top.qcow2");
  CHECK(found.files.backing.empty());
  CHECK(has(found.problems, "which QEMU opens itself"));
}

TEST_CASE("an image that another VM writes is busy, and nobody may write what a VM stands on") {
  const TempFolder folder;
  write_text(folder / "top.qcow2", qcow2("base.img", "raw"));
  write_text(folder / "base.img", std::string(512, '\0'));
  Lease writer;
  writer.vm = "writer";
  writer.written_disks = {folder / "base.img"};
  CHECK(has(find_files(facts_of(folder, "top.qcow2"), folder / "top.qcow2", {writer}).problems,
            "is written by VM \"writer\" | vmrig stop writer"));

  HostFacts facts = facts_of(folder, "top.qcow2");
  const Plan plan = plan_of(R"({"name": "vm", "memory": {"size": "64MiB"}, "disks": [
      {"id": "d", "path": ")" + (folder / "top.qcow2") +
                                R"("}]})",
                            facts);
  CHECK(problems_of(plan) == "");
  CHECK(plan.claim.written_disks == std::vector<std::string>{folder / "top.qcow2"});
  CHECK(plan.claim.read_disks == std::vector<std::string>{folder / "base.img"});
  facts.paths[folder / "base.img"].writable = true;
  const Plan second = plan_of(R"({"name": "vm2", "memory": {"size": "64MiB"}, "disks": [
      {"id": "d", "path": ")" + (folder / "base.img") +
                                  R"("}]})",
                              facts, {plan.claim});
  CHECK(has(problems_of(second), "is in use by VM \"vm\""));
}
