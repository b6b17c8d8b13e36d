#include "launcher/console.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <list>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "qmp/error.hpp"
#include "qmp/unix_socket.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

using boost::system::error_code;

constexpr std::size_t kReadBytes = 4096;
// Input that waits for the guest; past it no more is read from the clients.
constexpr std::size_t kMaxInputBytes = std::size_t{64} << 10;

void make_non_blocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
    throw system_error("use the console's socket", {}, errno);
  }
}

asio::posix::stream_descriptor adopt(const asio::any_io_executor& executor, Fd fd) {
  make_non_blocking(fd.get());
  asio::posix::stream_descriptor descriptor(executor, fd.get());
  (void)fd.release();  // the descriptor owns it
  return descriptor;
}

}  // namespace

void ByteRing::append(std::string_view bytes) {
  if (capacity_ == 0) return;
  if (bytes.size() > capacity_) bytes.remove_prefix(bytes.size() - capacity_);
  const std::size_t growth = std::min(bytes.size(), capacity_ - bytes_.size());
  bytes_.append(bytes.substr(0, growth));
  for (const char byte : bytes.substr(growth)) {
    bytes_[start_] = byte;
    start_ = start_ + 1 == capacity_ ? 0 : start_ + 1;
  }
}

std::string ByteRing::content() const { return bytes_.substr(start_) + bytes_.substr(0, start_); }

struct ConsoleServer::State : std::enable_shared_from_this<State> {
  struct Client {
    explicit Client(asio::posix::stream_descriptor connected) : socket(std::move(connected)) {}
    asio::posix::stream_descriptor socket;
    std::array<char, kReadBytes> input;
    std::string queued;   // not handed to the kernel yet
    std::string writing;  // in the write under way
    bool is_reading = false;
    bool is_gone = false;
  };
  using ClientPointer = std::shared_ptr<Client>;

  struct TextWait {
    std::string text;
    std::string tail;  // the last bytes seen, where the text may begin
    asio::steady_timer* timer;
    bool is_found = false;

    void feed(std::string_view bytes) {
      if (is_found) return;
      tail += bytes;
      is_found = tail.find(text) != std::string::npos;
      if (is_found) timer->cancel();
      if (tail.size() >= text.size()) tail.erase(0, tail.size() - text.size() + 1);
    }
  };

  State(const asio::any_io_executor& executor, Fd serial_fd, Fd listening_fd, ConsoleOptions given)
      : options(std::move(given)),
        serial(adopt(executor, std::move(serial_fd))),
        listening(adopt(executor, std::move(listening_fd))),
        ring(options.ring_bytes) {}

  void start() {
    read_serial();
    accept();
  }

  void log(const std::string& message) const {
    if (options.log) options.log(message);
  }

  void read_serial() {
    serial.async_read_some(asio::buffer(output),
                           [self = shared_from_this()](const error_code& fault, std::size_t count) {
                             if (fault) {
                               if (fault != asio::error::operation_aborted) self->lose_serial();
                               return;
                             }
                             self->printed(std::string_view(self->output.data(), count));
                             self->read_serial();
                           });
  }

  void printed(std::string_view bytes) {
    ring.append(bytes);
    for (TextWait* wait : waits) wait->feed(bytes);
    const std::list<ClientPointer> present = clients;  // dropping one changes the list
    for (const ClientPointer& client : present) {
      if (client->queued.size() + client->writing.size() + bytes.size() >
          options.max_queued_bytes) {
        log("console: a client that does not read was dropped");
        drop(client);
        continue;
      }
      client->queued += bytes;
      write(client);
    }
  }

  void accept() {
    listening.async_wait(asio::posix::stream_descriptor::wait_read, [self = shared_from_this()](
                                                                        const error_code& fault) {
      if (fault) return;
      Fd fd(::accept4(self->listening.native_handle(), nullptr, nullptr,
                      SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (fd) {
        self->welcome(std::move(fd));
      } else if (errno == EMFILE || errno == ENFILE) {
        self->log("console: no file descriptors left, no more clients are taken");
        return;  // would otherwise spin on the connection that stays in the backlog
      }
      self->accept();
    });
  }

  // The folder keeps others out; this holds when somebody has opened it to them, too.
  static bool may_connect(const Fd& fd) {
    try {
      const uid_t uid = qmp::peer_uid(fd.get());
      return uid == 0 || uid == ::geteuid();
    } catch (const qmp::Error&) {
      return false;
    }
  }

  void welcome(Fd fd) {
    if (!may_connect(fd)) {
      log("console: a client of another user was refused");
      return;
    }
    if (clients.size() >= options.max_clients) {
      log("console: a client was refused, there are too many");
      return;
    }
    auto client = std::make_shared<Client>(adopt(listening.get_executor(), std::move(fd)));
    clients.push_back(client);
    client->queued = ring.content();
    write(client);
    read(client);
  }

  void write(const ClientPointer& client) {
    if (client->is_gone || !client->writing.empty() || client->queued.empty()) return;
    client->writing.swap(client->queued);
    write_rest(client, 0);
  }

  void write_rest(const ClientPointer& client, std::size_t done) {
    client->socket.async_write_some(
        asio::buffer(client->writing.data() + done, client->writing.size() - done),
        [self = shared_from_this(), client, done](const error_code& fault, std::size_t count) {
          if (client->is_gone) return;
          if (fault) return self->drop(client);
          if (done + count < client->writing.size()) return self->write_rest(client, done + count);
          // Freed, not only emptied: an idle client costs no buffer.
          client->writing = std::string();
          if (!client->queued.empty()) return self->write(client);
          if (self->has_ended) self->drop(client);
        });
  }

  void read(const ClientPointer& client) {
    if (client->is_gone || client->is_reading || input.size() > kMaxInputBytes) return;
    client->is_reading = true;
    client->socket.async_read_some(
        asio::buffer(client->input),
        [self = shared_from_this(), client](const error_code& fault, std::size_t count) {
          client->is_reading = false;
          if (client->is_gone) return;
          // A client that closed its sending side may still want the output: a gone one is found
          // by the next write.
          if (fault == asio::error::eof) return self->sent_all(client);
          if (fault) return self->drop(client);
          // What is typed while there is no guest is for none.
          if (!self->is_lost) self->input.append(client->input.data(), count);
          self->write_serial();
          self->read(client);
        });
  }

  void sent_all(const ClientPointer& client) {
    // A closed stream socket reports hang-up both ways; a half-closed one does not.
    client->socket.async_wait(asio::posix::stream_descriptor::wait_error,
                              [self = shared_from_this(), client](const error_code&) {
                                if (!client->is_gone) self->drop(client);
                              });
  }

  void write_serial() {
    if (has_ended || is_lost || !typing.empty() || input.empty()) return;
    typing.swap(input);
    write_serial_rest(0);
  }

  void write_serial_rest(std::size_t done) {
    serial.async_write_some(
        asio::buffer(typing.data() + done, typing.size() - done),
        [self = shared_from_this(), done](const error_code& fault, std::size_t count) {
          if (fault) return;  // the read tells of the end
          if (done + count < self->typing.size()) return self->write_serial_rest(done + count);
          self->typing = std::string();
          self->write_serial();
          const std::list<ClientPointer> present = self->clients;
          for (const ClientPointer& client : present) self->read(client);
        });
  }

  void drop(const ClientPointer& client) {
    client->is_gone = true;
    error_code ignored;
    client->socket.close(ignored);
    clients.remove(client);
  }

  void lose_serial() {
    if (options.on_serial_end == ConsoleOptions::SerialEnd::kEnd) return end();
    is_lost = true;
    error_code ignored;
    serial.close(ignored);
    input.clear();
    typing = std::string();
    for (TextWait* wait : waits) wait->timer->cancel();
    const std::list<ClientPointer> present = clients;
    for (const ClientPointer& client : present) read(client);
  }

  void reconnect(Fd fd) {
    if (has_ended) return;
    serial = adopt(listening.get_executor(), std::move(fd));
    is_lost = false;
    read_serial();
  }

  // The serial port is closed. Clients are closed once they have what was printed.
  void end() {
    if (std::exchange(has_ended, true)) return;
    error_code ignored;
    serial.close(ignored);
    listening.close(ignored);
    for (TextWait* wait : waits) wait->timer->cancel();
    const std::list<ClientPointer> present = clients;
    for (const ClientPointer& client : present) {
      if (client->queued.empty() && client->writing.empty()) drop(client);
    }
  }

  void close() {
    options.log = nullptr;
    end();
    const std::list<ClientPointer> present = clients;
    for (const ClientPointer& client : present) drop(client);
  }

  ConsoleOptions options;
  asio::posix::stream_descriptor serial;
  asio::posix::stream_descriptor listening;
  ByteRing ring;
  std::array<char, kReadBytes> output;
  std::string input;   // from clients, not handed to the kernel yet
  std::string typing;  // in the write under way
  std::list<ClientPointer> clients;
  std::list<TextWait*> waits;  // each on the stack of its coroutine
  bool is_lost = false;        // the serial port; another may come
  bool has_ended = false;
};

namespace {

// Keeps a wait in the list for its life, also when its coroutine is destroyed while suspended.
template <class T>
class Listed {
 public:
  Listed(std::list<T*>& list, T& item) : list_(list), place_(list.insert(list.end(), &item)) {}
  Listed(const Listed&) = delete;
  Listed& operator=(const Listed&) = delete;
  ~Listed() { list_.erase(place_); }

 private:
  std::list<T*>& list_;
  typename std::list<T*>::iterator place_;
};

}  // namespace

ConsoleServer::ConsoleServer(asio::any_io_executor executor, Fd serial, Fd listening,
                             ConsoleOptions options)
    : state_(std::make_shared<State>(executor, std::move(serial), std::move(listening),
                                     std::move(options))) {
  state_->start();
}

ConsoleServer::~ConsoleServer() { state_->close(); }

asio::awaitable<bool> ConsoleServer::wait_for_text(std::string text, qmp::Deadline deadline) {
  const std::shared_ptr<State> state = state_;
  if (text.empty() || state->ring.content().find(text) != std::string::npos) co_return true;
  if (state->has_ended) co_return false;
  asio::steady_timer timer(state->serial.get_executor(), deadline);
  State::TextWait wait{.text = std::move(text), .tail = {}, .timer = &timer};
  wait.feed(state->ring.content());
  const Listed<State::TextWait> listed(state->waits, wait);
  error_code fault;
  auto token = asio::redirect_error(asio::use_awaitable, fault);
  co_await timer.async_wait(token);
  co_return wait.is_found;
}

void ConsoleServer::reconnect(Fd serial) { state_->reconnect(std::move(serial)); }

void ConsoleServer::end() { state_->end(); }

std::size_t ConsoleServer::client_count() const { return state_->clients.size(); }

std::string ConsoleServer::ring() const { return state_->ring.content(); }

}  // namespace vmrig
