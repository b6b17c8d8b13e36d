// What can be known to fail before anything is touched.
#pragma once

#include <vector>

#include "launcher/plan.hpp"

namespace vmrig {

// The findings about disks, kernel, memory and MAC addresses. A captured snapshot of facts holds
// no paths: they are then reported as not checked.
void check_disks(const PlanInput& input, std::vector<Diagnostic>& findings);
// Of one disk whose file is there and of its format: locks of other processes, images below it.
void check_image(const PlanInput& input, const DiskConfig& disk, const std::string& origin,
                 const PathFacts& file, std::vector<Diagnostic>& findings);
void check_boot_files(const PlanInput& input, std::vector<Diagnostic>& findings);
// Of ordinary pages; for hugepages see page_plan.hpp.
void check_memory(const PlanInput& input, const Plan& plan, std::vector<Diagnostic>& findings);
// Serial ports' files, option ROMs, sockets by their path.
void check_other_files(const PlanInput& input, std::vector<Diagnostic>& findings);
// Ports of the host that NICs forward.
void check_forwards(const PlanInput& input, std::vector<Diagnostic>& findings);
void check_macs(const PlanInput& input, std::vector<Diagnostic>& findings);

Diagnostic finding(Severity severity, std::string path, std::string message, std::string mend = {},
                   ExitStatus status = ExitStatus::kHost);

}  // namespace vmrig
