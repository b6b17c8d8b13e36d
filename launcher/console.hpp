// The guest's console for any number of clients, with what was printed before they came.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "hostcfg/base/fd.hpp"
#include "qmp/deadline.hpp"

namespace vmrig {

// The newest bytes of a stream, up to a capacity; memory is taken as bytes come.
class ByteRing {
 public:
  explicit ByteRing(std::size_t capacity) : capacity_(capacity) {}
  void append(std::string_view bytes);
  std::string content() const;  // oldest first
  std::size_t size() const { return bytes_.size(); }

 private:
  std::size_t capacity_;
  std::size_t start_ = 0;  // index of the oldest byte once full
  std::string bytes_;
};

struct ConsoleOptions {
  // kStay: clients wait for reconnect() when the serial port has closed.
  enum class SerialEnd { kEnd, kStay };
  SerialEnd on_serial_end = SerialEnd::kEnd;
  std::size_t ring_bytes = std::size_t{64} << 10;
  std::size_t max_queued_bytes = std::size_t{1} << 20;  // a client further behind is dropped
  std::size_t max_clients = 64;
  std::function<void(const std::string&)> log;
};

// One thread of `executor`. Each client of the listening socket gets the ring, then what the guest
// prints; what a client writes goes to the guest, byte by byte.
class ConsoleServer {
 public:
  // Both are taken over: `serial`, connected to the guest's serial port; `listening`.
  ConsoleServer(boost::asio::any_io_executor executor, Fd serial, Fd listening,
                ConsoleOptions options = {});
  ConsoleServer(const ConsoleServer&) = delete;
  ConsoleServer& operator=(const ConsoleServer&) = delete;
  ~ConsoleServer();

  // True when the guest has printed `text` since the console was made (the ring is searched
  // first); false at the deadline or when the serial port has closed.
  boost::asio::awaitable<bool> wait_for_text(std::string text, qmp::Deadline deadline);
  // The guest has a new serial port, after the old one has closed (kStay).
  void reconnect(Fd serial);
  // There will be none: clients are closed once they have what was printed.
  void end();
  std::size_t client_count() const;
  std::string ring() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace vmrig
