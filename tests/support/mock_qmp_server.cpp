#include "tests/support/mock_qmp_server.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>

#include "qmp/error.hpp"
#include "qmp/fd.hpp"
#include "qmp/framing.hpp"
#include "qmp/unix_socket.hpp"

namespace qmp::testing {
namespace {

constexpr std::string_view kVersion =
    R"("version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Mock 1:7.2"})";

std::string greeting(bool oob) {
  return R"({"QMP": {)" + std::string(kVersion) + R"(, "capabilities": [)" +
         (oob ? R"("oob")" : "") + "]}}\r\n";
}

std::string temporary_folder() {
  std::string path = "/tmp/mock-qmp-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) throw std::runtime_error("cannot make a folder in /tmp");
  return path;
}

}  // namespace

struct MockQmpServer::State {
  explicit State(MockScript given)
      : script(std::move(given)),
        folder(temporary_folder()),
        path(folder + "/qmp.sock"),
        listener(listen_unix(path)),
        stop_event(::eventfd(0, EFD_CLOEXEC)) {
    thread = std::thread([this] { serve(); });
  }
  ~State() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    ::eventfd_write(stop_event.get(), 1);
    thread.join();
    ::unlink(path.c_str());
    ::rmdir(folder.c_str());
  }

  /// True when `fd` is readable; false when the server has to stop.
  bool wait(int fd) const {
    pollfd both[2] = {{stop_event.get(), POLLIN, 0}, {fd, POLLIN, 0}};
    while (::poll(both, 2, -1) < 0) {
    }
    return both[0].revents == 0;
  }

  void serve() {
    while (wait(listener.get())) {
      Fd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!fd) continue;
      {
        const std::lock_guard lock(mutex);
        client = std::move(fd);
      }
      if (greet()) serve_client();
      const std::lock_guard lock(mutex);
      client.reset();
    }
  }

  bool send(std::string_view bytes) {
    const std::lock_guard lock(mutex);
    return send_locked(bytes);
  }
  bool send_locked(std::string_view bytes) {
    while (client && !bytes.empty()) {
      const ssize_t n = ::send(client.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n < 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return static_cast<bool>(client);
  }

  bool greet() {
    if (!script.preamble.empty()) send(script.preamble);
    const std::string normal = greeting(script.greeting == MockGreeting::with_oob);
    const std::string_view half = std::string_view(normal).substr(0, normal.size() / 2);
    bool goes_on = true;
    switch (script.greeting) {
      case MockGreeting::normal:
      case MockGreeting::with_oob:
        send(normal);
        break;
      case MockGreeting::none:
        break;
      case MockGreeting::garbage:
        send("SSH-2.0-OpenSSH_9.2\r\n");
        break;
      case MockGreeting::wrong_shape:
        send("{\"QMP\": 7}\r\n");
        break;
      case MockGreeting::half:
        send(half);
        break;
      case MockGreeting::half_then_close:
        send(half);
        goes_on = false;
        break;
      case MockGreeting::close_at_once:
        goes_on = false;
        break;
    }
    const std::lock_guard lock(mutex);
    greeted = true;
    changed.notify_all();
    return goes_on;
  }

  void serve_client() {
    Framer framer;
    while (wait(client.get())) {
      const auto room = framer.prepare(65536);
      const ssize_t got = receive(room);
      if (got <= 0) return;
      framer.commit(static_cast<std::size_t>(got));
      try {
        while (const auto message = framer.next()) {
          if (!answer(Json::parse(*message), framer.resets())) return;
        }
      } catch (const std::exception&) {
        return;
      }
    }
  }

  ssize_t receive(std::span<char> room) {
    iovec part{room.data(), room.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 64)];
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    const ssize_t got = ::recvmsg(client.get(), &header, MSG_CMSG_CLOEXEC);
    for (cmsghdr* item = CMSG_FIRSTHDR(&header); got > 0 && item != nullptr;
         item = CMSG_NXTHDR(&header, item)) {
      const std::size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < count; ++i) {
        int number = -1;
        std::memcpy(&number, CMSG_DATA(item) + i * sizeof(int), sizeof number);
        const Fd fd(number);
        struct stat status {};
        ::fstat(fd.get(), &status);
        const std::lock_guard lock(mutex);
        files.emplace_back(status.st_dev, status.st_ino);
      }
    }
    return got;
  }

  /// False when the connection is to end.
  bool answer(const Json& request, std::size_t resets) {
    const char* verb = request.contains("exec-oob") ? "exec-oob" : "execute";
    const auto command = request.at(verb).get<std::string>();
    MockReply reply;
    {
      const std::lock_guard lock(mutex);
      seen.push_back(request);
      changed.notify_all();
      const auto found = script.replies.find(command);
      if (found != script.replies.end()) {
        reply = found->second;
      } else if (command == "qmp_capabilities") {
        reply.silent = script.capabilities == MockCapabilities::silence;
        reply.close = script.capabilities == MockCapabilities::close;
        if (script.capabilities == MockCapabilities::refuse) {
          reply.error_class = "GenericError";
          reply.desc = "refused by the script";
        }
      } else if (command == "guest-sync-delimited") {
        reply.raw = "\xff{\"return\": " + request.at("arguments").at("id").dump() + "}\n";
        if (resets == 0) reply.raw = "{\"error\": {\"class\": \"GenericError\", \"desc\": \"\"}}\n";
      } else {
        reply.error_class = "CommandNotFound";
        reply.desc = "The command " + command + " has not been found";
      }
    }
    if (reply.close) return false;
    std::string text;
    for (const Json& event : reply.events_before) text += event.dump() + "\r\n";
    if (!reply.raw.empty()) {
      text += reply.raw;
    } else if (!reply.silent) {
      Json out = Json::object();
      if (reply.error_class.empty()) {
        out["return"] = reply.value;
      } else {
        out["error"] = Json{{"class", reply.error_class}, {"desc", reply.desc}};
      }
      if (request.contains("id")) out["id"] = request["id"];
      text += out.dump() + "\r\n";
    }
    for (const Json& event : reply.events_after) text += event.dump() + "\r\n";
    return send(text);
  }

  MockScript script;
  const std::string folder;
  const std::string path;
  Fd listener;
  Fd stop_event;
  mutable std::mutex mutex;
  mutable std::condition_variable changed;
  Fd client;
  bool greeted = false;
  bool stopping = false;
  std::vector<Json> seen;
  std::vector<std::pair<unsigned long, unsigned long>> files;
  std::thread thread;
};

MockQmpServer::MockQmpServer(MockScript script)
    : state_(std::make_unique<State>(std::move(script))) {}
MockQmpServer::~MockQmpServer() = default;

const std::string& MockQmpServer::path() const { return state_->path; }

int MockQmpServer::connect() const {
  return connect_unix(state_->path, deadline_in(std::chrono::seconds(5))).release();
}

void MockQmpServer::emit(const std::string& name, const Json& data) {
  Json event = Json::object();
  event["event"] = name;
  if (!data.empty()) event["data"] = data;
  event["timestamp"] = Json{{"seconds", 1700000000}, {"microseconds", 250000}};
  send_raw(event.dump() + "\r\n");
}

void MockQmpServer::send_raw(std::string_view bytes) {
  std::unique_lock lock(state_->mutex);
  state_->changed.wait_for(lock, std::chrono::seconds(5),
                           [&] { return state_->greeted && state_->client; });
  if (!state_->send_locked(bytes)) throw std::runtime_error("the mock has no client");
}

void MockQmpServer::drop_client() {
  const std::lock_guard lock(state_->mutex);
  // The serving thread sees the end and closes; closing here would pull the fd from under it.
  if (state_->client) ::shutdown(state_->client.get(), SHUT_RDWR);
}

void MockQmpServer::set_reply(const std::string& command, MockReply reply) {
  const std::lock_guard lock(state_->mutex);
  state_->script.replies[command] = std::move(reply);
}

std::vector<Json> MockQmpServer::requests() const {
  const std::lock_guard lock(state_->mutex);
  return state_->seen;
}

bool MockQmpServer::wait_for_request(const std::string& command, Deadline deadline) const {
  std::unique_lock lock(state_->mutex);
  return state_->changed.wait_until(lock, deadline, [&] {
    for (const Json& each : state_->seen) {
      if (each.value("execute", "") == command || each.value("exec-oob", "") == command) {
        return true;
      }
    }
    return false;
  });
}

std::vector<std::pair<unsigned long, unsigned long>> MockQmpServer::received_files() const {
  const std::lock_guard lock(state_->mutex);
  return state_->files;
}

}  // namespace qmp::testing
