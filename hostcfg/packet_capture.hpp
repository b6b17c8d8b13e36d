// The packets of one of the host's network devices, by a packet socket.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hostcfg/base/fd.hpp"
#include "hostcfg/pcap_file.hpp"

namespace vmrig {

// Sees what comes in and goes out, from construction on. Source: linux packet(7).
class PacketCapture {
 public:
  // `device`: its name, in the network namespace of the calling thread. `snaplen`: bytes kept of a
  // packet, 1 to kMaxSnaplen. Throws vmrig::Error: no such device; no CAP_NET_RAW.
  PacketCapture(const std::string& device, std::uint32_t snaplen);

  int fd() const { return socket_.get(); }  // readable when a packet waits; non-blocking
  // The next packet that waits, VLAN tag included; nullopt when there is none. Its data is valid
  // until the next call. Throws vmrig::Error.
  std::optional<CapturedPacket> next();
  // The device has been deleted, and all of its packets are read.
  bool is_gone() const { return is_gone_; }
  // Packets that the kernel had no room for, so far.
  std::uint64_t dropped();

 private:
  std::string device_;
  unsigned index_ = 0;
  Fd socket_;
  std::vector<char> buffer_;  // four bytes for a VLAN tag, then the packet
  std::uint64_t dropped_ = 0;
  bool is_gone_ = false;
};

}  // namespace vmrig
