# limit: 240
# Proves the lab itself: QEMU 7.2 with KVM, a VF by VFIO, locked hugepages and a vhost tap.
. "$LAB_DIR/inside/lib.sh"
qemu=/usr/bin/qemu-system-x86_64
need test -x $qemu
need test -s "$VMRIG_GUEST/vmlinuz"
need test -s "$VMRIG_GUEST/initrd.img"

step "create and bind a VF"
create_vfs $pf1 1
vf=$(vf_of $pf1 0)
ip link set pf1 vf 0 mac 52:54:00:1a:b1:10
bind_vfio "$vf"

step "make a tap"
ip tuntap add dev labtap mode tap
undo ip link del labtap
ip link set labtap up

step "start QEMU"
console=$LAB_WORK/console
free_before=$(free_pages 1 2048)
# Both QEMU's memory and its threads on the VF's node.
taskset -c 2-3 $qemu -nodefaults -display none -no-reboot -M q35,accel=kvm -cpu host \
  -smp 2,sockets=1,cores=2,threads=1 -m 256M -machine memory-backend=ram \
  -object memory-backend-file,id=ram,size=256M,mem-path=/dev/hugepages,share=on,prealloc=on,host-nodes=1,policy=bind \
  -overcommit mem-lock=on \
  -kernel "$VMRIG_GUEST/vmlinuz" -initrd "$VMRIG_GUEST/initrd.img" \
  -append "console=ttyS0 quiet panic=-1 vmrig.autopoweroff" \
  -netdev tap,id=net0,ifname=labtap,script=no,downscript=no,vhost=on -device virtio-net-pci,netdev=net0,romfile= \
  -device vfio-pci,host="$vf",romfile= \
  -serial "file:$console" >"$LAB_WORK/qemu.log" 2>&1 &
qemu_pid=$!
undo cat "$LAB_WORK/qemu.log"
undo end_process $qemu_pid

step "the guest's greeting"
wait_for_line "$console" "vmrig guest ready" 150 $qemu_pid
expect_eq $((free_before - $(free_pages 1 2048))) 128 "2MiB pages of node 1 in use"
need test -c "/dev/vfio/$(group_of "$vf")"

step "power off"
wait_for_exit $qemu_pid 60
rc=0
wait $qemu_pid || rc=$?
expect_eq $rc 0 "exit status of QEMU"
expect_eq "$(free_pages 1 2048)" "$free_before" "2MiB pages of node 1 given back"
