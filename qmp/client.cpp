#include "qmp/client.hpp"

#include <algorithm>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <limits>
#include <random>
#include <stdexcept>
#include <utility>

#include "qmp/client_core.hpp"

namespace qmp {
namespace {

using detail::ClientCore;
using detail::Token;

Error refusal_of(std::string_view body, const std::string& command) {
  const Json error = Json::parse(body);
  return Error(error.at("class").get<std::string>(), error.at("desc").get<std::string>(), command);
}

/// A command's text as submit() wants it: without id and last bracket.
std::string open_text(std::string_view verb, const std::string& command, const Json& arguments) {
  try {
    std::string text = "{\"";
    text += verb;
    text += "\":";
    text += Json(command).dump();
    if (!arguments.empty()) {
      text += ",\"arguments\":";
      text += arguments.dump();
    }
    return text;
  } catch (const Json::type_error& error) {
    throw Error("GenericError", std::string("the arguments are not valid UTF-8: ") + error.what(),
                command);
  }
}

/// What a raw reply means to execute(): a value, or an exception.
struct Decoded {
  Json value;
  std::exception_ptr error;
};

Decoded decode(ClientCore& core, const RawReply& reply, const std::string& command) {
  Decoded decoded;
  try {
    switch (reply.kind) {
      case RawReply::Kind::returned:
        decoded.value = Json::parse(reply.body);
        break;
      case RawReply::Kind::error:
        decoded.error = std::make_exception_ptr(refusal_of(reply.body, command));
        break;
      case RawReply::Kind::failed:
        decoded.error = std::make_exception_ptr(
            Error(reply.failure->kind(), command + ": " + reply.failure->what()));
        break;
    }
  } catch (const Json::exception& error) {
    const std::string reason = command + ": malformed reply: " + error.what();
    decoded.error = std::make_exception_ptr(Error(ErrorKind::protocol, reason));
    core.terminate(ErrorKind::protocol, reason);
  }
  return decoded;
}

/// One execute() under way: completes an Asio handler with a value or an exception.
template <typename AsioHandler>
class Call {
 public:
  Call(std::shared_ptr<ClientCore> core, std::string command, AsioHandler handler)
      : core_(std::move(core)), command_(std::move(command)), handler_(std::move(handler)) {}

  void operator()(const RawReply& reply) {
    Decoded decoded = decode(*core_, reply, command_);
    const auto executor = asio::get_associated_executor(handler_, core_->executor());
    asio::dispatch(executor,
                   [handler = std::move(handler_), decoded = std::move(decoded)]() mutable {
                     handler(decoded.error, std::move(decoded.value));
                   });
  }
  AsioHandler& handler() { return handler_; }

 private:
  std::shared_ptr<ClientCore> core_;
  std::string command_;
  AsioHandler handler_;
};

/// Json's own conversion takes any number, and is undefined for one that does not fit.
int version_part(const Json& version, const char* key) {
  const Json& value = version.at(key);
  const std::int64_t number = value.is_number_integer() ? value.get<std::int64_t>() : -1;
  if (number < 0 || number > std::numeric_limits<int>::max()) {
    throw Error(ErrorKind::protocol,
                std::string("malformed QMP greeting: ") + key + " is no version number");
  }
  return static_cast<int>(number);
}

}  // namespace

bool Greeting::offers(std::string_view capability) const {
  return std::find(capabilities.begin(), capabilities.end(), capability) != capabilities.end();
}

Greeting Greeting::from_json(const Json& qmp) {
  try {
    Greeting greeting;
    greeting.version = qmp.at("version");
    const Json& number = greeting.version.at("qemu");
    greeting.major = version_part(number, "major");
    greeting.minor = version_part(number, "minor");
    greeting.micro = version_part(number, "micro");
    greeting.package = greeting.version.at("package").get<std::string>();
    for (const Json& each : qmp.at("capabilities")) {
      greeting.capabilities.push_back(each.get<std::string>());
    }
    return greeting;
  } catch (const Json::exception& error) {
    throw Error(ErrorKind::protocol, std::string("malformed QMP greeting: ") + error.what());
  }
}

Subscription::Subscription(std::weak_ptr<ClientCore> core, std::uint64_t number)
    : core_(std::move(core)), number_(number) {}

Subscription& Subscription::operator=(Subscription&& other) noexcept {
  if (this != &other) {
    reset();
    core_ = std::move(other.core_);
    number_ = other.number_;
  }
  return *this;
}

Subscription::~Subscription() { reset(); }

void Subscription::reset() noexcept {
  if (const auto core = core_.lock()) core->subscribers_.erase(number_);
  core_.reset();
}

Client::Client(asio::any_io_executor executor, int connected_fd, ClientOptions options)
    : core_(
          std::make_shared<ClientCore>(std::move(executor), Fd(connected_fd), std::move(options))) {
  core_->start();
}

Client::~Client() {
  core_->silent_end_ = true;
  core_->closed_handlers_.clear();
  core_->subscribers_.clear();
  core_->terminate(ErrorKind::closed, "closed by this side");
}

asio::awaitable<Greeting> Client::handshake(Deadline deadline) {
  const auto core = core_;
  const bool is_early =
      core->options_.opening == Opening::at_once && core->options_.oob == OobUse::off;
  if (is_early) {
    const Json negotiation = {{"execute", "qmp_capabilities"}};
    execute_raw(
        negotiation, {}, [](const RawReply&) {}, deadline);
  }
  while (!core->greeting_) {
    if (!core->is_open()) {
      // Say which stage it was: a greeting that never came often means "not a QMP socket".
      try {
        core->throw_closed();
      } catch (const Error& error) {
        throw Error(error.kind(), std::string("no QMP greeting: ") + error.what());
      }
    }
    try {
      co_await core->suspend(deadline, core, &core->greeting_wait_);
    } catch (const Error& error) {
      throw Error(error.kind(), std::string("no QMP greeting: ") + error.what());
    }
  }
  if (is_early) co_return *core->greeting_;
  Json arguments = Json::object();
  const bool use_oob = core->options_.oob == OobUse::when_offered && core->greeting_->offers("oob");
  if (use_oob) arguments["enable"] = Json::array({"oob"});
  ExecuteOptions options;
  options.deadline = deadline;
  auto negotiation = execute("qmp_capabilities", std::move(arguments), std::move(options));
  co_await std::move(negotiation);
  core->oob_enabled_ = use_oob;
  co_return *core->greeting_;
}

asio::awaitable<void> Client::sync_guest_agent(Deadline deadline) {
  const auto core = core_;
  std::random_device device;
  const std::int64_t number = device() & 0x7fffffff;
  core->expect_sync(number);
  // 0xFF ends whatever a dead client left half-sent (qemu docs/interop/qemu-ga-ref).
  core->send_bytes("\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":" +
                   std::to_string(number) + "}}\n");
  while (core->syncing()) {
    if (!core->is_open()) core->throw_closed();
    co_await core->suspend(deadline, core, &core->greeting_wait_);
  }
}

asio::awaitable<Json> Client::execute(std::string command, Json arguments, ExecuteOptions options) {
  auto initiation = [core = core_, command = std::move(command), arguments = std::move(arguments),
                     options = std::move(options)](auto handler) mutable {
    using Operation = Call<decltype(handler)>;
    auto call = std::make_shared<Operation>(core, command, std::move(handler));
    auto slot = asio::get_associated_cancellation_slot(call->handler());
    std::string text;
    try {
      text = open_text(options.oob ? "exec-oob" : "execute", command, arguments);
    } catch (const Error&) {
      asio::post(core->executor(),
                 [call, error = std::current_exception()] { call->handler()(error, Json()); });
      return;
    }
    const Token token = core->submit(
        std::move(text), options.oob, options.fds,
        [call](const RawReply& reply) { (*call)(reply); }, options.deadline);
    if (slot.is_connected()) {
      slot.assign([weak = std::weak_ptr(core), token](asio::cancellation_type) {
        if (const auto strong = weak.lock()) {
          strong->give_up(token, ErrorKind::cancelled, "cancelled");
        }
      });
    }
  };
  const asio::use_awaitable_t<> completion{};
  return asio::async_initiate<const asio::use_awaitable_t<>, void(std::exception_ptr, Json)>(
      std::move(initiation), completion);
}

namespace {

struct Batch {
  std::vector<Outcome> outcomes;
  std::size_t left = 0;
  std::exception_ptr failure;
  Token wait = 0;
};

void submit_all(const std::shared_ptr<ClientCore>& core, const std::shared_ptr<Batch>& batch,
                const std::vector<Request>& requests, Deadline deadline) {
  std::vector<std::string> texts;  // all, before any goes out
  for (const Request& request : requests) {
    texts.push_back(open_text("execute", request.command, request.arguments));
  }
  const ClientCore::Held together(*core);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    auto callback = [core, batch, i, command = requests[i].command](const RawReply& reply) {
      Decoded decoded = decode(*core, reply, command);
      batch->outcomes[i].value = std::move(decoded.value);
      if (decoded.error) {
        try {
          std::rethrow_exception(decoded.error);
        } catch (const Error& error) {
          batch->outcomes[i].error = error;
          if (error.kind() != ErrorKind::command && !batch->failure) {
            batch->failure = decoded.error;
          }
        }
      }
      if (--batch->left == 0) core->wake(batch->wait);
    };
    core->submit(std::move(texts[i]), false, requests[i].fds, std::move(callback), deadline);
  }
}

}  // namespace

asio::awaitable<std::vector<Outcome>> Client::execute_all(std::vector<Request> requests,
                                                          Deadline deadline) {
  const auto core = core_;
  const auto batch = std::make_shared<Batch>();
  batch->outcomes.resize(requests.size());
  batch->left = requests.size();
  submit_all(core, batch, requests, deadline);
  while (batch->left > 0) {
    // The commands themselves carry the deadline, and fail when the connection ends.
    co_await core->suspend(kNoDeadline, batch, &batch->wait);
  }
  if (batch->failure) std::rethrow_exception(batch->failure);
  co_return std::move(batch->outcomes);
}

void Client::execute_raw(Json request, const std::vector<int>& fds, RawCallback callback,
                         Deadline deadline) {
  const bool oob = request.contains("exec-oob");
  request.erase("id");
  std::string text = request.dump();
  if (!request.is_object() || request.empty()) {
    throw std::invalid_argument("a raw QMP request is an object with 'execute' or 'exec-oob'");
  }
  text.pop_back();
  core_->submit(std::move(text), oob, fds, std::move(callback), deadline);
}

Subscription Client::subscribe(std::function<void(const Event&)> handler) {
  const std::uint64_t number = core_->next_subscriber_++;
  core_->subscribers_.emplace(
      number, std::make_shared<std::function<void(const Event&)>>(std::move(handler)));
  return Subscription(core_, number);
}

asio::awaitable<Event> Client::wait_event(EventMatch match, Deadline deadline) {
  EventWaiter waiter(*this, std::move(match));
  auto next = waiter.next(deadline);
  Event event = co_await std::move(next);
  co_return event;
}

void Client::on_closed(std::function<void(const std::string&)> handler) {
  if (core_->is_open()) {
    core_->closed_handlers_.push_back(std::move(handler));
    return;
  }
  asio::post(core_->executor(),
             [handler = std::move(handler), reason = core_->close_reason_] { handler(reason); });
}

void Client::close(const std::string& reason) { core_->terminate(ErrorKind::closed, reason); }

bool Client::is_open() const noexcept { return core_->is_open(); }
bool Client::oob_enabled() const noexcept { return core_->oob_enabled_; }
const std::optional<Greeting>& Client::greeting() const noexcept { return core_->greeting_; }
asio::any_io_executor Client::get_executor() const { return core_->executor(); }

EventWaiter::EventWaiter(Client& client, EventMatch match)
    : waiter_(std::make_shared<detail::WaiterCore>(std::move(match))) {
  waiter_->client_ = client.core_;
  client.core_->waiters_.push_back(waiter_);
}

EventWaiter::~EventWaiter() = default;

asio::awaitable<Event> EventWaiter::next(Deadline deadline) {
  const auto waiter = waiter_;
  while (waiter->queue_.empty()) {
    const auto core = waiter->client_.lock();
    if (!core) throw Error(ErrorKind::closed, "the QMP client is gone");
    if (!core->is_open()) core->throw_closed();
    co_await core->suspend(deadline, waiter, &waiter->wait_);
  }
  Event event = std::move(waiter->queue_.front());
  waiter->queue_.pop_front();
  co_return event;
}

std::size_t EventWaiter::queued() const noexcept { return waiter_->queue_.size(); }

}  // namespace qmp
