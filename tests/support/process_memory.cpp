#include "tests/support/process_memory.hpp"

#include <charconv>
#include <string>

#include "tests/support/temp_folder.hpp"

namespace vmrig::testing {
namespace {

std::size_t kib_in_status(pid_t pid, const std::string& name) {
  const std::string text = read_text("/proc/" + std::to_string(pid) + "/status");
  const std::size_t line = text.find("\n" + name + ":");
  if (line == std::string::npos) return 0;
  const std::size_t digits = text.find_first_of("0123456789", line);
  std::size_t kib = 0;
  std::from_chars(text.data() + digits, text.data() + text.size(), kib);
  return kib;
}

}  // namespace

std::size_t resident_bytes(pid_t pid) { return kib_in_status(pid, "VmRSS") << 10; }
std::size_t peak_bytes(pid_t pid) { return kib_in_status(pid, "VmHWM") << 10; }
void forget_peak(pid_t pid) { write_text("/proc/" + std::to_string(pid) + "/clear_refs", "5"); }

}  // namespace vmrig::testing
