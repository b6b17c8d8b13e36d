#include "qmp/caps.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <optional>
#include <string>

namespace {

using qmp::Json;
using qmp::QemuCaps;

QemuCaps sample() {
  QemuCaps caps;
  caps.version = {7, 2, 22, "Debian 1:7.2"};
  caps.machines = {{"pc-q35-7.2", "q35", 288, false, true, false, "pc.ram"},
                   {"pc-i440fx-7.2", "pc", 255, true, true, false, "pc.ram"},
                   {"none", "", 1, false, false, false, "ram"}};
  caps.commands = {"quit", "query-status"};
  caps.events = {"SHUTDOWN"};
  caps.devices = {"virtio-net-pci"};
  caps.object_types = {"iothread", "thread-context"};
  caps.accelerators = {"kvm", "tcg"};
  caps.device_properties["virtio-net-pci"] = {"mq", "vectors"};
  caps.machine_properties["q35"] = {"hpet"};
  caps.json_cli_device = true;
  caps.overcommit_mem_lock = qmp::MemLockForm::on_fault;
  caps.run_with = {"user"};
  return caps;
}

}  // namespace

TEST_CASE("capabilities survive the way through JSON text") {
  const QemuCaps caps = sample();
  CHECK(QemuCaps::parse(caps.to_json().dump()) == caps);
  CHECK(QemuCaps::from_json(caps.to_json()) == caps);
  CHECK(QemuCaps::parse(QemuCaps{}.to_json().dump()) == QemuCaps{});
}

TEST_CASE("capabilities of real QEMUs are read alike by the fast reader and the full parser") {
  for (const char* version : {"5.2", "7.2", "10.0", "11.1"}) {
    std::ifstream file(std::string(VMRIG_TEST_DATA) + "/caps/qemu-" + version + ".json");
    const Json json = Json::parse(file);
    const QemuCaps caps = QemuCaps::from_json(json);
    CHECK(QemuCaps::parse(caps.to_json().dump()) == caps);
    CHECK(QemuCaps::parse(caps.to_json().dump() + "\n") == caps);
    CHECK(QemuCaps::parse(caps.to_json().dump(2)) == caps);
  }
}

// What the parser for all of JSON makes of it; nullopt: nothing.
std::optional<QemuCaps> read_slowly(const std::string& text) {
  try {
    return QemuCaps::from_json(Json::parse(text));
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

std::optional<QemuCaps> read(const std::string& text) {
  try {
    return QemuCaps::parse(text);
  } catch (const qmp::CapsError&) {
    return std::nullopt;
  }
}

TEST_CASE(
    "a text that is damaged anywhere is read as the full parser reads it, or refused as there") {
  const std::string good = sample().to_json().dump();
  int accepted = 0;
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (const char* put : {"", "\"", ",", "]", "1", "\\", "\xc3"}) {
      for (const std::size_t cut : {std::size_t{0}, std::size_t{1}}) {
        std::string text = good;
        text.replace(at, cut, put);
        const std::optional<QemuCaps> fast = read(text);
        if (fast != read_slowly(text)) FAIL_CHECK(text);
        if (fast) ++accepted;
      }
    }
    if (read(good.substr(0, at))) FAIL_CHECK(good.substr(0, at));
  }
  CHECK(accepted > 0);  // a letter more in a name
  for (const char* odd :
       {"{\"a\":1,\"a\":1}", "[]", "{}", "\"x\"", "", "\n", "{\"format\":2}", "{\"format\":-2}"}) {
    CHECK(read(odd) == std::nullopt);
  }
  // A name twice, of which only one can be meant.
  Json twice = sample().to_json();
  std::string text = twice.dump();
  text.insert(text.size() - 1, ",\"run_with\":[\"chroot\"]");
  CHECK(read(text) == read_slowly(text));
}

TEST_CASE("capabilities are looked up by name and alias") {
  const QemuCaps caps = sample();
  REQUIRE(caps.machine("q35") != nullptr);
  CHECK(caps.machine("q35") == caps.machine("pc-q35-7.2"));
  CHECK(caps.machine("") == nullptr);
  CHECK(caps.machine("microvm") == nullptr);
  CHECK(caps.has_machine_property("pc-q35-7.2", "hpet"));
  CHECK_FALSE(caps.has_machine_property("pc", "hpet"));
  CHECK_FALSE(caps.has_machine_property("none", "hpet"));
  CHECK(caps.has_device_property("virtio-net-pci", "mq"));
  CHECK_FALSE(caps.has_device_property("absent", "mq"));
  CHECK(caps.has_object("thread-context"));
  CHECK_FALSE(caps.has_object("memory-backend-ram"));
  CHECK(QemuCaps{}.has_object("memory-backend-ram"));
  CHECK_FALSE(QemuCaps{}.has_object("thread-context"));
}

TEST_CASE("each missing, surplus or mistyped member of a cached text is an error") {
  const Json good = sample().to_json();
  for (const auto& [key, value] : good.items()) {
    CAPTURE(key);
    Json missing = good;
    missing.erase(key);
    CHECK_THROWS_AS(QemuCaps::from_json(missing), qmp::CapsError);
    for (const Json& wrong : {Json(nullptr), Json(-1), Json(3.5), Json("x"), Json::parse("[[1]]"),
                              Json::parse("{\"a\": [1]}")}) {
      Json mistyped = good;
      mistyped[key] = wrong;
      CHECK_THROWS_AS(QemuCaps::from_json(mistyped), qmp::CapsError);
    }
  }
  Json surplus = good;
  surplus["extra"] = 1;
  CHECK_THROWS_AS(QemuCaps::from_json(surplus), qmp::CapsError);
  Json other = good;
  other["format"] = qmp::kCapsFormat + 1;
  CHECK_THROWS_AS(QemuCaps::from_json(other), qmp::CapsError);
  Json machine = good;
  machine["machines"][0]["max_cpus"] = 1LL << 40;
  CHECK_THROWS_AS(QemuCaps::from_json(machine), qmp::CapsError);
}

TEST_CASE("a cached text cut at any byte, or nested without end, is an error") {
  const std::string text = sample().to_json().dump();
  for (std::size_t length = 0; length < text.size(); ++length) {
    CHECK_THROWS_AS(QemuCaps::parse(std::string_view(text).substr(0, length)), qmp::CapsError);
  }
  CHECK_THROWS_AS(QemuCaps::parse(std::string(1'000'000, '[')), qmp::CapsError);
}
