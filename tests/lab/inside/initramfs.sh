#!/bin/busybox sh
# /init of the lab's initramfs: loads the modules, mounts the host's / (read-only 9p) under a
# tmpfs overlay and the writable share at /run/lab/share, and goes on with inside/init.sh of
# the checkout. What can be done here is done here: busybox from memory starts several
# times faster under TCG than programs over 9p.
b=/bin/busybox
fatal() {
  echo "lab: $*" >/dev/console
  $b poweroff -f
}
# note TEXT: with the uptime to the console, so that a boot that hangs tells where.
note() {
  read -r up _ </proc/uptime
  echo "lab: $up s: $*" >/dev/console
}
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
note modules
# Drivers that probe slowly and that no other module needs load beside the rest.
while read -r module; do
  case $module in
  kvm-amd.ko | igb.ko | e1000.ko | nvme.ko) $b insmod "/lib/$module" & ;;
  *) $b insmod "/lib/$module" || fatal "can't load $module" ;;
  esac
done </lib/order
note root
options=trans=virtio,version=9p2000.L,msize=512000
# The host's / does not change while the lab runs: cached loosely, it is many times faster.
$b mount -t 9p -o "$options,cache=loose,ro" root /lower || fatal "no 9p root"
$b mount -t tmpfs -o mode=755,size=1g rw /rw
$b mkdir /rw/upper /rw/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work root /new || fatal "no overlay"
$b mkdir -p /new/proc /new/sys /new/dev /new/run
$b mount -t tmpfs -o mode=755 run /new/run
$b mkdir -p /new/run/lock /new/run/lab/share /new/run/lab/scratch
$b mkfifo /new/run/lab/never
$b mount -t 9p -o "$options,cache=none" share /new/run/lab/share || fatal "no 9p share"
. /new/run/lab/share/env

note mounts
$b mkdir -p /dev/pts /dev/shm /dev/hugepages /dev/hugepages1G
$b mount -t devpts -o ptmxmode=0666,mode=0620,gid=5 devpts /dev/pts
$b mount -t tmpfs -o mode=1777 shm /dev/shm
$b mount -t hugetlbfs -o pagesize=2M hugetlbfs /dev/hugepages
$b mount -t hugetlbfs -o pagesize=1G hugetlbfs1G /dev/hugepages1G
$b mount -t cgroup2 cgroup2 /sys/fs/cgroup
# What systemd turns on. With cpuset on, a process that enters a group of its own gets all
# CPUs, isolated ones too.
echo "+cpu +io +memory +pids" >/sys/fs/cgroup/cgroup.subtree_control
$b ln -s /proc/self/fd /dev/fd
$b ln -s /proc/self/fd/0 /dev/stdin
$b ln -s /proc/self/fd/1 /dev/stdout
$b ln -s /proc/self/fd/2 /dev/stderr
echo lab >/proc/sys/kernel/hostname
note "drivers that probe slowly"
wait
note "network names"

# Names by MAC; machine.sh gives them out. VFs work only while their PF is up.
for link in /sys/class/net/eth*; do
  case $($b cat "$link/address") in
  52:54:00:1a:b0:00) name=pf0 ;;
  52:54:00:1a:b1:00) name=pf1 ;;
  52:54:00:1a:b2:00) name=shared0 ;;
  52:54:00:1a:b2:01) name=shared1 ;;
  *) continue ;;
  esac
  $b ip link set "${link##*/}" name $name
done
for name in lo pf0 pf1; do $b ip link set $name up & done
wait

for folder in proc sys dev; do $b mount --move /$folder /new/$folder; done
exec $b switch_root /new /bin/bash "$LAB_DIR/inside/init.sh"
