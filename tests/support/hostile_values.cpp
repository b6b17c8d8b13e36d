#include "tests/support/hostile_values.hpp"

namespace vmrig::testing {

const std::vector<std::string>& hostile_values() {
  static const std::vector<std::string> values = {
      // QEMU's lists of options, and its command line.
      ",", "=", "a,b=c", "a,,b", ",,,", "x,readonly=on,", "x,,readonly=on", "on,id=vmrig-qmp", "-",
      "--", "-x", "-device", "-S", "--help", "-incoming exec:id", "json:{\"driver\":\"null-co\"}",
      "nbd:unix:x", "fat:/etc", "/dev/fdset/1", "tcp:127.0.0.1:1", "unix:/x,server", "fd:x", "@x",
      // Shells and format strings.
      "$(id)", "`id`", "$HOME", "$${HOME}", ";id", "|id", "&", "<x", "*", "~root", "!!", "'", "\"",
      "a\"b'c", "\\", "a\\,b", "a\\", "%s%n%x", "%", "{}", "{0}", "#",
      // Lines and blanks.
      "\n", "x\ny", "x\r\ny", " ", " x", "x ", "\t", "x\n-S", "x\n\nmend: rm -rf /",
      // Paths.
      "/", ".", "..", "../../x", "/../x", "a/./b", "//x", "x/",
      // JSON.
      "{\"a\":1}", "[1]", "undefined", "true", "\\u0000", "\"},{\"",
      // What a terminal would act on or misplace.
      "\x1b[2J", "\x1b]0;x\x07", "\x07", "\x7f",
      "\xc2\x9b"
      "2J",
      "\xe2\x80\xaegpj.exe", "\xd7\x90\xd7\x91", "e\xcc\x81\xcc\x82", "\xe2\x80\x8b",
      "\xef\xbb\xbfx", "\xe2\x80\xa8",
      "Gr\xc3\xb6\xc3\x9f"
      "e",
      "\xf0\x9f\xa6\x86",
      // What is no UTF-8: a stray byte, overlong, a surrogate, above the end, cut short.
      "\xff",
      "a\xff"
      "b",
      "\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "x\xe2\x82",
      // NUL, alone and as an end too early.
      std::string("\0", 1), std::string("x\0y", 3), std::string("x\0", 2),
      // Large.
      std::string(100'000, 'A'), std::string(100'000, ','), std::string(100'000, '\\'),
      std::string(300, 'x') + "/" + std::string(300, 'y')};
  return values;
}

}  // namespace vmrig::testing
