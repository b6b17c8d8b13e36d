#include "tests/support/guest.hpp"

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/support/temp_folder.hpp"

namespace vmrig::testing {

std::string guest_folder() {
  const char* given = std::getenv("VMRIG_GUEST");
  const std::string folder = given != nullptr ? given : source_folder() + "/build/guest";
  return std::filesystem::exists(folder + "/vmlinuz") ? folder : "";
}

Json guest_config(const VmGuard& guard, const std::string& name, const std::string& parameters) {
  Json config = guard.config(name);
  config["machine"]["accel"] = "tcg";
  config["memory"]["size"] = "256MiB";
  config["power"]["stop_timeout_s"] = 60;
  config["boot"] = {{"kernel", guest_folder() + "/vmlinuz"},
                    {"initrd", guest_folder() + "/initrd.img"},
                    {"cmdline", "console=ttyS0 quiet panic=-1 " + parameters}};
  return config;
}

}  // namespace vmrig::testing
