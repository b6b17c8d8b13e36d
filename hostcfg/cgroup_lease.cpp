#include "hostcfg/cgroup_lease.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <system_error>
#include <utility>

#include "hostcfg/base/error.hpp"
#include "hostcfg/folder_reader.hpp"
#include "hostcfg/host_refusal.hpp"

namespace vmrig {
namespace {

using Result = UndoLine::Result;

constexpr const char* kControl = "cgroup.subtree_control";
constexpr int kMostRounds = 100;  // of moving processes that fork meanwhile

bool has(const std::vector<std::string>& list, const std::string& word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> list;
  while (!(text = trimmed(text)).empty()) list.emplace_back(take_word(text));
  return list;
}

std::vector<std::string> handed_on(CgroupControl& cgroups, const std::string& group) {
  return words(cgroups.read(group, kControl));
}

std::string evacuation_of(const std::string& base) {
  return fmt::format("{}/{}", base, kEvacuationGroup);
}

Error refusal(const char* operation, const std::string& object, const std::system_error& fault,
              std::string mend = {}) {
  return host_refusal(operation, object, fault.code().message(), std::move(mend));
}

// Processes come and go while they are moved; those that are gone are no fault.
void move_processes(CgroupControl& cgroups, const std::string& from, const std::string& to) {
  for (int round = 0; round < kMostRounds; ++round) {
    const std::vector<pid_t> pids = cgroups.processes(from);
    if (pids.empty()) return;
    for (const pid_t pid : pids) {
      try {
        cgroups.write(to, "cgroup.procs", std::to_string(pid));
      } catch (const std::system_error& fault) {
        if (fault.code().value() != ESRCH) throw;
      }
    }
  }
}

void hand_on(CgroupControl& cgroups, const std::string& group,
             const std::vector<std::string>& controllers) {
  const std::vector<std::string> now = handed_on(cgroups, group);
  std::string missing;
  for (const std::string& controller : controllers) {
    if (!has(now, controller)) missing += (missing.empty() ? "+" : " +") + controller;
  }
  if (!missing.empty()) cgroups.write(group, kControl, missing);
}

}  // namespace

CgroupOldState ReadOldCgroup::operator()(const ShareCgroup& action) const {
  CgroupOldState old;
  old.existed = cgroups.exists(action.group());
  old.handed_on = handed_on(cgroups, action.base);
  return old;
}

CgroupOldState ReadOldCgroup::operator()(const CreateCgroup& action) const {
  if (cgroups.exists(action.group)) {
    throw host_refusal("make the cgroup", action.group,
                       "it is there already: a VM of this name in another state folder, perhaps",
                       "another \"name\", or: rmdir " + action.group);
  }
  return {};
}

CgroupOldState ReadOldCgroup::operator()(const LimitDevice&) const { return {}; }

void DoCgroup::operator()(const ShareCgroup& action) const {
  constexpr const char* kOperation = "make cgroups for VMs below";
  try {
    if (!cgroups.exists(action.group())) cgroups.make(action.group());
    try {
      hand_on(cgroups, action.base, action.controllers);
    } catch (const std::system_error& fault) {
      // Somebody is in it: ourselves, at least.
      if (fault.code().value() != EBUSY) throw;
      const std::string evacuation = evacuation_of(action.base);
      if (!cgroups.exists(evacuation)) cgroups.make(evacuation);
      move_processes(cgroups, action.base, evacuation);
      hand_on(cgroups, action.base, action.controllers);
    }
    hand_on(cgroups, action.group(), action.controllers);
  } catch (const std::system_error& fault) {
    throw refusal(kOperation, action.base, fault,
                  "no \"limits\", or vmrig in a unit of its own: systemd-run -p Delegate=yes");
  }
}

void DoCgroup::operator()(const CreateCgroup& action) const {
  try {
    if (!cgroups.exists(action.group)) cgroups.make(action.group);
  } catch (const std::system_error& fault) {
    throw refusal("make the cgroup", action.group, fault);
  }
  for (const auto& [file, value] : action.settings) {
    const std::string what = fmt::format("{}/{}", action.group, file);
    try {
      cgroups.write(action.group, file, value);
    } catch (const std::system_error& fault) {
      if (fault.code().value() != ENOENT) throw refusal("write to", what, fault);
      throw host_refusal("write to", what, "this kernel has no such limit",
                         file == "io.weight"
                             ? "a kernel with CONFIG_BLK_CGROUP_IOCOST, or no \"io_weight\""
                             : "leave it out of \"limits\"");
    }
    if (const std::string got = cgroups.read(action.group, file); got != value) {
      throw host_refusal("write to", what,
                         fmt::format("it is {}, not {}", quote(got), quote(value)));
    }
  }
}

void DoCgroup::operator()(const LimitDevice& action) const {
  const std::string what = action.group + "/io.max";
  try {
    cgroups.write(action.group, "io.max", action.line());
  } catch (const std::system_error& fault) {
    throw refusal("write to", what, fault);
  }
  const std::string text = cgroups.read(action.group, "io.max");
  if (("\n" + text + "\n").find("\n" + action.line() + "\n") == std::string::npos) {
    throw host_refusal("write to", what,
                       fmt::format("{} is not there: {}", quote(action.line()), quote(text)));
  }
}

UndoLine UndoCgroup::operator()(const ShareCgroup& action) const {
  const std::string group = action.group();
  if (rules.others_share && rules.others_share(action)) {
    return {action, Result::kLeft, group + " stays: another VM uses it"};
  }
  bool is_changed = cgroups.exists(group) && !old.existed;
  if (is_changed && !cgroups.remove(group)) {
    return {action, Result::kLeft, group + " stays: there are other groups in it"};
  }
  std::string stuck;
  for (const std::string& controller : handed_on(cgroups, action.base)) {
    if (has(old.handed_on, controller) || !has(action.controllers, controller)) continue;
    try {
      cgroups.write(action.base, kControl, "-" + controller);
      is_changed = true;
    } catch (const std::system_error&) {
      stuck += (stuck.empty() ? "" : ", ") + controller;  // another group hands it on by now
    }
  }
  const std::string evacuation = evacuation_of(action.base);
  if (stuck.empty() && cgroups.exists(evacuation)) {
    move_processes(cgroups, evacuation, action.base);
    (void)cgroups.remove(evacuation);
    is_changed = true;
  }
  if (!stuck.empty()) {
    return {action, Result::kLeft,
            fmt::format("{} goes on to hand on {}: another group needs it", action.base, stuck)};
  }
  if (!is_changed) return {action, Result::kAsBefore, group + " is gone"};
  return {action, Result::kPutBack, group + " is removed"};
}

UndoLine UndoCgroup::operator()(const CreateCgroup& action) const {
  if (old.existed || !cgroups.exists(action.group)) {
    return {action, Result::kAsBefore, action.group + " is gone"};
  }
  if (!cgroups.remove(action.group)) {
    return {action, Result::kLeft, action.group + " stays: there are groups in it"};
  }
  return {action, Result::kPutBack, action.group + " is removed"};
}

UndoLine UndoCgroup::operator()(const LimitDevice& action) const {
  const std::string what = fmt::format("the limit on {} ({})", action.disk, action.device);
  const std::string text = "\n" + cgroups.read(action.group, "io.max");
  if (!cgroups.exists(action.group) || text.find("\n" + action.device + " ") == std::string::npos) {
    return {action, Result::kAsBefore, what + " is gone"};
  }
  cgroups.write(action.group, "io.max", action.no_limit());
  return {action, Result::kPutBack, what + " is removed"};
}

}  // namespace vmrig
