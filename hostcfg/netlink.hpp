// A connection to the kernel's rtnetlink.
#pragma once

#include <linux/netlink.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

struct nl_sock;
struct nl_msg;

namespace vmrig {

struct NetlinkMessageDeleter {
  void operator()(nl_msg* message) const;
};
using NetlinkMessage = std::unique_ptr<nl_msg, NetlinkMessageDeleter>;

// What the kernel said to a request.
struct NetlinkAnswer {
  int error = 0;        // errno; 0: done
  std::string message;  // the driver's own words, where it has any (extended acknowledgement)
};

class NetlinkSocket {
 public:
  // Throws vmrig::Error.
  NetlinkSocket();
  NetlinkSocket(const NetlinkSocket&) = delete;
  NetlinkSocket& operator=(const NetlinkSocket&) = delete;
  ~NetlinkSocket();

  // Sends a request and hands each message of the reply to `receive` until the kernel has
  // acknowledged it. Throws vmrig::Error when the connection fails, not when the kernel refuses.
  NetlinkAnswer request(nl_msg* message, const std::function<void(nlmsghdr*)>& receive = {});

 private:
  std::unique_ptr<nl_sock, void (*)(nl_sock*)> socket_;
};

}  // namespace vmrig
