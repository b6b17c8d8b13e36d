#include "hostcfg/packet_capture.hpp"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "hostcfg/base/error.hpp"

namespace vmrig {
namespace {

constexpr const char* kOperation = "capture on network device";
constexpr std::size_t kTagBytes = 4;
constexpr std::size_t kAddressBytes = 12;  // both MACs, before the VLAN tag
constexpr int kBufferBytes = 32 << 20;
constexpr std::int64_t kSecondNs = 1'000'000'000;

void set(int socket, int level, int option, int value) {
  if (::setsockopt(socket, level, option, &value, sizeof value) < 0) {
    throw system_error("set up the packet socket", {}, errno);
  }
}

// What the kernel tells beside a packet.
struct Aside {
  std::int64_t time_ns = 0;
  bool has_tag = false;
  std::uint16_t tag = 0;
  std::uint16_t tag_protocol = ETH_P_8021Q;
};

Aside read_aside(msghdr& message) {
  Aside aside;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_TIMESTAMPNS) {
      timespec time{};
      std::memcpy(&time, CMSG_DATA(part), sizeof time);
      aside.time_ns = time.tv_sec * kSecondNs + time.tv_nsec;
    } else if (part->cmsg_level == SOL_PACKET && part->cmsg_type == PACKET_AUXDATA) {
      tpacket_auxdata data{};
      std::memcpy(&data, CMSG_DATA(part), sizeof data);
      aside.has_tag = (data.tp_status & TP_STATUS_VLAN_VALID) != 0;
      aside.tag = data.tp_vlan_tci;
      if ((data.tp_status & TP_STATUS_VLAN_TPID_VALID) != 0) aside.tag_protocol = data.tp_vlan_tpid;
    }
  }
  return aside;
}

}  // namespace

PacketCapture::PacketCapture(const std::string& device, std::uint32_t snaplen)
    : device_(device),
      index_(::if_nametoindex(device.c_str())),
      buffer_(kTagBytes + std::clamp(snaplen, std::uint32_t{1}, kMaxSnaplen)) {
  if (index_ == 0) {
    throw system_error(kOperation, device, errno, "ip link (in the VM's network namespace)");
  }
  // Of no protocol until it is bound: else it would see all devices' packets for a moment.
  socket_.reset(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket_) {
    const bool forbidden = errno == EPERM || errno == EACCES;
    throw system_error(kOperation, device, errno,
                       forbidden ? "run it as root, or with CAP_NET_RAW" : "");
  }
  set(socket_.get(), SOL_SOCKET, SO_TIMESTAMPNS, 1);
  set(socket_.get(), SOL_PACKET, PACKET_AUXDATA, 1);
  // Past net.core.rmem_max only with CAP_NET_ADMIN; a smaller buffer drops sooner, and tells.
  const int wanted = kBufferBytes;
  if (::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &wanted, sizeof wanted) < 0) {
    set(socket_.get(), SOL_SOCKET, SO_RCVBUF, wanted);
  }
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(index_);
  if (::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) {
    throw system_error(kOperation, device, errno);
  }
}

std::optional<CapturedPacket> PacketCapture::next() {
  for (;;) {
    iovec part{.iov_base = buffer_.data() + kTagBytes, .iov_len = buffer_.size() - kTagBytes};
    alignas(cmsghdr) std::array<char, 256> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    // MSG_TRUNC as a flag: the packet's own length, also where the buffer is shorter.
    const ssize_t length = ::recvmsg(socket_.get(), &message, MSG_TRUNC | MSG_DONTWAIT);
    if (length < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return std::nullopt;
      if (errno != ENETDOWN && errno != ENXIO) throw system_error(kOperation, device_, errno);
      // Down for a time, or for ever.
      if (::if_nametoindex(device_.c_str()) == index_) continue;
      is_gone_ = true;
      return std::nullopt;
    }
    const Aside aside = read_aside(message);
    char* data = buffer_.data() + kTagBytes;
    std::size_t kept = std::min(static_cast<std::size_t>(length), part.iov_len);
    auto original = static_cast<std::uint32_t>(length);
    if (aside.has_tag && kept >= kAddressBytes) {
      // The kernel takes the tag off the frame; the wire had it.
      data -= kTagBytes;
      std::memmove(data, data + kTagBytes, kAddressBytes);
      const std::array<std::uint16_t, 2> tag = {htons(aside.tag_protocol), htons(aside.tag)};
      std::memcpy(data + kAddressBytes, tag.data(), kTagBytes);
      kept += kTagBytes;
      original += kTagBytes;
    }
    return CapturedPacket{
        .time_ns = aside.time_ns, .original_bytes = original, .data = {data, kept}};
  }
}

std::uint64_t PacketCapture::dropped() {
  tpacket_stats counters{};
  socklen_t size = sizeof counters;
  // Reading them sets them to zero.
  if (::getsockopt(socket_.get(), SOL_PACKET, PACKET_STATISTICS, &counters, &size) == 0) {
    dropped_ += counters.tp_drops;
  }
  return dropped_;
}

}  // namespace vmrig
