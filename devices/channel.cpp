#include "devices/channel.hpp"

#include <algorithm>
#include <string_view>

#include "devices/controllers.hpp"
#include "devices/ids.hpp"

namespace vmrig {
namespace {

constexpr std::size_t kMaxNameBytes = 63;

bool is_name_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("._-").find(c) != std::string_view::npos;
}

// The guest makes a file of it.
TextRule channel_name_rule() {
  return {.min_length = 1,
          .max_length = kMaxNameBytes,
          .pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$",
          .meaning = "letters, digits, '.', '_' and '-'; a letter or digit first",
          .check = [](const std::string& name) -> std::string {
            const bool good = std::all_of(name.begin(), name.end(), is_name_letter) &&
                              std::string_view("._-").find(name.front()) == std::string_view::npos;
            return good ? ""
                        : "is no channel's name; letters, digits, \".\", \"_\" and \"-\", a letter "
                          "or digit first";
          }};
}

// Empty: the channel needs an id of its own.
std::string id_from_name(const std::string& name) {
  const TextRule rule = socket_id_rule();
  const bool fits = !name.empty() && name.size() <= rule.max_length && rule.check(name).empty();
  return fits ? name : std::string();
}

}  // namespace

void describe(Fields& fields, ChannelConfig& channel) {
  fields.required("name", "Name of the port in the guest: org.qemu.guest_agent.0 is its agent's.",
                  channel.name, channel_name_rule());
  fields.member("id", "Name of the channel in vmrig and QMP; the port's when not given.",
                Fields::Need::kOptional, !channel.id.empty(),
                [&](Shape& shape) { visit(shape, channel.id, socket_id_rule()); });
  fields.rule([&](const Fields::Fault& fault) {
    if (!channel.id.empty()) return;
    channel.id = id_from_name(channel.name);
    if (channel.id.empty() && !channel.name.empty()) {
      fault("id", "is missing: the channel's name can't be one", R"("id": "channel0")");
    }
  });
}

std::string channel_socket_name(const std::string& id) { return id + ".sock"; }

std::string channel_chardev(const std::string& id) { return "vmrig-channel-" + id; }

DeviceDescription describe_channel(const ChannelConfig& channel, std::string origin,
                                   const FdNaming& fds) {
  const FdSource socket{FdSource::Kind::kListeningSocket, channel_socket_name(channel.id)};
  const std::string chardev = channel_chardev(channel.id);
  return {.id = channel.id,
          .origin = std::move(origin),
          .controller = kSerialController,
          .backends = {{BackendKind::kChardev,
                        {{"id", chardev},
                         {"backend",
                          {{"type", "socket"},
                           {"data",
                            {{"addr", {{"type", "fd"}, {"data", {{"str", fds(socket)}}}}},
                             {"server", true},
                             {"wait", false}}}}}}}},
          .front_ends = {{FrontEnd::Bus::kOther,
                          {{"driver", "virtserialport"},
                           {"id", channel.id},
                           {"bus", std::string(kSerialController) + ".0"},
                           {"chardev", chardev},
                           {"name", channel.name}}}}};
}

}  // namespace vmrig
