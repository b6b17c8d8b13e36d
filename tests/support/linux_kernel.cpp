#include "tests/support/linux_kernel.hpp"

namespace vmrig::testing {

std::string linux_kernel_header() {
  std::string file(64 << 10, '\0');
  file[0x1f1] = 4;  // setup_sects
  file.replace(0x202, 4, "HdrS");
  file[0x206] = 0x0c;
  file[0x207] = 0x02;
  file[0x211] = 1;                             // loadflags: LOADED_HIGH
  file.replace(0x22c, 4, "\xff\xff\xff\x7f");  // initrd_addr_max
  return file;
}

}  // namespace vmrig::testing
