// A serial port (16550) and where its bytes go.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/description.hpp"
#include "hostcfg/base/shape.hpp"

namespace vmrig {

enum class SerialType { kSocket, kFile, kNull };
std::vector<std::string_view> enum_names(SerialType);

struct SerialConfig {
  std::string id;
  SerialType type = SerialType::kSocket;
  std::optional<std::string> path;  // for "file": appended to
};

void describe(Fields& fields, SerialConfig& serial);

// The socket's file in the VM's folder: "ID.sock". The supervisor is its only client.
std::string serial_socket_name(const SerialConfig& serial);

DeviceDescription describe_serial(const SerialConfig& serial, std::string origin, int index,
                                  const FdNaming& fds);

}  // namespace vmrig
