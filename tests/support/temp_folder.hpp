// A folder of a test's own.
#pragma once

#include <string>
#include <string_view>

namespace vmrig::testing {

// Made empty below the system's temporary folder, mode 0700; removed with all that it holds.
class TempFolder {
 public:
  TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder();

  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

void write_text(const std::string& path, std::string_view text);
std::string read_text(const std::string& path);  // empty when there is no such file

}  // namespace vmrig::testing
