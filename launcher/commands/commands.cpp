#include "launcher/commands/commands.hpp"

namespace vmrig {

std::vector<Command> all_commands() {
  return {
      {"plan", "CONFIG", "Show what run would do, and touch nothing", define_plan},
      {"run", "CONFIG", "Start a VM and stay its supervisor until it ends", define_run},
      {"start", "CONFIG", "Start a VM in the background", define_start},
      {"list", "", "List the VMs", define_list},
      {"status", "NAME", "Show one VM in full", define_status},
      {"verify", "NAME", "Measure a running VM against its plan", define_verify},
      {"metrics", "NAME | --all", "Print VMs' numbers for Prometheus, or write them to a file",
       define_metrics},
      {"top", "[NAME]", "Watch VMs' threads: CPU, waits, switches, exits, memory", define_top},
      {"stop", "NAME", "Power a VM off: by ACPI, then quit, then kill", define_stop},
      {"pause", "NAME", "Stop a VM's vCPUs", define_pause},
      {"resume", "NAME", "Let a paused VM go on", define_resume},
      {"reset", "NAME", "Press a VM's reset button", define_reset},
      {"console", "NAME", "Talk to a VM's serial console (Ctrl-] leaves)", define_console},
      {"capture", "NAME NIC -w FILE", "Write a NIC's packets to a pcap file", define_capture},
      {"logs", "NAME", "Print QEMU's and vmrig's log of a VM", define_logs},
      {"attach", "NAME KIND DEVICE", "Give a running VM a device", define_attach},
      {"detach", "NAME ID", "Take a device from a running VM", define_detach},
      {"set", "NAME KEY=VALUE…", "Change vCPUs, memory or links of a running VM", define_set},
      {"qmp", "NAME [COMMAND [JSON]]", "Run QMP commands: one, a script, or typed", define_qmp},
      {"events", "NAME", "Follow a VM's QMP events, one JSON object a line", define_events},
      {"host check", "[CONFIG]", "Tell whether this host can run a tuned VM, and what to mend",
       define_host_check},
      {"host facts", "", "Print what vmrig sees of this host, as JSON", define_host_facts},
      {"vfio list", "", "List the host's PCI devices, and which can be taken", define_vfio_list},
      {"vfio bind", "BDF…", "Give devices to vfio-pci by hand", define_vfio_bind},
      {"vfio release", "BDF…", "Give them back to the drivers they had", define_vfio_release},
      {"sriov list", "[PF]", "List PFs, and their VFs with owner and settings", define_sriov_list},
      {"sriov set", "PF --vfs N", "Make VFs of a PF, or take them away", define_sriov_set},
      {"probe", "[QEMU]", "Show what a QEMU can do", define_probe},
      {"schema", "", "Print the JSON Schema of a config", define_schema},
      {"recover", "[NAME]", "Undo on the host what dead VMs left, and remove them", define_recover},
      {"version", "", "Print the version", define_version},
  };
}

}  // namespace vmrig
