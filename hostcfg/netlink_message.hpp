// Builds one request to rtnetlink. By hand, because libnl-route 3.7 can't create several kinds of
// link with their MAC in one message, and sends more attributes than a change is about.
#pragma once

#include <netlink/attr.h>
#include <netlink/msg.h>

#include <cstring>
#include <optional>
#include <string>

#include "hostcfg/base/error.hpp"
#include "hostcfg/netlink.hpp"

namespace vmrig {

class NetlinkRequest {
 public:
  // `header` is the fixed part of this type of message (ifinfomsg, ifaddrmsg, tcmsg).
  template <typename Header>
  NetlinkRequest(int type, int flags, const Header& header)
      : message_(nlmsg_alloc_simple(type, flags)) {
    Header copy = header;
    if (!message_ || nlmsg_append(message_.get(), &copy, sizeof copy, NLMSG_ALIGNTO) < 0) {
      throw std::bad_alloc();
    }
  }

  template <typename Value>
  void put(int type, const Value& value) {
    static_assert(std::is_trivially_copyable_v<Value>);
    if (nla_put(message_.get(), type, sizeof value, &value) < 0) throw std::bad_alloc();
  }
  void put(int type, const std::string& text) {
    if (nla_put_string(message_.get(), type, text.c_str()) < 0) throw std::bad_alloc();
  }
  void put_bytes(int type, const void* bytes, std::size_t size) {
    if (nla_put(message_.get(), type, static_cast<int>(size), bytes) < 0) throw std::bad_alloc();
  }
  nlattr* begin(int type) {
    nlattr* nest = nla_nest_start(message_.get(), type);
    if (nest == nullptr) throw std::bad_alloc();
    return nest;
  }
  void end(nlattr* nest) { nla_nest_end(message_.get(), nest); }

  nl_msg* get() { return message_.get(); }

 private:
  NetlinkMessage message_;
};

// The value of an attribute of a fixed size; none when it is absent or shorter.
template <typename Value>
std::optional<Value> attribute_value(nlattr* attribute) {
  if (attribute == nullptr || nla_len(attribute) < static_cast<int>(sizeof(Value))) {
    return std::nullopt;
  }
  Value value;
  std::memcpy(&value, nla_data(attribute), sizeof value);
  return value;
}

inline std::string attribute_text(nlattr* attribute) {
  if (attribute == nullptr) return {};
  const auto* text = static_cast<const char*>(nla_data(attribute));
  return {text, ::strnlen(text, static_cast<std::size_t>(nla_len(attribute)))};
}

// The Error for what the kernel refused, with a mend where one is known.
Error net_refused(std::string operation, std::string object, const NetlinkAnswer& answer);

}  // namespace vmrig
