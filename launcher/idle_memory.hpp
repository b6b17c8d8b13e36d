// Giving memory back that only a launch needed.
#pragma once

namespace vmrig {

// Returns free heap to the kernel, and drops the pages of program and library code from this
// process: what runs again is mapped again, from the page cache, at its first use (about 0.1 us a
// page). A supervisor then costs what supervising takes. Side effects: none but on memory.
// Source: madvise(2), MADV_DONTNEED on private file mappings; code is never written.
void release_launch_memory();

}  // namespace vmrig
