#include "hostcfg/netlink.hpp"

#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdlib>

#include "hostcfg/base/error.hpp"

namespace vmrig {
namespace {

constexpr const char* kOperation = "talk to the kernel's network configuration";

Error failure(const char* cause) {
  return Error({.status = ExitStatus::kFailed,
                .operation = kOperation,
                .object = {},
                .cause = cause,
                .mend = {}});
}

// Source: linux Documentation/userspace-api/netlink/intro.rst, "Extended ACK" (since 4.12).
NetlinkAnswer read_answer(nlmsghdr* header) {
  NetlinkAnswer answer;
  if (nlmsg_datalen(header) < static_cast<int>(sizeof(nlmsgerr))) throw failure("half an answer");
  const auto* error = static_cast<const nlmsgerr*>(nlmsg_data(header));
  answer.error = -error->error;
  if ((header->nlmsg_flags & NLM_F_ACK_TLVS) == 0) return answer;
  // The request stands in between, whole unless the kernel was asked to leave it out.
  std::size_t skip = sizeof(nlmsgerr);
  if ((header->nlmsg_flags & NLM_F_CAPPED) == 0) skip += error->msg.nlmsg_len - sizeof(nlmsghdr);
  skip = NLMSG_ALIGN(skip);
  const auto length = static_cast<std::size_t>(nlmsg_datalen(header));
  if (skip >= length) return answer;
  auto* first = reinterpret_cast<nlattr*>(static_cast<char*>(nlmsg_data(header)) + skip);
  const nlattr* text = nla_find(first, static_cast<int>(length - skip), NLMSGERR_ATTR_MSG);
  if (text != nullptr) {
    const auto* words = static_cast<const char*>(nla_data(text));
    answer.message.assign(words, ::strnlen(words, static_cast<std::size_t>(nla_len(text))));
  }
  return answer;
}

}  // namespace

void NetlinkMessageDeleter::operator()(nl_msg* message) const { nlmsg_free(message); }

NetlinkSocket::NetlinkSocket() : socket_(nl_socket_alloc(), nl_socket_free) {
  if (!socket_) throw failure("no memory");
  const int fault = nl_connect(socket_.get(), NETLINK_ROUTE);  // close-on-exec by itself
  if (fault < 0) throw failure(nl_geterror(fault));
  const int fd = nl_socket_get_fd(socket_.get());
  const int on = 1;
  // Both are comfort: an older kernel refuses without words then.
  (void)::setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  (void)::setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  // A kernel that does not answer must not hang a launch.
  const timeval patience{.tv_sec = 30, .tv_usec = 0};
  (void)::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  // 128 VFs' records with counters are more than a page.
  nl_socket_set_msg_buf_size(socket_.get(), std::size_t{256} * 1024);
}

NetlinkSocket::~NetlinkSocket() = default;

NetlinkAnswer NetlinkSocket::request(nl_msg* message,
                                     const std::function<void(nlmsghdr*)>& receive) {
  nlmsg_hdr(message)->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
  nl_complete_msg(socket_.get(), message);
  const unsigned sequence = nlmsg_hdr(message)->nlmsg_seq;
  const int sent = nl_send(socket_.get(), message);
  if (sent < 0) throw failure(nl_geterror(sent));
  for (;;) {
    sockaddr_nl from{};
    unsigned char* raw = nullptr;
    int left = nl_recv(socket_.get(), &from, &raw, nullptr);
    const std::unique_ptr<unsigned char, void (*)(void*)> buffer(raw, std::free);
    if (left == 0) throw failure("no answer in 30 s");
    if (left < 0) throw failure(nl_geterror(left));
    for (auto* header = reinterpret_cast<nlmsghdr*>(raw); nlmsg_ok(header, left) != 0;
         header = nlmsg_next(header, &left)) {
      if (header->nlmsg_seq != sequence) continue;
      if (header->nlmsg_type == NLMSG_ERROR) return read_answer(header);
      if (header->nlmsg_type == NLMSG_DONE) return {};
      if (receive) receive(header);
    }
  }
}

}  // namespace vmrig
