// All commands of the program, one file each.
#pragma once

#include <vector>

#include "launcher/cli/command_line.hpp"

namespace vmrig {

RunCommand define_plan(CommandLine& line);
RunCommand define_run(CommandLine& line);
RunCommand define_start(CommandLine& line);
RunCommand define_list(CommandLine& line);
RunCommand define_status(CommandLine& line);
RunCommand define_verify(CommandLine& line);
RunCommand define_metrics(CommandLine& line);
RunCommand define_top(CommandLine& line);
RunCommand define_stop(CommandLine& line);
RunCommand define_pause(CommandLine& line);
RunCommand define_resume(CommandLine& line);
RunCommand define_reset(CommandLine& line);
RunCommand define_console(CommandLine& line);
RunCommand define_capture(CommandLine& line);
RunCommand define_logs(CommandLine& line);
RunCommand define_attach(CommandLine& line);
RunCommand define_detach(CommandLine& line);
RunCommand define_set(CommandLine& line);
RunCommand define_qmp(CommandLine& line);
RunCommand define_events(CommandLine& line);
RunCommand define_host_check(CommandLine& line);
RunCommand define_host_facts(CommandLine& line);
RunCommand define_vfio_list(CommandLine& line);
RunCommand define_vfio_bind(CommandLine& line);
RunCommand define_vfio_release(CommandLine& line);
RunCommand define_sriov_list(CommandLine& line);
RunCommand define_sriov_set(CommandLine& line);
RunCommand define_probe(CommandLine& line);
RunCommand define_schema(CommandLine& line);
RunCommand define_recover(CommandLine& line);
RunCommand define_version(CommandLine& line);

// In the order in which help lists them.
std::vector<Command> all_commands();

}  // namespace vmrig
