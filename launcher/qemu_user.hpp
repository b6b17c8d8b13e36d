// Who QEMU is on the host. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/json.hpp"
#include "hostcfg/file_access.hpp"

namespace vmrig {

// The values of security.user that are no user's name.
inline constexpr std::string_view kAutoUser = "auto";
inline constexpr std::string_view kCallingUser = "caller";

struct QemuUser {
  enum class Kind {
    kCaller,  // as vmrig
    kOwn,     // a uid that no other VM has
    kNamed,   // by the config
  };
  Kind kind = Kind::kCaller;
  Account account;
  std::string name = {};  // of a named one, as in the config
  // vmrig is root and QEMU is without capabilities: vmrig opens what QEMU can't. Else QEMU may do
  // whatever vmrig may.
  bool is_confined = false;
  // The one capability that may be left: where the limit on locked memory can't be raised.
  bool keeps_ipc_lock = false;
  std::optional<int> max_tasks = {};  // of all processes of this uid; none: no limit of vmrig's
  bool operator==(const QemuUser&) const = default;
};

// "1900000123 (the VM's own)", "qemu (64055)", "0 (vmrig's)".
std::string describe(const QemuUser& user);

// For a VM's state.json. The reader throws what Json throws.
Json to_json(const QemuUser& user);
QemuUser qemu_user_from_json(const Json& json);

struct PlanInput;
struct Diagnostic;
struct ThreadPlacement;
enum class HugepageSize;

// By security.user, the host's facts and the uids that other VMs have. Faults are appended to
// `findings`. Pure and deterministic: a VM gets the same uid again while nobody else has it.
QemuUser choose_user(const PlanInput& input, const ThreadPlacement& placement,
                     HugepageSize hugepages, std::vector<Diagnostic>& findings);

// The uid of a VM's own is one of these: above all that systemd, subuid ranges and users take; in a
// user namespace of 65536 ids, among those that systemd leaves free there.
// Source: systemd docs/UIDS-GIDS.md.
inline constexpr unsigned kFirstOwnUid = 1'900'000'000;
inline constexpr unsigned kOwnUids = 65'536;
inline constexpr unsigned kFirstSmallUid = 60'578;
inline constexpr unsigned kSmallUids = 606;

}  // namespace vmrig
