#include "hostcfg/vf_settings.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/link.hpp"

namespace vmrig {
namespace {

constexpr std::array<const char*, 3> kLinkStates = {"auto", "enable", "disable"};
constexpr std::uint32_t kUnknown = 0xffffffff;  // what a driver without the setting reports

// An attribute of a fixed struct; a shorter one of an older kernel is left out.
template <typename Value>
std::optional<Value> value_of(nlattr* attribute) {
  if (attribute == nullptr || nla_len(attribute) < static_cast<int>(sizeof(Value))) {
    return std::nullopt;
  }
  Value value;
  std::memcpy(&value, nla_data(attribute), sizeof value);
  return value;
}

std::optional<bool> flag_of(std::uint32_t setting) {
  if (setting == kUnknown) return std::nullopt;
  return setting != 0;
}

std::string protocol_name(std::uint16_t network_order) {
  return ntohs(network_order) == ETH_P_8021AD ? "802.1ad" : "802.1Q";
}

std::optional<VfRecord> parse_record(nlattr* info) {
  std::array<nlattr*, IFLA_VF_MAX + 1> parts{};
  if (nla_parse_nested(parts.data(), IFLA_VF_MAX, info, nullptr) < 0) return std::nullopt;
  const auto mac = value_of<ifla_vf_mac>(parts[IFLA_VF_MAC]);
  if (!mac) return std::nullopt;
  VfRecord record;
  record.index = static_cast<int>(mac->vf);
  const auto octet = [&mac](std::size_t i) { return mac->mac[i]; };
  record.mac = fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", octet(0), octet(1),
                           octet(2), octet(3), octet(4), octet(5));
  if (const auto vlan = value_of<ifla_vf_vlan>(parts[IFLA_VF_VLAN])) {
    record.vlan = static_cast<int>(vlan->vlan);
    record.qos = static_cast<int>(vlan->qos);
    record.vlan_proto = protocol_name(htons(ETH_P_8021Q));
  }
  // The list form alone has the protocol. Since Linux 4.9; drivers fill one entry.
  if (parts[IFLA_VF_VLAN_LIST] != nullptr) {
    auto* entry = static_cast<nlattr*>(nla_data(parts[IFLA_VF_VLAN_LIST]));
    if (nla_ok(entry, nla_len(parts[IFLA_VF_VLAN_LIST])) != 0) {
      if (const auto vlan = value_of<ifla_vf_vlan_info>(entry)) {
        record.vlan_proto = protocol_name(vlan->vlan_proto);
      }
    }
  }
  if (const auto spoofchk = value_of<ifla_vf_spoofchk>(parts[IFLA_VF_SPOOFCHK])) {
    record.spoofchk = flag_of(spoofchk->setting);
  }
  if (const auto trust = value_of<ifla_vf_trust>(parts[IFLA_VF_TRUST])) {
    record.trust = flag_of(trust->setting);
  }
  const auto link = value_of<ifla_vf_link_state>(parts[IFLA_VF_LINK_STATE]);
  if (link && link->link_state < kLinkStates.size()) {
    record.link_state = kLinkStates.at(link->link_state);
  }
  if (const auto rate = value_of<ifla_vf_rate>(parts[IFLA_VF_RATE])) {
    record.min_rate_mbit = static_cast<int>(rate->min_tx_rate);
    record.max_rate_mbit = static_cast<int>(rate->max_tx_rate);
  } else if (const auto old = value_of<ifla_vf_tx_rate>(parts[IFLA_VF_TX_RATE])) {
    record.max_rate_mbit = static_cast<int>(old->rate);
  }
  return record;
}

NetlinkMessage link_message(int type, int pf_index) {
  NetlinkMessage message(nlmsg_alloc_simple(type, 0));
  ifinfomsg link{};
  link.ifi_family = AF_UNSPEC;
  link.ifi_index = pf_index;
  if (!message || nlmsg_append(message.get(), &link, sizeof link, NLMSG_ALIGNTO) < 0) {
    throw std::bad_alloc();
  }
  return message;
}

// RTM_SETLINK with one attribute of one VF. Messages are built by hand, because libnl 3.7 sends
// all that it knows of a VF at once, and then nobody can tell which setting a device refused.
class RequestMaker {
 public:
  RequestMaker(int pf_index, int vf) : pf_index_(pf_index), vf_(static_cast<std::uint32_t>(vf)) {}

  template <typename Value>
  void add(std::string setting, int type, const Value& value) {
    start();
    put(message_.get(), type, value);
    finish(std::move(setting));
  }
  void add_vlan_list(std::string setting, const ifla_vf_vlan_info& vlan) {
    start();
    nlattr* list = nest(IFLA_VF_VLAN_LIST);
    put(message_.get(), IFLA_VF_VLAN_INFO, vlan);
    nla_nest_end(message_.get(), list);
    finish(std::move(setting));
  }
  std::uint32_t vf() const { return vf_; }
  std::vector<VfRequest> take() { return std::move(requests_); }

 private:
  nlattr* nest(int type) {
    nlattr* attribute = nla_nest_start(message_.get(), type);
    if (attribute == nullptr) throw std::bad_alloc();
    return attribute;
  }
  template <typename Value>
  static void put(nl_msg* message, int type, const Value& value) {
    if (nla_put(message, type, sizeof value, &value) < 0) throw std::bad_alloc();
  }
  void start() {
    message_ = link_message(RTM_SETLINK, pf_index_);
    list_ = nest(IFLA_VFINFO_LIST);
    info_ = nest(IFLA_VF_INFO);
  }
  void finish(std::string setting) {
    nla_nest_end(message_.get(), info_);
    nla_nest_end(message_.get(), list_);
    requests_.push_back({std::move(setting), std::move(message_)});
  }

  int pf_index_;
  std::uint32_t vf_;
  NetlinkMessage message_;
  nlattr* list_ = nullptr;
  nlattr* info_ = nullptr;
  std::vector<VfRequest> requests_;
};

void add_vlan(RequestMaker& maker, const VfRecord& record, const VfSettings& settings) {
  if (!settings.vlan && !settings.qos && !settings.vlan_proto) return;
  VfSettings whole;
  whole.vlan = settings.vlan.value_or(record.vlan);
  whole.qos = settings.qos.value_or(record.qos);
  whole.vlan_proto = settings.vlan_proto.value_or(record.vlan_proto);
  const auto vlan = static_cast<std::uint32_t>(*whole.vlan);
  const auto qos = static_cast<std::uint32_t>(*whole.qos);
  if (whole.vlan_proto == "802.1ad") {
    maker.add_vlan_list(
        describe_settings(whole),
        {.vf = maker.vf(), .vlan = vlan, .qos = qos, .vlan_proto = htons(ETH_P_8021AD)});
  } else {
    maker.add(describe_settings(whole), IFLA_VF_VLAN,
              ifla_vf_vlan{.vf = maker.vf(), .vlan = vlan, .qos = qos});
  }
}

void add_rates(RequestMaker& maker, const VfRecord& record, const VfSettings& settings) {
  if (!settings.min_rate_mbit && !settings.max_rate_mbit) return;
  const int min = settings.min_rate_mbit.value_or(record.min_rate_mbit);
  const int max = settings.max_rate_mbit.value_or(record.max_rate_mbit);
  VfSettings rates;
  rates.min_rate_mbit = settings.min_rate_mbit;
  rates.max_rate_mbit = settings.max_rate_mbit;
  maker.add(describe_settings(rates), IFLA_VF_RATE,
            ifla_vf_rate{.vf = maker.vf(),
                         .min_tx_rate = static_cast<std::uint32_t>(min),
                         .max_tx_rate = static_cast<std::uint32_t>(max)});
}

Error refused(const std::string& pf_name, int index, const std::string& setting,
              const NetlinkAnswer& answer) {
  std::string cause = std::generic_category().message(answer.error);
  if (!answer.message.empty()) cause += " (" + answer.message + ")";
  std::string mend;
  if (answer.error == EPERM) mend = "run vmrig as root";
  // A driver without the setting, one without this VLAN protocol, and one that has the setting and
  // takes no such value (igb: any minimum rate).
  if (answer.error == EOPNOTSUPP || answer.error == EPROTONOSUPPORT) {
    cause += ": the device can't do that";
    mend = "leave the setting out of the config";
  }
  if (answer.error == EINVAL || answer.error == ERANGE) {
    cause += ": the device does not take this value";
    mend = "another value, or leave the setting out of the config";
  }
  return Error({.status = ExitStatus::kHost,
                .operation = fmt::format("set {} of VF {} of", setting, index),
                .object = pf_name,
                .cause = std::move(cause),
                .mend = std::move(mend)});
}

}  // namespace

std::vector<VfRecord> parse_vf_records(nlmsghdr* message) {
  std::vector<VfRecord> records;
  nlattr* list = nlmsg_find_attr(message, sizeof(ifinfomsg), IFLA_VFINFO_LIST);
  if (list == nullptr) return records;
  int left = nla_len(list);
  for (auto* info = static_cast<nlattr*>(nla_data(list)); nla_ok(info, left) != 0;
       info = nla_next(info, &left)) {
    if (nla_type(info) != IFLA_VF_INFO) continue;
    if (auto record = parse_record(info)) records.push_back(*std::move(record));
  }
  std::sort(records.begin(), records.end(),
            [](const VfRecord& a, const VfRecord& b) { return a.index < b.index; });
  return records;
}

std::vector<VfRequest> make_vf_requests(int pf_index, const VfRecord& record,
                                        const VfSettings& settings) {
  RequestMaker maker(pf_index, record.index);
  const std::uint32_t vf = maker.vf();
  const auto said = [](auto VfSettings::*member, const auto& value) {
    VfSettings one;
    one.*member = value;
    return describe_settings(one);
  };
  if (settings.spoofchk) {
    maker.add(said(&VfSettings::spoofchk, *settings.spoofchk), IFLA_VF_SPOOFCHK,
              ifla_vf_spoofchk{.vf = vf, .setting = *settings.spoofchk ? 1U : 0U});
  }
  if (settings.trust) {
    maker.add(said(&VfSettings::trust, *settings.trust), IFLA_VF_TRUST,
              ifla_vf_trust{.vf = vf, .setting = *settings.trust ? 1U : 0U});
  }
  if (settings.mac) {
    const MacAddress octets = parse_mac(*settings.mac);
    ifla_vf_mac mac{};
    mac.vf = vf;
    std::copy(octets.begin(), octets.end(), std::begin(mac.mac));
    maker.add(said(&VfSettings::mac, *settings.mac), IFLA_VF_MAC, mac);
  }
  add_vlan(maker, record, settings);
  add_rates(maker, record, settings);
  if (settings.link_state) {
    const auto found = std::find(kLinkStates.begin(), kLinkStates.end(), *settings.link_state);
    maker.add(said(&VfSettings::link_state, *settings.link_state), IFLA_VF_LINK_STATE,
              ifla_vf_link_state{
                  .vf = vf, .link_state = static_cast<std::uint32_t>(found - kLinkStates.begin())});
  }
  return maker.take();
}

std::vector<VfRecord> read_vf_records(NetlinkSocket& socket, int pf_index) {
  const NetlinkMessage message = link_message(RTM_GETLINK, pf_index);
  if (nla_put_u32(message.get(), IFLA_EXT_MASK, RTEXT_FILTER_VF) < 0) throw std::bad_alloc();
  std::vector<VfRecord> records;
  const NetlinkAnswer answer = socket.request(message.get(), [&records](nlmsghdr* header) {
    if (header->nlmsg_type == RTM_NEWLINK) records = parse_vf_records(header);
  });
  if (answer.error == ENODEV) return {};
  if (answer.error != 0) {
    throw system_error("read the VFs of network device", std::to_string(pf_index), answer.error);
  }
  return records;
}

void set_vf(NetlinkSocket& socket, int pf_index, const std::string& pf_name, int index,
            const VfSettings& settings) {
  const std::vector<VfRecord> records = read_vf_records(socket, pf_index);
  const auto record = std::find_if(records.begin(), records.end(),
                                   [index](const VfRecord& one) { return one.index == index; });
  if (record == records.end()) {
    throw refused(pf_name, index, describe_settings(settings),
                  {.error = ENODEV, .message = "the PF keeps no record of this VF"});
  }
  for (const VfRequest& request : make_vf_requests(pf_index, *record, settings)) {
    const NetlinkAnswer answer = socket.request(request.message.get());
    if (answer.error != 0) throw refused(pf_name, index, request.setting, answer);
  }
}

}  // namespace vmrig
