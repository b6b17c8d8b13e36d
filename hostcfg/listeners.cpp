#include "hostcfg/listeners.hpp"

#include <arpa/inet.h>

#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace vmrig {
namespace {

constexpr std::size_t kLimit = std::size_t{16} << 20;
constexpr std::uint32_t kListens = 0x0a;

std::optional<std::uint32_t> hex(std::string_view text) {
  std::uint32_t value = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (fault != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "0100007F" or four of them: words in the kernel's own byte order.
std::string address_of(std::string_view text) {
  std::array<std::uint32_t, 4> words{};
  if (text.size() != 8 && text.size() != 32) return {};
  for (std::size_t i = 0; i * 8 < text.size(); ++i) {
    const std::optional<std::uint32_t> word = hex(text.substr(i * 8, 8));
    if (!word) return {};
    words.at(i) = *word;
  }
  std::array<char, INET6_ADDRSTRLEN> shown{};
  const int family = text.size() == 8 ? AF_INET : AF_INET6;
  if (::inet_ntop(family, words.data(), shown.data(), shown.size()) == nullptr) return {};
  return shown.data();
}

// "   0: 0100007F:0016 00000000:0000 0A ..."
std::optional<Listener> parse(std::string_view line, Listener::Protocol protocol) {
  (void)take_word(line);
  const std::string_view local = take_word(line);
  (void)take_word(line);
  const std::optional<std::uint32_t> state = hex(take_word(line));
  const std::size_t colon = local.find(':');
  if (!state || colon == std::string_view::npos) return std::nullopt;
  if (protocol == Listener::Protocol::kTcp && *state != kListens) return std::nullopt;
  const std::optional<std::uint32_t> port = hex(local.substr(colon + 1));
  std::string address = address_of(local.substr(0, colon));
  if (!port || *port == 0 || *port > 65535 || address.empty()) return std::nullopt;
  return Listener{
      .protocol = protocol, .address = std::move(address), .port = static_cast<int>(*port)};
}

void read(const FolderReader& root, const char* file, Listener::Protocol protocol,
          std::vector<Listener>& listeners) {
  const std::string text = root.text(file, kLimit).value_or(std::string());
  std::string_view rest = text;
  (void)take_line(rest);  // the heading
  while (!rest.empty()) {
    if (auto listener = parse(take_line(rest), protocol)) listeners.push_back(std::move(*listener));
  }
}

}  // namespace

std::vector<Listener> read_listeners(const FolderReader& root) {
  std::vector<Listener> listeners;
  read(root, "proc/net/tcp", Listener::Protocol::kTcp, listeners);
  read(root, "proc/net/tcp6", Listener::Protocol::kTcp, listeners);
  read(root, "proc/net/udp", Listener::Protocol::kUdp, listeners);
  read(root, "proc/net/udp6", Listener::Protocol::kUdp, listeners);
  return listeners;
}

}  // namespace vmrig
