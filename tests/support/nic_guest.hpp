// A guest whose NIC has a peer to talk to, in network namespaces of the test's own.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/json.hpp"
#include "tests/support/guest.hpp"
#include "tests/support/guest_console.hpp"
#include "tests/support/network_sandbox.hpp"
#include "tests/support/run_command.hpp"
#include "tests/support/skip.hpp"
#include "tests/support/vm_guard.hpp"

namespace vmrig::testing {

// A namespace with one end of a veth pair, 10.9.0.1/24; the other end, peer0, is in the caller's.
class Peer {
 public:
  Peer();

  // The command as one that runs there.
  std::string inside(const std::string& line) const;
  // Takes one connection, and tells how many bytes came.
  CommandRequest listener(int port) const;
  // Sends so many bytes, and prints what this port sends until it closes.
  CommandRequest caller(const char* address, int port, int bytes = 0) const;

 private:
  CommandRequest inside_words(std::vector<std::string> argv) const;

  RunningCommand holder_;
};

struct NicGuest {
  VmGuard& guard;
  GuestConsole& console;
  const Peer& peer;
};

// The guest's card gets 10.9.0.2/24; its DHCP client lets go of it.
void set_address(NicGuest& vm, std::string_view card = "eth0");
// Until an answer comes, or a doctest failure's exception.
void await_ping(NicGuest& vm, std::string_view address = "10.9.0.1");
// TCP, two megabytes, which have to arrive.
void send_to_peer(NicGuest& vm);
void receive_from_peer(NicGuest& vm);

CommandRequest request_of(std::vector<std::string> argv);

// Boots a VM named "traffic", and calls `use` when its guest is up; afterwards it is stopped, and
// nothing of it may be left: no process, no file, no change of the network.
void with_guest(VmGuard& guard, const Peer& peer, const Json& config,
                const std::function<void(NicGuest&)>& use);
// The same with this NIC alone, in a sandbox of its own.
void with_guest(const Json& nic, const std::function<void(NicGuest&)>& use);

}  // namespace vmrig::testing

#define NEED_NETWORK() \
  NEED_GUEST();        \
  if (const auto lack = vmrig::testing::no_network_sandbox()) SKIP_TEST(*lack)
