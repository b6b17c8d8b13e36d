#include "launcher/access_watch.hpp"

#include <fmt/format.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>
#include <set>
#include <system_error>
#include <utility>

#include "hostcfg/access_control.hpp"
#include "hostcfg/base/error.hpp"
#include "hostcfg/base/fd.hpp"
#include "hostcfg/file_access.hpp"
#include "hostcfg/host_action.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

using boost::system::error_code;

// A switch sets owner and mode of its socket right after it has made it, and a mode that comes
// after the ACL would be taken for the ACL's mask.
constexpr std::chrono::milliseconds kSettled{100};

std::string folder_above(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

}  // namespace

struct AccessWatch::State : std::enable_shared_from_this<State> {
  State(const asio::any_io_executor& executor, std::function<void(const std::string&)> given)
      : notes(executor), settled(executor), log(std::move(given)) {}

  void begin() {
    Fd inotify(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!inotify) {
      log("can't watch sockets: " + std::generic_category().message(errno));
      return;
    }
    notes.assign(inotify.get());
    (void)inotify.release();  // the descriptor owns it
    read();
  }

  void end() {
    error_code ignored;
    notes.close(ignored);
    settled.cancel();
    watched.clear();
  }

  void read() {
    notes.async_read_some(asio::buffer(bytes),
                          [self = shared_from_this()](const error_code& fault, std::size_t) {
                            if (fault) return;
                            self->look_soon();
                            self->read();
                          });
  }

  void look_soon() {
    settled.expires_after(kSettled);
    settled.async_wait([self = shared_from_this()](const error_code& fault) {
      if (!fault) self->look();
    });
  }

  void look() {
    for (const GrantAccess& grant : grants) {
      watch(folder_above(grant.path));
      try {
        give(grant);
      } catch (const Error& error) {
        log(error.what());
      }
    }
  }

  // Up to a folder that is there: those below it come later, too.
  void watch(std::string folder) {
    constexpr std::uint32_t kEvents =
        IN_CREATE | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;
    while (true) {
      if (watched.count(folder) != 0 && ::access(folder.c_str(), F_OK) == 0) return;
      if (::inotify_add_watch(notes.native_handle(), folder.c_str(), kEvents) >= 0) break;
      if (folder == "/") return;
      folder = folder_above(folder);
    }
    watched.insert(folder);
  }

  void give(const GrantAccess& grant) {
    constexpr unsigned kWanted = kMayRead | kMayWrite;
    LinuxAccess access;
    const auto now = access.read(grant.path, grant.uid);
    if (!now) return;
    const unsigned has = now->permissions.value_or(0);
    if (now->owner == grant.uid || (has & kWanted) == kWanted) return;
    access.set_entry(grant.path, grant.uid, has | kWanted);
    log(fmt::format("gave access to {}", describe(grant)));
  }

  asio::posix::stream_descriptor notes;  // inotify
  asio::steady_timer settled;
  std::function<void(const std::string&)> log;
  std::vector<GrantAccess> grants;
  std::set<std::string> watched;  // folders
  std::array<char, 4096> bytes{};
};

AccessWatch::AccessWatch(asio::any_io_executor executor,
                         std::function<void(const std::string&)> log)
    : state_(std::make_shared<State>(executor, std::move(log))) {}

AccessWatch::~AccessWatch() { state_->end(); }

void AccessWatch::look_after(std::vector<GrantAccess> grants) {
  if (grants == state_->grants) return;
  state_->grants = std::move(grants);
  if (state_->grants.empty()) return state_->end();
  if (!state_->notes.is_open()) state_->begin();
  if (state_->notes.is_open()) state_->look();
}

std::vector<GrantAccess> coming_sockets(const VmState& state) {
  std::vector<GrantAccess> grants;
  if (!state.user || !state.user->is_confined) return grants;
  for (const HostChange& change : state.host_changes) {
    if (change.action.is_null() || change.kind != action_kind(GrantAccess{})) continue;
    const HostAction action = host_action_from_json(change.action);
    const auto* grant = std::get_if<GrantAccess>(&action);
    if (grant != nullptr && grant->comes_later) grants.push_back(*grant);
  }
  return grants;
}

}  // namespace vmrig
