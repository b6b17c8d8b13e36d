// Memory of hugepages, got from the pools before anybody maps it.
#pragma once

#include <optional>

#include "hostcfg/base/bytes.hpp"
#include "hostcfg/base/fd.hpp"

namespace vmrig {

// A memfd (close-on-exec) of `size` bytes, a multiple of `page_size` (2 MiB or 1 GiB), all of whose
// pages are there, zeroed, from NUMA node `node` alone when one is given. Blocks, for about 50 ms a
// GiB; works with up to four threads. The pages go back to the pool with the last fd and mapping.
// Throws vmrig::Error (kHost) when the pool is too small; nothing is kept then.
// Source: linux memfd_create(2) MFD_HUGETLB, fallocate(2), set_mempolicy(2).
Fd make_huge_memory(Bytes size, Bytes page_size, std::optional<int> node);

}  // namespace vmrig
