#include "launcher/page_claims.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/folder_reader.hpp"
#include "hostcfg/journal.hpp"
#include "hostcfg/memory_use.hpp"

namespace vmrig {
namespace {

// Of vmrig while it populates, of QEMU from then on: for a moment both have mapped the same.
HugetlbUse pages_got(const VmState& state) {
  const std::optional<FolderReader> root = FolderReader::open("/");
  if (!root) return {};
  HugetlbUse got;
  for (const ProcessIdentity& process : {state.supervisor, state.qemu}) {
    if (process.pid <= 0 || !is_alive(process)) continue;
    for (const auto& [where, pages] : read_hugetlb_use(*root, process.pid)) {
      std::uint64_t& most = got[where];
      most = std::max(most, pages);
    }
  }
  return got;
}

bool is_reserved(const std::optional<JournalContent>& journal, const PageClaim& claim) {
  if (!journal) return false;
  return std::any_of(
      journal->entries.begin(), journal->entries.end(), [&claim](const JournalEntry& entry) {
        const auto* reserve = std::get_if<ReservePages>(&entry.action);
        return reserve != nullptr && entry.stage == JournalEntry::Stage::kDone &&
               reserve->page_size == claim.page_size && reserve->pages == claim.reserved &&
               (claim.node < 0 || reserve->node == claim.node);
      });
}

void take_off(PageClaim& claim, HugetlbUse& got) {
  for (auto& [where, pages] : got) {
    const auto& [node, page_size] = where;
    if (page_size != claim.page_size || (claim.node >= 0 && node != claim.node)) continue;
    const std::uint64_t taken = std::min(claim.pages, pages);
    claim.pages -= taken;
    pages -= taken;
  }
}

}  // namespace

Lease claim_now(const VmEntry& vm) {
  Lease lease = vm.state->claim;
  if (lease.pages.empty()) return lease;
  HugetlbUse got = pages_got(*vm.state);
  std::optional<JournalContent> journal;
  try {
    journal = read_journal(vm.path + "/" + kJournalName);
  } catch (const Error&) {
    journal.reset();
  }
  for (PageClaim& claim : lease.pages) {
    if (claim.reserved > 0 && is_reserved(journal, claim)) claim.reserved = 0;
    take_off(claim, got);
  }
  std::erase_if(lease.pages, [](const PageClaim& claim) { return claim.pages == 0; });
  return lease;
}

}  // namespace vmrig
