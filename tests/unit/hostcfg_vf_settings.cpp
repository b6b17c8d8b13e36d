// The netlink messages of VFs, byte by byte: what the lab's card refuses is proven here.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

#include <cstring>
#include <string>
#include <vector>

#include "hostcfg/base/error.hpp"
#include "hostcfg/vf_settings.hpp"

using namespace vmrig;

namespace {

constexpr int kPfIndex = 17;

// The attribute of the only VF in a request, which has to be of type `type`.
template <typename Value>
Value only_value(const VfRequest& request, int type) {
  nlmsghdr* header = nlmsg_hdr(request.message.get());
  CHECK(header->nlmsg_type == RTM_SETLINK);
  CHECK(static_cast<ifinfomsg*>(nlmsg_data(header))->ifi_index == kPfIndex);
  nlattr* list = nlmsg_find_attr(header, sizeof(ifinfomsg), IFLA_VFINFO_LIST);
  REQUIRE(list != nullptr);
  auto* info = static_cast<nlattr*>(nla_data(list));
  REQUIRE(nla_type(info) == IFLA_VF_INFO);
  auto* attribute = static_cast<nlattr*>(nla_data(info));
  REQUIRE(nla_type(attribute) == type);
  CHECK(nla_total_size(nla_len(attribute)) == nla_len(info));  // nothing else in there
  if (type == IFLA_VF_VLAN_LIST) {
    attribute = static_cast<nlattr*>(nla_data(attribute));
    REQUIRE(nla_type(attribute) == IFLA_VF_VLAN_INFO);
  }
  REQUIRE(nla_len(attribute) == static_cast<int>(sizeof(Value)));
  Value value;
  std::memcpy(&value, nla_data(attribute), sizeof value);
  CHECK(value.vf == 3);
  return value;
}

VfRecord record_of_vf_3() {
  VfRecord record;
  record.index = 3;
  record.mac = "02:00:00:00:00:03";
  record.vlan_proto = "802.1Q";
  record.qos = 2;
  record.max_rate_mbit = 500;
  return record;
}

VfRequest only_request(const VfSettings& settings) {
  std::vector<VfRequest> requests = make_vf_requests(kPfIndex, record_of_vf_3(), settings);
  REQUIRE(requests.size() == 1);
  return std::move(requests.front());
}

template <typename Value>
void put(nl_msg* message, int type, const Value& value) {
  REQUIRE(nla_put(message, type, sizeof value, &value) == 0);
}

}  // namespace

TEST_CASE("each setting of a VF is a request of its own, spoofchk and trust before the MAC") {
  VfSettings settings;
  settings.mac = "52:54:00:2D:87:99";
  settings.trust = true;
  settings.spoofchk = false;
  settings.link_state = "disable";
  settings.max_rate_mbit = 0;
  settings.vlan = 12;
  const auto requests = make_vf_requests(kPfIndex, record_of_vf_3(), settings);
  REQUIRE(requests.size() == 6);
  CHECK(requests[0].setting == "spoofchk off");
  CHECK(only_value<ifla_vf_spoofchk>(requests[0], IFLA_VF_SPOOFCHK).setting == 0);
  CHECK(only_value<ifla_vf_trust>(requests[1], IFLA_VF_TRUST).setting == 1);
  const auto mac = only_value<ifla_vf_mac>(requests[2], IFLA_VF_MAC);
  CHECK(mac.mac[0] == 0x52);
  CHECK(mac.mac[5] == 0x99);
  CHECK(mac.mac[6] == 0);
  CHECK(only_value<ifla_vf_vlan>(requests[3], IFLA_VF_VLAN).vlan == 12);
  CHECK(only_value<ifla_vf_rate>(requests[4], IFLA_VF_RATE).max_tx_rate == 0);
  CHECK(only_value<ifla_vf_link_state>(requests[5], IFLA_VF_LINK_STATE).link_state ==
        IFLA_VF_LINK_STATE_DISABLE);
}

TEST_CASE("QinQ goes as a list with the protocol, and keeps what was not asked for") {
  VfSettings settings;
  settings.vlan = 100;
  settings.vlan_proto = "802.1ad";
  const auto vlan = only_value<ifla_vf_vlan_info>(only_request(settings), IFLA_VF_VLAN_LIST);
  CHECK(vlan.vlan == 100);
  CHECK(vlan.qos == 2);
  CHECK(ntohs(vlan.vlan_proto) == ETH_P_8021AD);
}

TEST_CASE("a minimum rate keeps the maximum that is there") {
  VfSettings settings;
  settings.min_rate_mbit = 50;
  const auto rate = only_value<ifla_vf_rate>(only_request(settings), IFLA_VF_RATE);
  CHECK(rate.min_tx_rate == 50);
  CHECK(rate.max_tx_rate == 500);
}

TEST_CASE("link state enable and auto have the kernel's numbers") {
  VfSettings settings;
  settings.link_state = "enable";
  CHECK(only_value<ifla_vf_link_state>(only_request(settings), IFLA_VF_LINK_STATE).link_state ==
        IFLA_VF_LINK_STATE_ENABLE);
  settings.link_state = "auto";
  CHECK(only_value<ifla_vf_link_state>(only_request(settings), IFLA_VF_LINK_STATE).link_state ==
        IFLA_VF_LINK_STATE_AUTO);
}

TEST_CASE("a MAC address that is none is refused before anything is sent") {
  for (const char* wrong : {"", "52:54:00:2d:87", "52:54:00:2d:87:9g", "52-54-00-2d-87-99",
                            "52:54:00:2d:87:99:00", "5:54:00:2d:87:999"}) {
    CAPTURE(wrong);
    VfSettings settings;
    settings.mac = wrong;
    CHECK_THROWS_AS(make_vf_requests(kPfIndex, record_of_vf_3(), settings), Error);
  }
}

TEST_CASE("the records of VFs are read from the kernel's message, by number") {
  const NetlinkMessage message(nlmsg_alloc_simple(RTM_NEWLINK, 0));
  const ifinfomsg link{};
  REQUIRE(nlmsg_append(message.get(), const_cast<ifinfomsg*>(&link), sizeof link, NLMSG_ALIGNTO) ==
          0);
  nlattr* list = nla_nest_start(message.get(), IFLA_VFINFO_LIST);
  for (const std::uint32_t vf : {1U, 0U}) {
    nlattr* info = nla_nest_start(message.get(), IFLA_VF_INFO);
    ifla_vf_mac mac{};
    mac.vf = vf;
    mac.mac[0] = 0x8e;
    mac.mac[5] = static_cast<__u8>(0xd0 + vf);
    put(message.get(), IFLA_VF_MAC, mac);
    put(message.get(), IFLA_VF_VLAN, ifla_vf_vlan{.vf = vf, .vlan = 20, .qos = 3});
    if (vf == 1) {
      nlattr* vlans = nla_nest_start(message.get(), IFLA_VF_VLAN_LIST);
      put(message.get(), IFLA_VF_VLAN_INFO,
          ifla_vf_vlan_info{.vf = vf, .vlan = 20, .qos = 3, .vlan_proto = htons(ETH_P_8021AD)});
      nla_nest_end(message.get(), vlans);
      // A device that has no trust says so with all bits set.
      put(message.get(), IFLA_VF_TRUST, ifla_vf_trust{.vf = vf, .setting = 0xffffffff});
    } else {
      put(message.get(), IFLA_VF_TRUST, ifla_vf_trust{.vf = vf, .setting = 1});
    }
    put(message.get(), IFLA_VF_SPOOFCHK, ifla_vf_spoofchk{.vf = vf, .setting = 1});
    put(message.get(), IFLA_VF_LINK_STATE, ifla_vf_link_state{.vf = vf, .link_state = 2});
    put(message.get(), IFLA_VF_RATE, ifla_vf_rate{.vf = vf, .min_tx_rate = 10, .max_tx_rate = 900});
    nla_nest_end(message.get(), info);
  }
  nla_nest_end(message.get(), list);
  const std::vector<VfRecord> records = parse_vf_records(nlmsg_hdr(message.get()));
  REQUIRE(records.size() == 2);
  CHECK(records[0].index == 0);
  CHECK(records[0].mac == "8e:00:00:00:00:d0");
  CHECK(records[0].vlan == 20);
  CHECK(records[0].qos == 3);
  CHECK(records[0].vlan_proto == "802.1Q");
  CHECK(records[0].trust == true);
  CHECK(records[0].spoofchk == true);
  CHECK(records[0].link_state == "disable");
  CHECK(records[0].min_rate_mbit == 10);
  CHECK(records[0].max_rate_mbit == 900);
  CHECK(records[1].vlan_proto == "802.1ad");
  CHECK_FALSE(records[1].trust.has_value());
}

TEST_CASE("the kernel of this machine answers: the loopback has no VFs, and can't be given any") {
  NetlinkSocket socket;
  constexpr int kLoopback = 1;
  CHECK(read_vf_records(socket, kLoopback).empty());
  CHECK(read_vf_records(socket, 1 << 30).empty());
  VfSettings settings;
  settings.trust = true;
  try {
    set_vf(socket, kLoopback, "lo", 0, settings);
    FAIL("the loopback took a VF's setting");
  } catch (const Error& error) {
    CHECK(error.parts().operation == "set trust on of VF 0 of");
    CHECK(error.parts().object == "lo");
    CHECK(error.status() == ExitStatus::kHost);
  }
  // Straight to the kernel, whose refusal comes as an answer.
  const auto requests = make_vf_requests(kLoopback, record_of_vf_3(), settings);
  CHECK(socket.request(requests.at(0).message.get()).error != 0);
}
