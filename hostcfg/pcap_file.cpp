#include "hostcfg/pcap_file.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "hostcfg/base/error.hpp"

namespace vmrig {
namespace {

constexpr std::uint32_t kNanosecondMagic = 0xa1b23c4d;
constexpr std::uint32_t kMicrosecondMagic = 0xa1b2c3d4;
constexpr std::uint16_t kMajor = 2;
constexpr std::uint16_t kMinor = 4;
constexpr std::uint32_t kEthernet = 1;  // LINKTYPE_ETHERNET
constexpr std::size_t kHeaderBytes = 24;
constexpr std::size_t kRecordHeaderBytes = 16;
constexpr std::int64_t kSecondNs = 1'000'000'000;

template <typename Number>
void append_number(std::string& out, Number number) {
  std::array<char, sizeof number> bytes{};
  std::memcpy(bytes.data(), &number, sizeof number);
  out.append(bytes.data(), bytes.size());
}

std::uint32_t number_at(std::string_view bytes, std::size_t at) {
  std::uint32_t number = 0;
  std::memcpy(&number, bytes.data() + at, sizeof number);
  return number;
}

Error malformed(const char* cause) {
  return Error({.status = ExitStatus::kFailed,
                .operation = "read the captured packets",
                .object = {},
                .cause = cause,
                .mend = {}});
}

}  // namespace

std::string pcap_header(std::uint32_t snaplen) {
  std::string header;
  header.reserve(kHeaderBytes);
  append_number(header, kNanosecondMagic);
  append_number(header, kMajor);
  append_number(header, kMinor);
  append_number(header, std::uint64_t{0});  // two fields that nobody uses
  append_number(header, snaplen);
  append_number(header, kEthernet);
  return header;
}

void append_pcap_record(std::string& out, const CapturedPacket& packet, std::uint32_t snaplen) {
  const std::string_view data = packet.data.substr(0, snaplen);
  append_number(out, static_cast<std::uint32_t>(packet.time_ns / kSecondNs));
  append_number(out, static_cast<std::uint32_t>(packet.time_ns % kSecondNs));
  append_number(out, static_cast<std::uint32_t>(data.size()));
  append_number(out, std::max(packet.original_bytes, static_cast<std::uint32_t>(data.size())));
  out += data;
}

void PcapStream::feed(std::string_view bytes) {
  bytes_.erase(0, at_);
  at_ = 0;
  bytes_ += bytes;
}

std::optional<CapturedPacket> PcapStream::next() {
  if (ns_per_fraction_ == 0) {
    if (bytes_.size() < kHeaderBytes) return std::nullopt;
    const std::uint32_t magic = number_at(bytes_, 0);
    if (magic != kNanosecondMagic && magic != kMicrosecondMagic)
      throw malformed("they are no pcap");
    ns_per_fraction_ = magic == kNanosecondMagic ? 1 : 1000;
    at_ = kHeaderBytes;
  }
  const std::string_view rest = std::string_view(bytes_).substr(at_);
  if (rest.size() < kRecordHeaderBytes) return std::nullopt;
  const std::uint32_t length = number_at(rest, 8);
  if (length > kMaxSnaplen) throw malformed("a packet is longer than any can be");
  if (rest.size() < kRecordHeaderBytes + length) return std::nullopt;
  at_ += kRecordHeaderBytes + length;
  return CapturedPacket{.time_ns = number_at(rest, 0) * kSecondNs +
                                   std::int64_t{number_at(rest, 4)} * ns_per_fraction_,
                        .original_bytes = number_at(rest, 12),
                        .data = rest.substr(kRecordHeaderBytes, length)};
}

}  // namespace vmrig
