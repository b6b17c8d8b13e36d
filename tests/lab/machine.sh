# The outer machine as QEMU arguments; sourced by run.sh.
# What cases may rely on (inside/lib.sh names it): pf0 = 0000:21:00.0 on node 0, pf1 =
# 0000:41:00.0 on node 1, an NVMe with two VFs, shared0 and shared1 in one IOMMU group,
# CPUs 0-1 on node 0, 2-3 on node 1 and isolated, hugepages of both sizes on both nodes.

# shellcheck disable=SC2034,SC2054  # used by run.sh; commas are QEMU's
# machine_args KERNEL_FOLDER SHARE: fills the array machine_args.
machine_args() {
  local kernel=$1 share=$2
  local cmdline=(console=ttyS0,115200 quiet panic=-1 tsc=reliable no_timer_check
    intel_iommu=on iommu=pt isolcpus=2-3 net.ifnames=0 mitigations=off sysrq_always_enabled random.trust_cpu=on
    # On a loaded host the kernel measures the TSC wrong (up to five times too slow has been seen),
    # and its time runs away. TCG's TSC is the host's, which can be measured better from here.
    "tsc_early_khz=$("$here/tsc_khz.py")"
    # QEMU 10.0's TCG loses interrupts: svm_helper.c writes a CPU's interrupt_request without the
    # lock that raises it elsewhere (later QEMUs do it atomically), so that one raised during a
    # nested guest's exit waits until the CPU's next. An idle CPU of Linux has none, and when the
    # lost one was the 9p root's, all hangs. So: a timer that ticks on by itself, on every CPU
    # (periodic, neither nohz nor high resolution), and devices away from the guests' CPUs.
    nohz=off highres=off irqaffinity=0-1
    # Both sizes on both nodes: without a node 1GiB pages land where there is room.
    default_hugepagesz=2M hugepagesz=1G hugepages=0:1,1:1 hugepagesz=2M hugepages=0:320,1:320)
  machine_args=(
    -nodefaults -no-user-config -display none -no-reboot
    -M q35 -accel tcg,thread=multi
    # TCG emulates SVM with nested paging. phys-bits=36: above that the VFs' BARs lie too
    # high for the igb emulation and every packet is lost.
    -cpu EPYC,+svm,+npt,+pdpe1gb,phys-bits=36
    -smp 4,sockets=2,cores=2,threads=1 -m 8G
    -object memory-backend-ram,id=mem0,size=4G -object memory-backend-ram,id=mem1,size=4G
    -numa node,nodeid=0,cpus=0-1,memdev=mem0 -numa node,nodeid=1,cpus=2-3,memdev=mem1
    -kernel "$kernel/vmlinux" -initrd "$kernel/initrd.img" -append "${cmdline[*]}"
    # The IOMMU has to stand before the devices that it translates for.
    -device intel-iommu,intremap=on
    -fsdev local,id=root,path=/,security_model=none,multidevs=remap,readonly=on
    -device virtio-9p-pci,bus=pcie.0,fsdev=root,mount_tag=root
    -fsdev "local,id=share,path=${share//,/,,},security_model=none"
    -device virtio-9p-pci,bus=pcie.0,fsdev=share,mount_tag=share
    # Each PF behind a host bridge of its own, because only a pxb carries a numa_node.
    -device pxb-pcie,id=pxb0,bus=pcie.0,bus_nr=32,numa_node=0
    -device pxb-pcie,id=pxb1,bus=pcie.0,bus_nr=64,numa_node=1
    -device pcie-root-port,id=rp0,bus=pxb0,chassis=1 -device pcie-root-port,id=rp1,bus=pxb1,chassis=2
    # One hub as the switch between the two PFs' ports.
    -netdev hubport,id=port0,hubid=1 -netdev hubport,id=port1,hubid=1
    -device igb,id=pf0,bus=rp0,netdev=port0,mac=52:54:00:1a:b0:00,romfile=
    -device igb,id=pf1,bus=rp1,netdev=port1,mac=52:54:00:1a:b1:00,romfile=
    # Two conventional PCI NICs behind one bridge: a group that is never viable by halves.
    -device pcie-pci-bridge,id=conventional,bus=pcie.0
    -netdev hubport,id=port2,hubid=2 -netdev hubport,id=port3,hubid=2
    -device e1000,id=shared0,bus=conventional,addr=1,netdev=port2,mac=52:54:00:1a:b2:00,romfile=
    -device e1000,id=shared1,bus=conventional,addr=2,netdev=port3,mac=52:54:00:1a:b2:01,romfile=
    # SR-IOV of the NVMe needs a subsystem, and queues and interrupts left over for its VFs.
    -device pcie-root-port,id=rp2,bus=pcie.0,chassis=3
    -blockdev null-co,node-name=null,size=67108864,read-zeroes=on
    -device nvme-subsys,id=subsys0
    -device nvme,id=nvme0,bus=rp2,serial=vmrig-lab,subsys=subsys0,max_ioqpairs=8,msix_qsize=9,sriov_max_vfs=2,sriov_vq_flexible=4,sriov_vi_flexible=2
    -device nvme-ns,drive=null,bus=nvme0,nsid=1
  )
}
