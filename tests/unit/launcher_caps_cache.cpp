#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "launcher/caps_cache.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/temp_folder.hpp"

using namespace vmrig;
using vmrig::testing::read_text;
using vmrig::testing::TempFolder;
using vmrig::testing::write_text;

namespace {

constexpr const char* kQemu = "/usr/bin/qemu-system-x86_64";

Error failure_of(const std::string& qemu, const std::string& search_path = "") {
  try {
    (void)find_qemu(qemu, search_path);
  } catch (const Error& error) {
    return error;
  }
  return Error(
      {.status = ExitStatus::kDone, .operation = "found", .object = {}, .cause = {}, .mend = {}});
}

void make_script(const std::string& path, const std::string& text) {
  write_text(path, text);
  REQUIRE(::chmod(path.c_str(), 0755) == 0);
}

Error probe_failure(const std::string& script, std::chrono::milliseconds timeout) {
  const TempFolder folder;
  make_script(folder / "qemu", script);
  CapsOptions options;
  options.probe_timeout = timeout;
  try {
    (void)load_caps(folder / "qemu", options);
  } catch (const Error& error) {
    return error;
  }
  throw std::runtime_error("it was taken for a QEMU");
}

std::size_t count_files(const std::string& folder) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++count;
  return count;
}

}  // namespace

TEST_CASE("a QEMU that is missing, a folder or not executable is told apart") {
  const TempFolder folder;
  write_text(folder / "plain", "x");
  ::chmod((folder / "plain").c_str(), 0644);
  CHECK(failure_of(folder / "none").parts().cause == "there is no such file");
  CHECK(failure_of(folder.path()).parts().cause == "it is a folder");
  CHECK(failure_of(folder / "plain").parts().cause == "it is not executable");
  CHECK(failure_of("qemu-system-none", "/usr/bin").parts().cause == "it is not in PATH");
  CHECK(failure_of(folder / "none").status() == ExitStatus::kHost);
}

TEST_CASE("PATH is searched in order, and never the working folder") {
  const TempFolder folder;
  std::filesystem::create_directory(folder / "a");
  std::filesystem::create_directory(folder / "b");
  make_script(folder / "a/qemu-x", "#!/bin/sh\n");
  make_script(folder / "b/qemu-x", "#!/bin/sh\n");
  CHECK(find_qemu("qemu-x", "/none:" + (folder / "b") + ":" + (folder / "a")) ==
        folder / "b/qemu-x");
  CHECK(failure_of("qemu-x", ".:").parts().cause == "it is not in PATH");
}

TEST_CASE("what is no QEMU is reported with its own words") {
  const Error error =
      probe_failure("#!/bin/sh\necho 'bad option -M' >&2\nexit 3\n", std::chrono::seconds(10));
  CHECK(error.status() == ExitStatus::kQemu);
  CHECK(std::string(error.what()).find("bad option -M (exit status 3)") != std::string::npos);
}

TEST_CASE("a QEMU that hangs when probed is killed at the time-out") {
  const Error error = probe_failure("#!/bin/sh\nexec sleep 600\n", std::chrono::milliseconds(150));
  CHECK(error.status() == ExitStatus::kQemu);
  CHECK(std::string(error.what()).find("did not answer within 150 ms") != std::string::npos);
}

TEST_CASE("a QEMU is probed once, and again when the cache is damaged or the file is new") {
  if (::access(kQemu, X_OK) != 0) SKIP_TEST("no QEMU here");
  const TempFolder folder;
  const std::string wrapper = folder / "qemu";
  // Counts its starts.
  const std::string text =
      "#!/bin/sh\necho x >> " + (folder / "starts") + "\nexec " + kQemu + " \"$@\"\n";
  make_script(wrapper, text);
  const auto starts = [&] { return read_text(folder / "starts").size() / 2; };
  std::vector<std::string> logged;
  CapsOptions options;
  options.cache_folder = folder / "cache/deeper";
  options.log = [&](const std::string& message) { logged.push_back(message); };

  const qmp::QemuCaps first = load_caps(wrapper, options);
  CHECK(starts() == 1);
  CHECK(load_caps(wrapper, options) == first);
  CHECK(starts() == 1);
  CHECK(logged.empty());
  REQUIRE(count_files(options.cache_folder) == 1);

  const std::string file =
      std::filesystem::directory_iterator(options.cache_folder)->path().string();
  for (const std::string& damage : {std::string(), std::string("garbage\n{"),
                                    read_text(file).substr(0, read_text(file).size() / 2)}) {
    const std::size_t before = starts();
    write_text(file, damage);
    CHECK(load_caps(wrapper, options) == first);
    CHECK(starts() == before + 1);
  }
  const std::size_t before = starts();
  std::filesystem::remove(wrapper);
  make_script(wrapper, text + "\n");
  CHECK(load_caps(wrapper, options) == first);
  CHECK(starts() == before + 1);
  options.use = CapsOptions::Use::kProbeAnew;
  (void)load_caps(wrapper, options);
  CHECK(starts() == before + 2);
}

TEST_CASE("a cache that can't be written is no error") {
  if (::access(kQemu, X_OK) != 0) SKIP_TEST("no QEMU here");
  std::string logged;
  CapsOptions options;
  options.cache_folder = "/proc/none/cache";
  options.log = [&](const std::string& message) { logged = message; };
  CHECK(load_caps(kQemu, options).has_device("virtio-blk-pci"));
  CHECK(logged.find("not cached") != std::string::npos);
}

TEST_CASE("the cache's folder is root's own or the user's") {
  CHECK(default_cache_folder(0, "/x", "/y") == "/var/cache/vmrig");
  CHECK(default_cache_folder(1000, "/x", "/y") == "/x/vmrig");
  CHECK(default_cache_folder(1000, "", "/y") == "/y/.cache/vmrig");
  CHECK(default_cache_folder(1000, "relative", "").empty());
}
