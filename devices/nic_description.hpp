// A NIC as QMP objects.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "devices/description.hpp"
#include "devices/nic.hpp"

namespace vmrig {

// What planning has decided about a NIC's host end.
struct NicHostEnd {
  std::string interface;  // the tap or macvtap; empty for types without
  int queues = 1;         // pairs, from 1
  bool vhost = false;     // in the host's kernel, by fds of /dev/vhost-net
};

// What this QEMU takes.
struct NicForms {
  bool stream_netdev = false;  // -netdev stream (7.2), else socket
  bool reconnect_ms = false;   // a socket chardev's reconnect-ms (9.2), else reconnect
  // Without KVM QEMU 7.2 dies of a vhost-user NIC whose guest uses MSI-X (virtio_pci_vector_unmask
  // takes it for an irqfd's); 10.0 does not, which nothing tells beforehand.
  bool vhost_user_intx = false;
};

// What a front end is made of, beside its config.
struct NicFrontEnd {
  std::string origin;
  std::string_view vm_name;
  int bootindex = -1;  // -1: not booted from
};

// Of any type but vf, which is a VFIO device: see describe_vfio. `fds` is asked for the queues in
// order, then for as many of vhost.
DeviceDescription describe_nic(const NicConfig& nic, const NicFrontEnd& front_end,
                               const NicHostEnd& host_end, const NicForms& forms,
                               const FdNaming& fds);

// The arguments of a passt for this NIC, without the fd of its connection to QEMU.
std::vector<std::string> passt_arguments(const NicConfig& nic);

}  // namespace vmrig
