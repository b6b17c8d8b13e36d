#include "hostcfg/files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/retry.hpp"

namespace vmrig {
namespace {

Error refusal(std::string operation, const std::string& path, std::string cause,
              std::string mend = {}) {
  return Error({.status = ExitStatus::kFailed,
                .operation = std::move(operation),
                .object = path,
                .cause = std::move(cause),
                .mend = std::move(mend)});
}

int open_to_read(const std::string& path, int more_flags = 0) {
  return retrying([&] {
    return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | more_flags);
  });
}

int open_folder(const std::string& path, int more_flags = 0) {
  return retrying(
      [&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | more_flags); });
}

std::string read_opened(const Fd& file, const std::string& path, std::size_t limit) {
  struct stat status {};
  if (::fstat(file.get(), &status) < 0) throw system_error("read", path, errno);
  if (!S_ISREG(status.st_mode)) throw refusal("read", path, "it is not a regular file");
  std::string content;
  std::size_t used = 0;
  for (;;) {
    // One byte above the limit tells a file that is too large from one that just fits.
    content.resize(std::min(limit + 1, std::max<std::size_t>(used * 2, 4096)));
    const ssize_t got = ::read(file.get(), content.data() + used, content.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw system_error("read", path, errno);
    used += static_cast<std::size_t>(got);
    if (used > limit) {
      throw refusal("read", path, fmt::format("it is larger than {} bytes", limit));
    }
    if (got == 0) break;
  }
  content.resize(used);
  return content;
}

// A file under its temporary name; removed again unless it was renamed.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& target) {
    const std::size_t slash = target.rfind('/');
    const std::size_t name = slash == std::string::npos ? 0 : slash + 1;
    path_ = target.substr(0, name) + "." + target.substr(name) + ".XXXXXX";
    fd_ = Fd(make());
    if (!fd_) throw system_error("write", target, errno);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }

  void write(std::string_view content, const std::string& target) {
    while (!content.empty()) {
      const ssize_t put =
          retrying([&] { return ::write(fd_.get(), content.data(), content.size()); });
      if (put < 0) throw system_error("write", target, errno);
      content.remove_prefix(static_cast<std::size_t>(put));
    }
    if (retrying([this] { return ::fsync(fd_.get()); }) < 0) {
      throw system_error("write", target, errno);
    }
  }

  void rename_to(const std::string& target) {
    if (::rename(path_.c_str(), target.c_str()) < 0) throw system_error("write", target, errno);
    path_.clear();
  }

 private:
  int make() {  // mode 0600
    const std::string name = path_;
    return retrying([&] {
      path_ = name;  // which a failure leaves undefined
      return ::mkostemp(path_.data(), O_CLOEXEC);
    });
  }

  std::string path_;
  Fd fd_;
};

}  // namespace

std::string read_small_file(const std::string& path, std::size_t limit) {
  const Fd file(open_to_read(path));
  if (!file) throw system_error("read", path, errno);
  return read_opened(file, path, limit);
}

std::optional<std::string> read_file_if_exists(const std::string& path, std::size_t limit) {
  const Fd file(open_to_read(path));
  if (!file && errno == ENOENT) return std::nullopt;
  if (!file) throw system_error("read", path, errno);
  return read_opened(file, path, limit);
}

std::optional<std::string> read_own_file_if_exists(const std::string& path, std::size_t limit) {
  const Fd file(open_to_read(path, O_NOFOLLOW));
  if (!file && errno == ENOENT) return std::nullopt;
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) < 0) throw system_error("read", path, errno);
  if (status.st_uid != ::geteuid()) {
    throw refusal("read", path,
                  fmt::format("it belongs to user {}, not to user {}", status.st_uid, ::geteuid()));
  }
  return read_opened(file, path, limit);
}

std::vector<std::string> list_folder(const std::string& path) {
  using Close = int (*)(DIR*);
  Fd folder(open_folder(path));
  if (!folder) throw system_error("list", path, errno);
  const std::unique_ptr<DIR, Close> stream(::fdopendir(folder.get()), ::closedir);
  if (!stream) throw system_error("list", path, errno);
  folder.release();  // the stream closes it
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) throw system_error("list", path, errno);
  std::sort(names.begin(), names.end());
  return names;
}

void write_file_atomically(const std::string& path, std::string_view content) {
  TemporaryFile file(path);
  file.write(content, path);
  file.rename_to(path);
  // Without this a power cut can take back the rename, and with it a journal entry.
  const std::size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const Fd folder(open_folder(parent));
  if (!folder || retrying([&folder] { return ::fsync(folder.get()); }) < 0) {
    throw system_error("write", path, errno);
  }
}

Fd ensure_private_folder(const std::string& path) {
  constexpr const char* kOperation = "use the folder";
  if (::mkdir(path.c_str(), 0700) < 0 && errno != EEXIST) {
    throw system_error("make the folder", path, errno);
  }
  Fd folder(open_folder(path, O_NOFOLLOW));
  if (!folder && (errno == ELOOP || errno == ENOTDIR)) {
    throw refusal(kOperation, path, "it is a symlink or not a folder");
  }
  struct stat status {};
  if (!folder || ::fstat(folder.get(), &status) < 0) {
    throw system_error(kOperation, path, errno);
  }
  if (status.st_uid != ::geteuid()) {
    throw refusal(kOperation, path,
                  fmt::format("it belongs to user {}, not to user {}", status.st_uid, ::geteuid()));
  }
  if ((status.st_mode & 077) != 0) {
    throw refusal(kOperation, path,
                  fmt::format("others have access to it (mode {:04o})", status.st_mode & 07777),
                  "chmod 700 " + path);
  }
  return folder;
}

}  // namespace vmrig
