// Users of the host, by name.
#pragma once

#include <optional>
#include <string>

#include "hostcfg/facts.hpp"

namespace vmrig {

// Of a name or a number in decimal. A number that has no name is a user all the same, of a group
// of that number. nullopt: there is no such user, or nobody knows now.
// Source: getpwnam_r(3), getgrouplist(3).
std::optional<UserFacts> read_user(const std::string& name);

}  // namespace vmrig
