#include "launcher/vm_service.hpp"

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <exception>
#include <nlohmann/json.hpp>
#include <utility>

#include "devices/channel.hpp"
#include "launcher/refusal.hpp"
#include "qmp/error.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

constexpr std::chrono::seconds kDrainTimeout{2};
constexpr std::chrono::seconds kStatusTimeout{2};

asio::awaitable<qmp::Json> answer(const qmp::Handler& operation, qmp::Json arguments) {
  std::exception_ptr fault;
  try {
    qmp::Json reply = co_await operation(std::move(arguments));
    co_return reply;
  } catch (...) {
    fault = std::current_exception();
  }
  throw refusal_of(fault);
}

}  // namespace

void VmService::open(Fd qmp_socket, std::optional<Fd> console_socket,
                     ConsoleOptions::SerialEnd on_serial_end) {
  Session& session = parts_.session();
  qmp::ServerOptions server_options;
  server_options.log = [this](const std::string& message) { parts_.log("qmp: " + message); };
  server_options.watched_commands = {"device_add"};
  server_options.on_watched = [this](const std::string&) { parts_.hotplug.on_foreign_change(); };
  server_.emplace(parts_.executor, qmp_socket.release(), *session.monitor,
                  std::move(server_options));
  add_commands();
  if (!session.console) return;
  ConsoleOptions console_options;
  console_options.on_serial_end = on_serial_end;
  console_options.log = parts_.log;
  console_.emplace(parts_.executor, std::move(session.console), std::move(*console_socket),
                   std::move(console_options));
}

void VmService::replace_qemu() {
  Session& session = parts_.session();
  server_->replace_upstream(*session.monitor);
  if (console_ && session.console) console_->reconnect(std::move(session.console));
}

void VmService::tell(const std::string& event, Json data) {
  qmp::Event own;
  own.name = event;
  own.data = std::move(data);
  server_->broadcast(own);
}

asio::awaitable<bool> VmService::wait_for_text(std::string text, qmp::Deadline deadline) {
  return console_->wait_for_text(std::move(text), deadline);
}

asio::awaitable<void> VmService::end(Json shutdown_data) {
  if (console_) console_->end();
  server_->upstream_gone(std::move(shutdown_data));
  co_await server_->drained(qmp::deadline_in(kDrainTimeout));
}

void VmService::close() {
  server_.reset();
  console_.reset();
}

void VmService::add_commands() {
  server_->add_command("vmrig-status", [this](qmp::Json) { return status(); });
  server_->add_command("vmrig-ping",
                       [this](qmp::Json arguments) { return ping(std::move(arguments)); });
  server_->add_command("vmrig-stop", [this](qmp::Json arguments) {
    return parts_.stops.stop(std::move(arguments));
  });
  add_hotplug_command("vmrig-attach", &Hotplug::attach);
  add_hotplug_command("vmrig-detach", &Hotplug::detach);
  add_hotplug_command("vmrig-set", &Hotplug::set);
  add_refusing_command("vmrig-capture", [this](Json arguments) {
    return parts_.captures.begin(std::move(arguments));
  });
  add_refusing_command("vmrig-capture-end", [this](Json arguments) {
    return parts_.captures.end(std::move(arguments));
  });
  server_->add_command("vmrig-version", [](qmp::Json) -> asio::awaitable<qmp::Json> {
    co_return qmp::Json{{"version", VMRIG_VERSION}};
  });
}

void VmService::add_hotplug_command(const char* name,
                                    asio::awaitable<Json> (Hotplug::*operation)(Json arguments)) {
  add_refusing_command(name, [this, operation](Json arguments) {
    return (parts_.hotplug.*operation)(std::move(arguments));
  });
}

// For operations whose faults are vmrig's.
void VmService::add_refusing_command(const char* name, qmp::Handler operation) {
  server_->add_command(name, [operation = std::move(operation)](qmp::Json arguments) {
    return answer(operation, std::move(arguments));
  });
}

// By id, whether a program in the guest has it open.
asio::awaitable<Json> VmService::open_channels() {
  Json open = Json::object();
  const Json channels = parts_.state.config.value("channels", Json::array());
  if (channels.empty()) co_return open;
  qmp::ExecuteOptions options;
  options.deadline = qmp::deadline_in(kStatusTimeout);
  Json none = Json::object();
  const Json chardevs = co_await parts_.session().monitor->execute("query-chardev", std::move(none),
                                                                   std::move(options));
  for (const Json& channel : channels) {
    const std::string id = channel.value("id", std::string());
    for (const Json& chardev : chardevs) {
      if (chardev.value("label", std::string()) != channel_chardev(id)) continue;
      open[id] = chardev.value("frontend-open", false);
    }
  }
  co_return open;
}

asio::awaitable<Json> VmService::status() {
  Json answer = to_json(parts_.state);
  Json live = {{"qmp_clients", server_->client_count()},
               {"console_clients", console_ ? console_->client_count() : 0}};
  if (parts_.state.state == RunState::kRestarting) {
    live["qemu_status"] = nullptr;
    answer["live"] = std::move(live);
    co_return answer;
  }
  try {
    qmp::ExecuteOptions options;
    options.deadline = qmp::deadline_in(kStatusTimeout);
    Json none = Json::object();
    const Json run_state = co_await parts_.session().monitor->execute(
        "query-status", std::move(none), std::move(options));
    live["qemu_status"] = run_state.value("status", std::string());
    live["channels"] = co_await open_channels();
    if (parts_.hotplug.has_balloon()) live["balloon"] = co_await parts_.hotplug.balloon();
  } catch (const qmp::Error& error) {
    live["qemu_status"] = nullptr;
    live["problem"] = error.what();
  }
  answer["live"] = std::move(live);
  co_return answer;
}

// Whether QEMU answers within "timeout" (seconds).
asio::awaitable<Json> VmService::ping(Json arguments) {
  constexpr std::chrono::duration<double> kLongest = kStatusTimeout;
  const Json wanted = arguments.value("timeout", Json(kLongest.count()));
  if (!wanted.is_number() || wanted.get<double>() < 0) {
    throw qmp::Error::refusal("vmrig-ping takes \"timeout\" (seconds)");
  }
  // Between two QEMUs nobody is silent.
  if (parts_.state.state == RunState::kRestarting) co_return Json{{"qemu", true}};
  // One question at a time: a QEMU that is silent for days must not find a heap of them.
  if (!std::exchange(is_ping_open_, true)) {
    const double seconds = std::min(wanted.get<double>(), kLongest.count());
    ping_answer_.expires_after(
        std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000)));
    parts_.session().monitor->execute_raw(
        Json{{"execute", "query-status"}}, {},
        [this](const qmp::RawReply&) {
          is_ping_open_ = false;
          ping_answer_.cancel();
        },
        qmp::kNoDeadline);
  }
  if (is_ping_open_) {
    boost::system::error_code ignored;
    auto token = asio::redirect_error(asio::use_awaitable, ignored);
    co_await ping_answer_.async_wait(token);
  }
  co_return Json{{"qemu", !is_ping_open_ && parts_.session().monitor->is_open()}};
}

}  // namespace vmrig
