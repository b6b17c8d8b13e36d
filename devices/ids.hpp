// Rules for the names that a config gives to devices.
#pragma once

#include <string>

#include "hostcfg/base/shape.hpp"

namespace vmrig {

// QEMU wants a letter, then letters, digits, '-', '.' and '_' (qemu util/id.c). At most 24
// bytes, because a block node is named "ID-format" and node names end at 31. "vmrig-" is ours.
TextRule id_rule(std::size_t max_length = 24);

// The same for a device with a socket of its name in the VM's folder: "ID.sock", beside vmrig's
// own.
TextRule socket_id_rule();

// A host path: any bytes but NUL.
TextRule path_rule();

}  // namespace vmrig
