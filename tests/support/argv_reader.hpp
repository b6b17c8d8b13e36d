// QEMU's command line taken apart as QEMU does it, so that a test sees what became of each value.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/json.hpp"

namespace vmrig::testing {

// "a=1,b=x,,y,c" as {"": "c", "a": "1", "b": "x,y"}; a key that stands twice has a list. Throws
// std::runtime_error for what is no list of options.
Json read_options(std::string_view text);

// One argument of a plan, option and value: {"-device": {"driver": …}}, {"-S": null},
// {"-kernel": "/k"}. Throws std::runtime_error for an option that plans don't have, for a value too
// many or too few, and for a key that this option is never given: what a value has smuggled in.
Json read_argument(const std::vector<std::string>& words);

}  // namespace vmrig::testing
