#include "qmp/framing.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "qmp/error.hpp"

namespace {

using qmp::ErrorKind;

std::vector<std::string> all(qmp::Framer& framer) {
  std::vector<std::string> messages;
  while (const auto message = framer.next()) messages.emplace_back(*message);
  return messages;
}

ErrorKind fault_of(std::string_view bytes, qmp::FramingLimits limits = {}) {
  qmp::Framer framer(limits);
  framer.append(bytes);
  try {
    all(framer);
  } catch (const qmp::Error& error) {
    return error.kind();
  }
  FAIL("no error for: " << bytes);
  return ErrorKind::closed;
}

const std::vector<std::string> kMessages{
    R"({"return": {}})",
    R"({"a": "}{][\"\\", "b": [1, {"c": "\u00e4"}]})",
    "{\n  \"pretty\": [\n    1,\r\n    2\n  ]\n}",
    "{\"utf8\": \"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"}",
    "[]",
};

}  // namespace

TEST_CASE("a framer finds the same messages at every split of the stream") {
  std::string stream = "  \r\n";
  for (const auto& message : kMessages) stream += message + "\r\n";
  stream += kMessages[0] + kMessages[1];  // glued
  auto expected = kMessages;
  expected.push_back(kMessages[0]);
  expected.push_back(kMessages[1]);
  for (std::size_t first = 0; first <= stream.size(); ++first) {
    for (std::size_t second : {first, (first + stream.size()) / 2, stream.size()}) {
      qmp::Framer framer;
      std::vector<std::string> found;
      const std::string_view view(stream);
      for (const auto part :
           {view.substr(0, first), view.substr(first, second - first), view.substr(second)}) {
        framer.append(part);
        for (auto& message : all(framer)) found.push_back(std::move(message));
      }
      REQUIRE(found == expected);
      CHECK(framer.at_boundary());
    }
  }
}

TEST_CASE("a framer fed byte by byte finds every message") {
  qmp::Framer framer;
  std::vector<std::string> found;
  for (const auto& message : kMessages) {
    for (const char c : message) {
      framer.append(std::string_view(&c, 1));
      for (auto& each : all(framer)) found.push_back(std::move(each));
    }
  }
  CHECK(found == kMessages);
}

TEST_CASE("a byte 0xFF drops the unfinished message") {
  qmp::Framer framer;
  framer.append("{\"half\": [\"x\xff{\"return\": 1}\xff\n");
  CHECK(all(framer) == std::vector<std::string>{"{\"return\": 1}"});
  CHECK(framer.resets() == 2);
}

TEST_CASE("garbage is a protocol error, and the framer goes on after the next newline") {
  qmp::Framer framer;
  framer.append("SSH-2.0 {\"no\": 1}\n{\"yes\": 1}\n");
  CHECK_THROWS_AS(framer.next(), qmp::Error);
  framer.resync();
  CHECK(all(framer) == std::vector<std::string>{"{\"yes\": 1}"});
}

TEST_CASE("a resync waits for a newline that has not arrived yet") {
  qmp::Framer framer;
  framer.append("x");
  CHECK_THROWS_AS(framer.next(), qmp::Error);
  framer.resync();
  framer.append("{\"no\": 1}");
  CHECK(all(framer).empty());
  framer.append("{}\n{\"yes\": 2}");
  CHECK(all(framer) == std::vector<std::string>{"{\"yes\": 2}"});
}

TEST_CASE("a string that a newline cuts off is a protocol error, and the next line is read") {
  qmp::Framer framer;
  framer.append("{\"execute\": \"half\n{\"yes\": 1}\n");
  CHECK_THROWS_AS(framer.next(), qmp::Error);
  framer.resync();
  CHECK(all(framer) == std::vector<std::string>{"{\"yes\": 1}"});
}

TEST_CASE("brackets that do not match are a protocol error") {
  CHECK(fault_of("{\"a\": [1}") == ErrorKind::protocol);
  CHECK(fault_of("[1}") == ErrorKind::protocol);
  CHECK(fault_of("}") == ErrorKind::protocol);
}

TEST_CASE("text that is not UTF-8 is a protocol error") {
  const std::string open = "{\"a\": \"";
  for (const char* bytes :
       {"\x80", "\xc3(", "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80",
        "\xf0\x80\x80\x80", "\xe2\x82", "\xf4\x90\x80\x80"}) {
    CAPTURE(bytes);
    CHECK(fault_of(open + bytes + "\"}") == ErrorKind::protocol);
  }
}

TEST_CASE("a message past the size limit is too large, before it is complete") {
  qmp::FramingLimits limits;
  limits.max_message_bytes = 64;
  const std::string at_limit = "[\"" + std::string(60, 'x') + "\"]";
  qmp::Framer framer(limits);
  framer.append(at_limit);
  CHECK(all(framer).size() == 1);
  CHECK(fault_of("[\"" + std::string(63, 'x'), limits) == ErrorKind::too_large);
}

TEST_CASE("nesting past the limit is too large") {
  const std::string deepest =
      std::string(qmp::kMaxNesting, '[') + std::string(qmp::kMaxNesting, ']');
  qmp::Framer framer;
  framer.append(deepest);
  CHECK(all(framer).size() == 1);
  CHECK(fault_of(std::string(qmp::kMaxNesting + 1, '[')) == ErrorKind::too_large);
  qmp::FramingLimits limits;
  limits.max_nesting = 2;
  CHECK(fault_of("[[[", limits) == ErrorKind::too_large);
}

TEST_CASE("the buffer shrinks back after a large message") {
  qmp::Framer framer;
  framer.append("{\"big\": \"" + std::string(std::size_t{1} << 20, 'x') + "\"}\n{\"ret");
  CHECK(framer.capacity() > (std::size_t{1} << 20));
  CHECK(all(framer).size() == 1);
  framer.append("urn\": 1}");
  CHECK(framer.capacity() < (std::size_t{32} << 10));
  CHECK(all(framer) == std::vector<std::string>{"{\"return\": 1}"});
}

TEST_CASE("an envelope gives the raw text of the members that decide") {
  const auto reply = qmp::open_envelope(R"( { "return" : {"id": [1, "}"]} ,"id":"v-1" } )");
  CHECK(reply.returned == R"({"id": [1, "}"]})");
  CHECK(reply.id == R"("v-1")");
  CHECK(reply.error.empty());
  CHECK(qmp::open_envelope(R"({"event": "STOP", "x": 1.5e3})").event == "\"STOP\"");
  CHECK(qmp::open_envelope("{}").returned.empty());
  CHECK(qmp::open_envelope(R"({"return": 12})").returned == "12");
}

TEST_CASE("an envelope whose top level is malformed is a protocol error") {
  for (const char* text : {"[1]", "{", "{\"a\"}", "{\"a\": }", "{\"a\": 1,}", "{\"a\": 1} x",
                           "{a: 1}", "{\"a\": 1 \"b\": 2}", "{\"a", ""}) {
    CAPTURE(text);
    CHECK_THROWS_AS(qmp::open_envelope(text), qmp::Error);
  }
}
