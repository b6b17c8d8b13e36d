// Hotplug: the switch in user space that serves a vhost-user NIC.
#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <nlohmann/json.hpp>
#include <utility>

#include "hostcfg/unix_listener.hpp"
#include "launcher/hotplug/hotplug.hpp"
#include "launcher/vhost_user.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

// QEMU has no event for it, and tries a refused connection again every second.
constexpr std::chrono::milliseconds kFirstPause{2};
constexpr std::chrono::milliseconds kLongestPause{100};
constexpr std::chrono::seconds kConnectTimeout{5};

// Source: qemu chardev/char-socket.c, update_disconnected_filename.
bool is_connected(const Json& chardevs, const std::string& id) {
  const auto found = std::find_if(chardevs.begin(), chardevs.end(), [&id](const Json& chardev) {
    return chardev.value("label", std::string()) == id;
  });
  return found != chardevs.end() &&
         !found->value("filename", std::string()).starts_with("disconnected:");
}

}  // namespace

// Until the chardev has its other side: QEMU's netdev_add would wait for that itself, deaf to all.
asio::awaitable<void> Hotplug::wait_for_switch(std::string id, qmp::Deadline deadline) {
  const auto& nics = config().nics;
  const auto nic = std::find_if(nics.begin(), nics.end(),
                                [&id](const NicConfig& candidate) { return candidate.id == id; });
  if (nic == nics.end()) co_return;
  const VhostUserConfig wanted = nic->vhost_user;
  if (!wanted.server) deadline = std::min(deadline, qmp::deadline_in(kConnectTimeout));
  std::chrono::milliseconds pause = kFirstPause;
  asio::steady_timer timer(parts_.executor);
  while (true) {
    QmpCommand question{"query-chardev", Json::object()};
    const Json chardevs = co_await execute(std::move(question), deadline);
    if (is_connected(chardevs, id)) co_return;
    const bool is_hopeless = !wanted.server && !has_listener(wanted.socket.value_or(""));
    if (is_hopeless || qmp::deadline_in(kLongestPause) >= deadline) {
      throw no_switch("attach", id, wanted);
    }
    timer.expires_after(pause);
    boost::system::error_code ignored;
    auto token = asio::redirect_error(asio::use_awaitable, ignored);
    co_await timer.async_wait(token);
    pause = std::min(pause * 2, kLongestPause);
  }
}

}  // namespace vmrig
