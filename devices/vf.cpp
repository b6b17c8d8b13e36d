#include "devices/vf.hpp"

#include <fmt/format.h>

#include <charconv>
#include <stdexcept>
#include <utility>

#include "devices/host_address.hpp"

namespace vmrig {
namespace {

constexpr int kMostVfs = 65535;        // a 16-bit field in PCIe's SR-IOV capability
constexpr int kMostMbit = 10'000'000;  // 10 Tbit/s
constexpr int kMbitPerGbit = 1000;

TextRule pf_rule() {
  return {.min_length = 1,
          .max_length = 4096,
          .pattern = "^[^/\\s]+$",
          .meaning = "names or PCI addresses of PFs, with commas between them",
          .check = [](const std::string& text) -> std::string {
            return text.find_first_of("/ \t\n\v\f\r") == std::string::npos
                       ? ""
                       : "is no name of a network device";
          }};
}

void add_names(std::string_view text, std::vector<std::string>& names) {
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    if (comma != 0) names.emplace_back(text.substr(0, comma));
    if (comma == std::string_view::npos) return;
    text.remove_prefix(comma + 1);
  }
}

void visit_pfs(Shape& shape, std::vector<std::string>& pfs) {
  int which = pfs.size() > 1 ? 1 : 0;
  shape.any_of(which, {{Alternative::Type::kText,
                        [&](Shape& inner) {
                          std::string text = pfs.empty() ? std::string() : pfs.front();
                          inner.text(text, pf_rule());
                          pfs.clear();
                          add_names(text, pfs);
                        }},
                       {Alternative::Type::kList, [&](Shape& inner) {
                          std::vector<std::string> texts = std::move(pfs);
                          visit(inner, texts, ListRule{1, 64}, pf_rule());
                          pfs.clear();
                          for (const std::string& text : texts) add_names(text, pfs);
                        }}});
}

TextRule auto_or_addresses_rule() {
  TextRule rule = pci_addresses_rule();
  static const std::string pattern = fmt::format("^auto$|{}", rule.pattern);
  rule.pattern = pattern;
  rule.meaning = "\"auto\" or PCI addresses";
  rule.check = [check = rule.check](const std::string& text) -> std::string {
    if (text == "auto" || check(text).empty()) return {};
    return R"(is neither "auto" nor a number nor PCI addresses such as "0000:3b:10.1")";
  };
  return rule;
}

void visit_choice(Shape& shape, VfConfig& vf) {
  int which = vf.index ? 1 : vf.addresses.size() > 1 ? 2 : 0;
  shape.any_of(which, {{Alternative::Type::kText,
                        [&](Shape& inner) {
                          std::string text =
                              vf.addresses.empty() ? "auto" : vf.addresses.front().to_string();
                          inner.text(text, auto_or_addresses_rule());
                          vf.index.reset();
                          vf.addresses.clear();
                          if (text != "auto") vf.addresses = parse_pci_addresses(text);
                        }},
                       {Alternative::Type::kInteger,
                        [&](Shape& inner) {
                          std::int64_t index = vf.index.value_or(0);
                          inner.integer(index, {0, kMostVfs - 1});
                          vf.addresses.clear();
                          vf.index = static_cast<int>(index);
                        }},
                       {Alternative::Type::kList, [&](Shape& inner) {
                          vf.index.reset();
                          std::vector<std::string> texts;
                          for (const PciAddress& a : vf.addresses) texts.push_back(a.to_string());
                          visit(inner, texts, ListRule{1, 256}, pci_addresses_rule());
                          vf.addresses.clear();
                          for (const std::string& text : texts) {
                            if (text.empty() || !pci_addresses_rule().check(text).empty()) continue;
                            for (const PciAddress& a : parse_pci_addresses(text)) {
                              vf.addresses.push_back(a);
                            }
                          }
                        }}});
}

TextRule rate_rule() {
  return {.min_length = 1,
          .max_length = 32,
          .pattern = "^[0-9]+(Mbit|Gbit)$",
          .meaning = "a rate",
          .check = [](const std::string& text) -> std::string {
            try {
              (void)parse_rate_mbit(text);
              return {};
            } catch (const std::invalid_argument& refused) {
              return refused.what();
            }
          }};
}

void check_vf(const VfConfig& vf, const std::optional<int>& vlan, const Fields::Fault& fault) {
  if (vf.pfs.empty() && vf.addresses.empty()) {
    fault("pf", "is missing: a VF is one of a PF", R"("pf": "eno2")");
  }
  if (vf.index && vf.pfs.size() > 1) {
    fault("vf", "a number names a VF of one PF, and there are several", R"("vf": "auto")");
  }
  if (vf.create && !vf.addresses.empty()) {
    fault("create", "is of no use with VFs given by address", R"("vf": "auto")");
  }
  if (vf.create && vf.index && *vf.index >= *vf.create) {
    fault("create", "is too few for the VF of that number", {});
  }
  const bool has_vlan = vlan && *vlan > 0;
  if (vf.qos && *vf.qos > 0 && !has_vlan) {
    fault("qos", "is of no use without a VLAN", R"("vlan": 100)");
  }
  if (vf.vlan_proto && !has_vlan) {
    fault("vlan_proto", "is of no use without a VLAN", R"("vlan": 100)");
  }
  if (vf.min_rate && vf.max_rate && rate_rule().check(*vf.min_rate).empty() &&
      rate_rule().check(*vf.max_rate).empty()) {
    const int most = parse_rate_mbit(*vf.max_rate);
    if (most > 0 && parse_rate_mbit(*vf.min_rate) > most) {
      fault("min_rate", "is more than the max_rate", {});
    }
  }
}

void refuse_vf(const VfConfig& vf, const Fields::Fault& fault) {
  const auto refuse = [&fault](const char* name, bool is_set) {
    if (is_set) fault(name, "is for VFs only", R"("type": "vf")");
  };
  refuse("pf", !vf.pfs.empty());
  refuse("vf", vf.index || !vf.addresses.empty());
  refuse("create", vf.create.has_value());
  refuse("qos", vf.qos.has_value());
  refuse("vlan_proto", vf.vlan_proto.has_value());
  refuse("trust", vf.trust.has_value());
  refuse("spoofchk", vf.spoofchk.has_value());
  refuse("min_rate", vf.min_rate.has_value());
  refuse("max_rate", vf.max_rate.has_value());
}

}  // namespace

std::vector<std::string_view> enum_names(VlanProtocol) { return {"802.1Q", "802.1ad"}; }

int parse_rate_mbit(std::string_view text) {
  const std::invalid_argument refused("is no rate; write \"100Mbit\" or \"10Gbit\"");
  constexpr std::size_t kUnitLength = 4;
  if (text.size() <= kUnitLength) throw refused;
  const std::string_view unit = text.substr(text.size() - kUnitLength);
  const std::string_view number = text.substr(0, text.size() - kUnitLength);
  int value = 0;
  const auto [rest, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  const bool whole = error == std::errc{} && rest == number.data() + number.size();
  const int factor = unit == "Mbit" ? 1 : unit == "Gbit" ? kMbitPerGbit : 0;
  if (!whole || value < 0 || factor == 0 || value > kMostMbit / factor) throw refused;
  return value * factor;
}

void describe_vf(Fields& fields, VfConfig& vf, VfKeys keys, const std::optional<int>& vlan) {
  const bool is_vf = keys == VfKeys::kOfVf;
  fields.member("pf", "PF that the VF is of, or a list of them: name or PCI address.",
                Fields::Need::kOptional, !vf.pfs.empty(),
                [&](Shape& shape) { visit_pfs(shape, vf.pfs); });
  fields.member("vf", "\"auto\": a free VF near the VM's node; its number; or addresses of VFs.",
                Fields::Need::kOptional, is_vf, [&](Shape& shape) { visit_choice(shape, vf); });
  fields.optional("create", "How many VFs to make on a PF that has none.", vf.create,
                  IntRule{1, kMostVfs});
  fields.optional("qos", "Priority in the VLAN's tag.", vf.qos, IntRule{0, 7});
  fields.optional("vlan_proto", "The VLAN's tag: 802.1Q, or 802.1ad (QinQ).", vf.vlan_proto);
  fields.optional("trust", "The guest may change the VF's MAC and be promiscuous.", vf.trust);
  fields.optional("spoofchk", "Frames with another source MAC are dropped.", vf.spoofchk);
  fields.optional("min_rate", "Transmit rate that is kept free: \"100Mbit\".", vf.min_rate,
                  rate_rule());
  fields.optional("max_rate", "Limit of the transmit rate: \"1Gbit\"; \"0Mbit\" for none.",
                  vf.max_rate, rate_rule());
  fields.rule([&, is_vf](const Fields::Fault& fault) {
    if (is_vf) {
      check_vf(vf, vlan, fault);
    } else {
      refuse_vf(vf, fault);
    }
  });
}

}  // namespace vmrig
