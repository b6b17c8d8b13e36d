// The files that a disk consists of, by what its images say. Pure.
#pragma once

#include <string>
#include <vector>

#include "devices/disk_files.hpp"
#include "launcher/plan.hpp"

namespace vmrig {

// Of a qcow2 disk its data file and all that it stands on. Faults are appended to `findings` at
// the keys of `origin`: a chain that can't be followed, a file that is not there or that another VM
// writes, an image whose format nobody has written down. What the facts do not tell is left to
// QEMU.
DiskFiles files_of(const DiskConfig& disk, const std::string& origin, const PlanInput& input,
                   std::vector<Diagnostic>& findings);

// The paths of all of them but the image that the config names.
std::vector<std::string> paths_below(const DiskFiles& files);

// For a VM's state.json. The reader throws what Json throws.
Json to_json(const DiskFiles& files);
DiskFiles disk_files_from_json(const Json& json);

}  // namespace vmrig
