// A channel between guest and host: a virtio-serial port with a name, the guest agent's say.
#pragma once

#include <string>

#include "devices/description.hpp"
#include "hostcfg/base/shape.hpp"

namespace vmrig {

inline constexpr const char* kAgentChannel = "org.qemu.guest_agent.0";

struct ChannelConfig {
  std::string name;  // the port's, /dev/virtio-ports/NAME in the guest
  std::string id;    // in vmrig and QMP; the name where that can be an id
};

void describe(Fields& fields, ChannelConfig& channel);

// The socket's file in the VM's folder: "ID.sock". QEMU takes one client after another on it.
std::string channel_socket_name(const std::string& id);

// The id of its backend in QEMU.
std::string channel_chardev(const std::string& id);

// Needs kSerialController.
DeviceDescription describe_channel(const ChannelConfig& channel, std::string origin,
                                   const FdNaming& fds);

}  // namespace vmrig
