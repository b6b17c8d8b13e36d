#include "devices/serial.hpp"

#include "devices/ids.hpp"

namespace vmrig {
namespace {

Json chardev_backend(const SerialConfig& serial, const FdNaming& fds) {
  switch (serial.type) {
    case SerialType::kSocket: {
      const FdSource socket{FdSource::Kind::kListeningSocket, serial_socket_name(serial)};
      return {{"type", "socket"},
              {"data",
               {{"addr", {{"type", "fd"}, {"data", {{"str", fds(socket)}}}}},
                {"server", true},
                {"wait", false}}}};
    }
    case SerialType::kFile:
      return {{"type", "file"},
              {"data", {{"out", fds({FdSource::Kind::kLogFile, *serial.path})}, {"append", true}}}};
    case SerialType::kNull:
      break;
  }
  return {{"type", "null"}, {"data", Json::object()}};
}

}  // namespace

std::vector<std::string_view> enum_names(SerialType) { return {"socket", "file", "null"}; }

void describe(Fields& fields, SerialConfig& serial) {
  fields.required("id", "Name of the port; the first socket is what `vmrig console` shows.",
                  serial.id, socket_id_rule());
  fields.optional("type", "Where the bytes go: the supervisor's console, a file, or nowhere.",
                  serial.type);
  fields.optional("path", "The file, which is appended to.", serial.path, path_rule());
  fields.rule([&](const Fields::Fault& fault) {
    if (serial.type == SerialType::kFile && !serial.path) {
      fault("path", "is missing: a serial port of type \"file\" needs one", {});
    }
    if (serial.type != SerialType::kFile && serial.path) {
      fault("path", "is of no use to this type", R"("type": "file")");
    }
  });
}

std::string serial_socket_name(const SerialConfig& serial) { return serial.id + ".sock"; }

DeviceDescription describe_serial(const SerialConfig& serial, std::string origin, int index,
                                  const FdNaming& fds) {
  return {.id = serial.id,
          .origin = std::move(origin),
          .controller = {},
          .backends = {{BackendKind::kChardev,
                        {{"id", serial.id}, {"backend", chardev_backend(serial, fds)}}}},
          .front_ends = {{FrontEnd::Bus::kOther,
                          {{"driver", "isa-serial"},
                           {"id", "vmrig-" + serial.id},
                           {"chardev", serial.id},
                           {"index", index}}}}};
}

}  // namespace vmrig
