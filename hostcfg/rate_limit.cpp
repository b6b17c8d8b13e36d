#include "hostcfg/rate_limit.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <optional>
#include <vector>

#include "hostcfg/checkpoint.hpp"
#include "hostcfg/link.hpp"

namespace vmrig {
namespace {

constexpr const char* kLimit = "limit the rate of";
constexpr const char* kUnlimit = "take the rate limit from";
constexpr std::uint32_t kOurHandle = 0x766d0000;  // "vm"; the kernel's own choices have none
constexpr std::uint32_t kIngressHandle = 0xffff0000;
constexpr std::uint16_t kPriority = 1;
constexpr unsigned kBurstsPerSecond = 100;    // as much as may go out at once, of a second's
constexpr unsigned kQueuesPerSecond = 20;     // as much as waits, of a second's: 50 ms
constexpr std::uint64_t kLeastQueue = 65536;  // a whole segmentation offload

struct Qdisc {
  std::string kind;
  std::uint32_t handle = 0;
  std::uint32_t parent = 0;
};

tcmsg tc_header(const LinkState& link, std::uint32_t parent, std::uint32_t handle = 0) {
  tcmsg header{};
  header.tcm_family = AF_UNSPEC;
  header.tcm_ifindex = link.index;
  header.tcm_parent = parent;
  header.tcm_handle = handle;
  return header;
}

std::vector<Qdisc> read_qdiscs(NetlinkSocket& socket, const LinkState& link) {
  std::vector<Qdisc> qdiscs;
  NetlinkRequest request(RTM_GETQDISC, NLM_F_DUMP, tc_header(link, 0));
  const NetlinkAnswer answer = socket.request(request.get(), [&](nlmsghdr* message) {
    if (message->nlmsg_type != RTM_NEWQDISC) return;
    const auto* header = static_cast<const tcmsg*>(nlmsg_data(message));
    if (header->tcm_ifindex != link.index) return;
    qdiscs.push_back({attribute_text(nlmsg_find_attr(message, sizeof(tcmsg), TCA_KIND)),
                      header->tcm_handle, header->tcm_parent});
  });
  if (answer.error != 0) throw net_refused("read the rate limits of", link.name, answer);
  return qdiscs;
}

bool is_our_root(const Qdisc& qdisc) {
  return qdisc.parent == TC_H_ROOT && qdisc.handle == kOurHandle && qdisc.kind == "tbf";
}

bool is_ingress(const Qdisc& qdisc) {
  // clsact has the same parent.
  return qdisc.parent == TC_H_INGRESS;
}

std::optional<LinkState> our_ifb(NetlinkSocket& socket, const std::string& device) {
  auto link = read_link(socket, ifb_name(device));
  if (!link || link->kind != "ifb" || !link->alias.starts_with(kMadeByVmrig)) return std::nullopt;
  return link;
}

Error lacks(const std::string& device, const NetlinkAnswer& answer, const char* what) {
  if (answer.error != ENOENT && answer.error != EOPNOTSUPP) {
    return net_refused(kLimit, device, answer);
  }
  return Error({.status = ExitStatus::kHost,
                .operation = kLimit,
                .object = device,
                .cause = fmt::format("this kernel has no {}", what),
                .mend = fmt::format("modprobe {}, or no \"rate\"", what)});
}

void set_bucket(NetlinkSocket& socket, const std::string& device, const LinkState& link,
                std::uint64_t bit_s) {
  const std::uint64_t byte_s = std::max<std::uint64_t>(bit_s / 8, 1);
  const auto frame = static_cast<std::uint64_t>(link.mtu) + ETH_HLEN + 4;
  const std::uint64_t burst = std::max(byte_s / kBurstsPerSecond, 2 * frame);
  const std::uint64_t limit = std::max(byte_s / kQueuesPerSecond, kLeastQueue) + burst;
  constexpr std::uint64_t kMost = 0x7fffffff;
  tc_tbf_qopt options{};
  options.rate.linklayer = TC_LINKLAYER_ETHERNET;  // else the kernel wants a table of rates, too
  options.rate.rate = static_cast<std::uint32_t>(std::min<std::uint64_t>(byte_s, 0xffffffff));
  options.limit = static_cast<std::uint32_t>(std::min(limit, kMost));
  NetlinkRequest request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE,
                         tc_header(link, TC_H_ROOT, kOurHandle));
  request.put(TCA_KIND, std::string("tbf"));
  nlattr* nest = request.begin(TCA_OPTIONS);
  request.put(TCA_TBF_PARMS, options);
  request.put(TCA_TBF_BURST, static_cast<std::uint32_t>(std::min(burst, kMost)));
  if (byte_s > 0xffffffff) request.put(TCA_TBF_RATE64, byte_s);
  request.end(nest);
  checkpoint("before bucket");
  const NetlinkAnswer answer = socket.request(request.get());
  checkpoint("after bucket");
  if (answer.error != 0) throw lacks(device, answer, "sch_tbf");
}

void add_ingress(NetlinkSocket& socket, const LinkState& link) {
  NetlinkRequest request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL,
                         tc_header(link, TC_H_INGRESS, kIngressHandle));
  request.put(TCA_KIND, std::string("ingress"));
  checkpoint("before ingress");
  const NetlinkAnswer answer = socket.request(request.get());
  checkpoint("after ingress");
  if (answer.error != 0 && answer.error != EEXIST) throw lacks(link.name, answer, "sch_ingress");
}

// All that comes in, of any protocol, goes out by `to`. A u32 match of nothing, because every
// kernel has that; matchall came with 4.8 and is left out of some.
void redirect(NetlinkSocket& socket, const LinkState& from, const LinkState& to) {
  tcmsg header = tc_header(from, kIngressHandle);
  header.tcm_info = TC_H_MAKE(std::uint32_t{kPriority} << 16, htons(ETH_P_ALL));
  NetlinkRequest request(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, header);
  request.put(TCA_KIND, std::string("u32"));
  nlattr* options = request.begin(TCA_OPTIONS);
  // tc_u32_sel ends in an array of keys without a length, which C++ has no value of.
  std::array<char, sizeof(tc_u32_sel) + sizeof(tc_u32_key)> selector{};
  selector[offsetof(tc_u32_sel, flags)] = TC_U32_TERMINAL;
  selector[offsetof(tc_u32_sel, nkeys)] = 1;
  request.put(TCA_U32_SEL, selector);
  nlattr* actions = request.begin(TCA_U32_ACT);
  nlattr* first = request.begin(1);
  request.put(TCA_ACT_KIND, std::string("mirred"));
  nlattr* act = request.begin(TCA_ACT_OPTIONS);
  tc_mirred mirred{};
  mirred.action = TC_ACT_STOLEN;
  mirred.eaction = TCA_EGRESS_REDIR;
  mirred.ifindex = static_cast<std::uint32_t>(to.index);
  request.put(TCA_MIRRED_PARMS, mirred);
  request.end(act);
  request.end(first);
  request.end(actions);
  request.end(options);
  checkpoint("before redirect");
  const NetlinkAnswer answer = socket.request(request.get());
  checkpoint("after redirect");
  if (answer.error != 0 && answer.error != EEXIST) {
    throw lacks(from.name, answer, "cls_u32 or act_mirred");
  }
}

void remove_qdisc(NetlinkSocket& socket, const LinkState& link, std::uint32_t parent,
                  std::uint32_t handle) {
  NetlinkRequest request(RTM_DELQDISC, 0, tc_header(link, parent, handle));
  checkpoint("before qdisc removal");
  const NetlinkAnswer answer = socket.request(request.get());
  checkpoint("after qdisc removal");
  const bool gone = answer.error == ENOENT || answer.error == EINVAL || answer.error == ENODEV;
  if (answer.error != 0 && !gone) throw net_refused(kUnlimit, link.name, answer);
}

LinkState make_ifb(NetlinkSocket& socket, const std::string& device, const std::string& mark) {
  const std::string name = ifb_name(device);
  LinkMaker maker(socket, {.operation = "make the device for the rate limit",
                           .name = name,
                           .kind = "ifb",
                           .module = "ifb",
                           .what = "ifb devices"});
  maker.finish(mark);
  return maker.link();
}

void limit_incoming(NetlinkSocket& socket, const LinkState& link, std::uint64_t bit_s,
                    const std::string& mark) {
  auto ifb = our_ifb(socket, link.name);
  if (!ifb) ifb = make_ifb(socket, link.name, mark);
  set_bucket(socket, link.name, *ifb, bit_s);
  add_ingress(socket, link);
  redirect(socket, link, *ifb);
}

// The ingress first: with the ifb alone left, it is known again.
void unlimit_incoming(NetlinkSocket& socket, const std::optional<LinkState>& link,
                      const LinkState& ifb) {
  if (link) remove_qdisc(socket, *link, TC_H_INGRESS, kIngressHandle);
  remove_link(socket, ifb);
}

}  // namespace

std::string ifb_name(const std::string& device) {
  std::uint32_t hash = 2166136261;  // FNV-1a
  for (const char c : device) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return fmt::format("ifb-{:08x}", hash);
}

RateState read_rate(NetlinkSocket& socket, const std::string& device) {
  RateState state;
  const auto ifb = our_ifb(socket, device);
  // One without an alias is that of a vmrig that died while it made it.
  const auto named = read_link(socket, ifb_name(device));
  state.ours = ifb || (named && is_unfinished(*named, "ifb"));
  const auto link = read_link(socket, device);
  if (!link) return state;
  for (const Qdisc& qdisc : read_qdiscs(socket, *link)) {
    if (is_our_root(qdisc)) {
      state.ours = true;
    } else if (qdisc.parent == TC_H_ROOT && qdisc.handle != 0) {
      state.foreign_root = qdisc.kind;
    } else if (is_ingress(qdisc) && !ifb) {
      state.foreign_ingress = true;
    }
  }
  return state;
}

void set_rate(NetlinkSocket& socket, const SetRate& action, const std::string& mark) {
  const LinkState link = require_link(socket, kLimit, action.device);
  if (action.egress_bit_s) {
    limit_incoming(socket, link, *action.egress_bit_s, mark);
  } else if (const auto ifb = our_ifb(socket, action.device)) {
    unlimit_incoming(socket, link, *ifb);
  }
  if (action.ingress_bit_s) {
    set_bucket(socket, action.device, link, *action.ingress_bit_s);
    return;
  }
  for (const Qdisc& qdisc : read_qdiscs(socket, link)) {
    if (is_our_root(qdisc)) remove_qdisc(socket, link, TC_H_ROOT, kOurHandle);
  }
}

void remove_rate(NetlinkSocket& socket, const std::string& device, const std::string& mark) {
  const auto link = read_link(socket, device);
  if (link) {
    for (const Qdisc& qdisc : read_qdiscs(socket, *link)) {
      if (is_our_root(qdisc)) remove_qdisc(socket, *link, TC_H_ROOT, kOurHandle);
    }
  }
  const auto ifb = read_link(socket, ifb_name(device));
  if (ifb && (ifb->alias == mark || is_unfinished(*ifb, "ifb"))) {
    unlimit_incoming(socket, link, *ifb);
  }
}

}  // namespace vmrig
