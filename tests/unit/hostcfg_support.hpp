// A folder that goes away again, and a host made of files in it.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace vmrig::test {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (place() / "vmrig-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  // In memory where that can be: nothing that is tested here needs a disk, and a test that syncs a
  // journal at every step would wait for one more than it works.
  static std::filesystem::path place() {
    constexpr const char* kMemory = "/dev/shm";
    return ::access(kMemory, W_OK) == 0 ? kMemory : std::filesystem::temp_directory_path();
  }

  std::string path_;
};

// What would be "/": proc, sys and dev as a test writes them.
class FakeRoot {
 public:
  const std::string& path() const { return folder_.path(); }
  std::string operator/(std::string_view name) const { return folder_ / name; }

  FakeRoot& write(std::string_view name, std::string_view content) {
    const std::string path = make_parent(name);
    std::ofstream file(path, std::ios::binary);
    file << content;
    if (!file.flush()) throw std::runtime_error("write " + path);
    return *this;
  }
  FakeRoot& link(std::string_view name, std::string_view target) {
    std::filesystem::create_symlink(std::string(target), make_parent(name));
    return *this;
  }
  FakeRoot& fifo(std::string_view name) {
    if (::mkfifo(make_parent(name).c_str(), 0600) < 0) throw std::runtime_error("mkfifo");
    return *this;
  }

 private:
  std::string make_parent(std::string_view name) {
    std::filesystem::path path = folder_ / name;
    std::filesystem::create_directories(path.parent_path());
    return path.string();
  }

  TemporaryFolder folder_;
};

inline std::filesystem::path data_folder() { return VMRIG_TEST_DATA; }

}  // namespace vmrig::test
