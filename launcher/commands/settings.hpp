// What `vmrig set` changes.
#pragma once

#include <array>
#include <string_view>

namespace vmrig {

struct SettingWord {
  std::string_view begin;  // what is typed first: "vcpus=", "link."
  std::string_view doc;
};

inline constexpr std::string_view kLinkPrefix = "link.";
inline constexpr std::array kSettingWords = {
    SettingWord{"vcpus=", "Number of vCPUs"}, SettingWord{"memory=", "Size of the guest's memory"},
    SettingWord{"balloon=", "Memory that the balloon leaves to the guest"},
    SettingWord{kLinkPrefix, "A NIC's cable: link.ID=up or down"}};

}  // namespace vmrig
