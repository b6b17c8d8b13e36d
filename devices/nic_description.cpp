#include "devices/nic_description.hpp"

#include <fmt/format.h>

#include <array>
#include <optional>
#include <utility>

namespace vmrig {
namespace {

std::string_view driver_of(NicModel model) {
  switch (model) {
    case NicModel::kVirtio:
      return "virtio-net-pci";
    case NicModel::kE1000e:
      return "e1000e";
    case NicModel::kE1000:
      return "e1000";
  }
  return "virtio-net-pci";
}

// "10:11:12": QEMU's lists of fds.
std::string fd_list(FdSource::Kind kind, const std::string& name, int queues, const FdNaming& fds) {
  std::string list;
  for (int queue = 0; queue < queues; ++queue) {
    if (queue > 0) list += ':';
    list += fds({kind, name, queue});
  }
  return list;
}

Json user_netdev(const NicConfig& nic) {
  Json netdev = {{"type", "user"}, {"id", nic.id}};
  if (nic.isolated) netdev["restrict"] = true;
  for (const std::string& forward : nic.forward) {
    netdev["hostfwd"].push_back(Json{{"str", forward}});
  }
  return netdev;
}

// QEMU knows a macvtap as a tap, too: it only ever sees fds.
Json tap_netdev(const NicConfig& nic, const NicHostEnd& end, const FdNaming& fds) {
  const FdSource::Kind kind =
      nic.type == NicType::kMacvtap ? FdSource::Kind::kMacvtapQueue : FdSource::Kind::kTapQueue;
  Json netdev = {{"type", "tap"},
                 {"id", nic.id},
                 {"fds", fd_list(kind, end.interface, end.queues, fds)},
                 {"vhost", end.vhost}};
  if (end.vhost) {
    netdev["vhostfds"] = fd_list(FdSource::Kind::kVhostNet, nic.id, end.queues, fds);
  }
  return netdev;
}

// By its path: QEMU sends no fds through a socket that it was given as one.
// Source: qemu chardev/char-socket.c, QEMU_CHAR_FEATURE_FD_PASS.
Json vhost_user_chardev(const NicConfig& nic, const NicForms& forms) {
  Json data = {
      {"addr", {{"type", "unix"}, {"data", {{"path", nic.vhost_user.socket.value_or("")}}}}},
      {"server", nic.vhost_user.server}};
  if (nic.vhost_user.server) {
    data["wait"] = false;  // the netdev waits
  } else if (forms.reconnect_ms) {
    data["reconnect-ms"] = 1000;
  } else {
    data["reconnect"] = 1;  // a switch may be restarted
  }
  return {{"id", nic.id}, {"backend", {{"type", "socket"}, {"data", std::move(data)}}}};
}

Json passt_netdev(const NicConfig& nic, const NicForms& forms, const FdNaming& fds) {
  const std::string fd = fds({FdSource::Kind::kPasst, nic.id});
  if (!forms.stream_netdev) return {{"type", "socket"}, {"id", nic.id}, {"fd", fd}};
  return {{"type", "stream"},
          {"id", nic.id},
          {"server", false},
          {"addr", {{"type", "fd"}, {"str", fd}}}};
}

std::vector<Backend> backends_of(const NicConfig& nic, const NicHostEnd& end, const NicForms& forms,
                                 const FdNaming& fds) {
  switch (nic.type) {
    case NicType::kVf:
    case NicType::kNone:
      return {};
    case NicType::kUser:
      return {{BackendKind::kNetdev, user_netdev(nic)}};
    case NicType::kTap:
    case NicType::kMacvtap:
      return {{BackendKind::kNetdev, tap_netdev(nic, end, fds)}};
    case NicType::kVhostUser:
      return {
          {BackendKind::kChardev, vhost_user_chardev(nic, forms)},
          {BackendKind::kNetdev,
           {{"type", "vhost-user"}, {"id", nic.id}, {"chardev", nic.id}, {"queues", end.queues}}}};
    case NicType::kPasst:
      return {{BackendKind::kNetdev, passt_netdev(nic, forms, fds)}};
  }
  return {};
}

void add_virtio_properties(const NicConfig& nic, const NicHostEnd& end, const NicForms& forms,
                           Json& device) {
  if (end.queues > 1) {
    device["mq"] = true;
    // One for each queue of each pair, one for the control queue, one for configuration changes.
    device["vectors"] = 2 * end.queues + 2;
  }
  if (nic.type == NicType::kVhostUser && forms.vhost_user_intx) device["vectors"] = 0;
  if (nic.mtu) device["host_mtu"] = *nic.mtu;
  if (nic.rx_queue_size) device["rx_queue_size"] = *nic.rx_queue_size;
  if (nic.tx_queue_size) device["tx_queue_size"] = *nic.tx_queue_size;
  if (nic.packed) device["packed"] = true;
  if (nic.offloads) return;
  for (const char* offload :
       {"csum", "guest_csum", "gso", "guest_tso4", "guest_tso6", "guest_ecn", "guest_ufo",
        "host_tso4", "host_tso6", "host_ecn", "host_ufo", "mrg_rxbuf"}) {
    device[offload] = false;
  }
}

// "tcp:127.0.0.1:2222-:22" as passt has it: "127.0.0.1/2222:22".
std::string passt_forward(std::string_view forward) {
  const std::string_view ends = forward.substr(4);
  const std::size_t dash = ends.find('-');
  const std::string_view host = ends.substr(0, dash);
  const std::size_t colon = host.rfind(':');
  const std::string_view guest = ends.substr(dash + 1);
  const std::string_view address = host.substr(0, colon);
  return fmt::format("{}{}{}:{}", address, address.empty() ? "" : "/", host.substr(colon + 1),
                     guest.substr(guest.rfind(':') + 1));
}

}  // namespace

DeviceDescription describe_nic(const NicConfig& nic, const NicFrontEnd& front_end,
                               const NicHostEnd& host_end, const NicForms& forms,
                               const FdNaming& fds) {
  std::vector<Backend> backends = backends_of(nic, host_end, forms, fds);
  Json device = {{"driver", driver_of(nic.model)},
                 {"id", nic.id},
                 {"mac", nic.mac ? *nic.mac : stable_mac(front_end.vm_name, nic.id)}};
  if (!backends.empty()) device["netdev"] = nic.id;
  if (nic.model == NicModel::kVirtio) add_virtio_properties(nic, host_end, forms, device);
  if (front_end.bootindex >= 0) {
    device["bootindex"] = front_end.bootindex;
  } else {
    device["romfile"] = "";  // no network boot: the firmware need not load the option ROM
  }
  return {.id = nic.id,
          .origin = front_end.origin,
          .controller = {},
          .backends = std::move(backends),
          .front_ends = {{FrontEnd::Bus::kPci, std::move(device)}}};
}

std::vector<std::string> passt_arguments(const NicConfig& nic) {
  std::vector<std::string> words;
  if (nic.mtu) words.insert(words.end(), {"--mtu", std::to_string(*nic.mtu)});
  if (nic.isolated) words.insert(words.end(), {"--no-tcp", "--no-udp", "--no-icmp"});
  for (const std::string& forward : nic.forward) {
    words.emplace_back(forward.starts_with("udp") ? "--udp-ports" : "--tcp-ports");
    words.push_back(passt_forward(forward));
  }
  return words;
}

}  // namespace vmrig
