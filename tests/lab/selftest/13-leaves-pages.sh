# Must fail: pool, mount and cgroup are not as before.
. "$LAB_DIR/inside/lib.sh"
step "leave pages, a mount and a cgroup"
echo 300 >/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages
mkdir -p /run/lab/mnt /sys/fs/cgroup/labgroup
mount -t tmpfs labmount /run/lab/mnt
