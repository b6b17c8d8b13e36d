// Where a crash would hurt: around each journal record and each effect on the host.
#pragma once

namespace vmrig {

// Does nothing. A test binary that defines this function itself is linked with its own instead
// (this one stands alone in its object file), and can die at the Nth call.
void checkpoint(const char* where);

}  // namespace vmrig
