// The classic capture file of libpcap, written and read as bytes; touches nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace vmrig {

inline constexpr std::uint32_t kMaxSnaplen = 262144;  // as tcpdump's: no frame is longer

struct CapturedPacket {
  std::int64_t time_ns = 0;          // since the epoch
  std::uint32_t original_bytes = 0;  // on the wire; at least data.size()
  std::string_view data;             // an Ethernet frame, or its beginning
};

// What stands at the file's beginning: nanosecond times, this host's byte order, Ethernet.
// Source: IETF draft-ietf-opsawg-pcap, section 4.
std::string pcap_header(std::uint32_t snaplen);

// One packet, cut to `snaplen` bytes, appended to `out`.
void append_pcap_record(std::string& out, const CapturedPacket& packet, std::uint32_t snaplen);

// Packets out of the bytes of a file in this host's byte order, with micro- or nanosecond times,
// as they come.
class PcapStream {
 public:
  void feed(std::string_view bytes);
  // The next whole packet; its data is valid until the next call of a member. Throws vmrig::Error
  // for what is no such file.
  std::optional<CapturedPacket> next();

 private:
  std::string bytes_;
  std::size_t at_ = 0;       // all before is read
  int ns_per_fraction_ = 0;  // 0 before the header
};

}  // namespace vmrig
