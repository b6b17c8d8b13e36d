// Why QEMU did not start, in words for the user, from what it wrote.
#pragma once

#include <string>
#include <string_view>

#include "hostcfg/base/error.hpp"

namespace vmrig {

// `how` says what became of it ("exit status 1"); `words` is what it wrote on standard error.
// Known messages get a status and a mend of their own, all others kQemu and the text itself.
// Source: messages of QEMU 5.2 to 11.1, as seen.
Error qemu_failure(const std::string& qemu_path, const std::string& how, std::string_view words);

}  // namespace vmrig
