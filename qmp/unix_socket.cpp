#include "qmp/unix_socket.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include "qmp/error.hpp"

namespace qmp {
namespace {

std::string errno_text() { return std::generic_category().message(errno); }

[[noreturn]] void fail(const std::string& what, const std::string& path) {
  throw Error(ErrorKind::closed, what + " '" + path + "': " + errno_text());
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty()) throw Error(ErrorKind::closed, "the path of a socket is empty");
  if (path.size() >= sizeof(address.sun_path)) {
    throw Error(ErrorKind::closed,
                "the path of socket '" + path + "' has " + std::to_string(path.size()) +
                    " bytes; an AF_UNIX address holds at most " +
                    std::to_string(sizeof(address.sun_path) - 1) + ": use a shorter folder");
  }
  std::copy(path.begin(), path.end(), address.sun_path);
  return address;
}

const sockaddr* generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

Fd new_socket() {
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) throw Error(ErrorKind::closed, "cannot make a socket: " + errno_text());
  return fd;
}

int milliseconds_until(Deadline deadline) {
  using std::chrono::milliseconds;
  if (deadline == kNoDeadline) return INT_MAX;
  const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, INT_MAX));
}

/// A private folder beside a socket's final place, gone again with the object.
class PrivateFolder {
 public:
  explicit PrivateFolder(const std::string& beside)
      : path_(beside.substr(0, beside.find_last_of('/') + 1) + ".qXXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) fail("cannot make a folder beside socket", beside);
  }
  PrivateFolder(const PrivateFolder&) = delete;
  PrivateFolder& operator=(const PrivateFolder&) = delete;
  ~PrivateFolder() {
    ::unlink(socket().c_str());
    ::rmdir(path_.c_str());
  }
  std::string socket() const { return path_ + "/s"; }

 private:
  std::string path_;
};

}  // namespace

Fd connect_unix(const std::string& path, Deadline deadline) {
  const sockaddr_un address = address_of(path);
  Fd fd = new_socket();
  // A full backlog is EAGAIN at once for a non-blocking AF_UNIX socket, and poll() tells nothing
  // about it: SO_SNDTIMEO is what bounds a blocking connect (socket(7), unix(7)).
  while (::connect(fd.get(), generic(address), sizeof address) != 0) {
    if (errno == EINTR) continue;
    if (errno != EAGAIN) fail("cannot connect to", path);
    const int wait_ms = milliseconds_until(deadline);
    if (wait_ms == 0) {
      throw Error(ErrorKind::timeout,
                  "connecting to '" + path + "' timed out: its backlog is full");
    }
    Fd patient(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!patient) throw Error(ErrorKind::closed, "cannot make a socket: " + errno_text());
    const timeval limit{wait_ms / 1000, (wait_ms % 1000) * 1000};
    if (::setsockopt(patient.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0) {
      fail("cannot bound the connect to", path);
    }
    if (::connect(patient.get(), generic(address), sizeof address) == 0) {
      const timeval none{0, 0};
      const int flags = ::fcntl(patient.get(), F_GETFL);
      if (::setsockopt(patient.get(), SOL_SOCKET, SO_SNDTIMEO, &none, sizeof none) != 0 ||
          flags < 0 || ::fcntl(patient.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
        fail("cannot set up the connection to", path);
      }
      return patient;
    }
    if (errno != EAGAIN && errno != EINTR) fail("cannot connect to", path);
  }
  return fd;
}

Fd listen_unix(const std::string& path, int backlog) {
  address_of(path);
  const PrivateFolder folder(path);
  const std::string temporary = folder.socket();
  const sockaddr_un address = address_of(temporary);
  Fd fd = new_socket();
  if (::bind(fd.get(), generic(address), sizeof address) != 0) fail("cannot bind", temporary);
  // The folder is 0700, so nobody can connect between bind and chmod; no umask is touched.
  if (::chmod(temporary.c_str(), S_IRUSR | S_IWUSR) != 0) fail("cannot set the mode of", temporary);
  if (::listen(fd.get(), backlog) != 0) fail("cannot listen on", temporary);
  struct stat there {};
  if (::lstat(path.c_str(), &there) == 0 && !S_ISSOCK(there.st_mode)) {
    throw Error(ErrorKind::closed, "'" + path + "' exists and is no socket");
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) fail("cannot put in place socket", path);
  return fd;
}

std::pair<Fd, Fd> socket_pair() {
  int fds[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
    throw Error(ErrorKind::closed, "cannot make a socket pair: " + errno_text());
  }
  return {Fd(fds[0]), Fd(fds[1])};
}

uid_t peer_uid(int fd) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    throw Error(ErrorKind::closed, "cannot tell who is connected: " + errno_text());
  }
  return credentials.uid;
}

}  // namespace qmp
