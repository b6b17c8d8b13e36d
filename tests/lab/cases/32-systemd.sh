# limit: 300
# A real systemd runs a VM by the unit in examples: ready when it runs, QEMU outlives its supervisor, which comes back.
. "$LAB_DIR/inside/lib.sh"
[ -x /lib/systemd/systemd ] || skip "no systemd on this host"
cg=/sys/fs/cgroup/case
box=$cg/box

step "systemd as PID 1 of namespaces of its own"
# Its cgroup must be able to hand controllers on, so that nobody else may be in the one above.
mkdir $cg/main
undo rmdir $cg/main
undo bash -c 'echo $PPID >'$cg'/cgroup.procs; for pid in $(<'$cg'/main/cgroup.procs); do echo $pid >'$cg'/cgroup.procs || :; done'
for pid in $(<$cg/cgroup.procs); do echo "$pid" >$cg/main/cgroup.procs || :; done
undo lab_write $cg/cgroup.subtree_control "-cpu -io -memory -pids"
lab_write $cg/cgroup.subtree_control "+cpu +io +memory +pids"
mkdir $box
undo bash -c 'find '$box' -depth -type d -exec rmdir {} + 2>/dev/null || :'
mkdir -p root/etc root/units
cp -r /etc/passwd /etc/group root/etc/
: >root/etc/machine-id
# Units of its own only, without the dependencies by which a whole system would come up; no journal.
sed -e "s|/usr/bin/vmrig|$VMRIG|" -e 's|^\[Service\]|[Service]\nStandardOutput=append:/run/%i.out\nStandardError=inherit|' \
  -e 's|^\[Unit\]|[Unit]\nDefaultDependencies=no|' \
  -e '/network-online/d' -e 's|^WatchdogSec=.*|WatchdogSec=4|' \
  "$LAB_REPO/examples/systemd/vmrig@.service" >root/units/vmrig@.service
grep -q 'ExecStart=.*run --take-over' root/units/vmrig@.service || fail "the unit is another"
cat >root/units/lab.target <<EOF
[Unit]
DefaultDependencies=no
EOF
mkdir -p etc-vmrig
cat >etc-vmrig/one.json <<EOF
{"name": "one", "memory": {"size": "64MiB"}, "power": {"stop_timeout_s": 1}}
EOF
cat >etc-vmrig/two.json <<EOF
{"name": "two", "memory": {"size": "64MiB"}, "power": {"stop_timeout_s": 1},
 "limits": {"pids_max": 200, "memory_max": "400MiB", "cpu_weight": 50}}
EOF
cat >inner.sh <<EOF
set -e
# The case's folder is below /run, and stays in reach as the current one.
cd $PWD
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t proc proc /proc
# Not twice on the same folder. Source: linux fs/namespace.c, do_add_mount.
umount -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/systemd/system /run/etc-vmrig
cp root/units/* /run/systemd/system/
cp etc-vmrig/* /run/etc-vmrig/
mkdir -p /etc/vmrig
mount --bind /run/etc-vmrig /etc/vmrig
cd /
export container=lab
exec /lib/systemd/systemd --system --unit=lab.target --log-target=console --log-level=info --show-status=no
EOF
undo rmdir /etc/vmrig
# The parent stays out of the box: with a process in it that systemd does not see and can't move, the
# kernel lets nobody hand controllers on. Source: linux Documentation/admin-guide/cgroup-v2.rst.
unshare --mount --pid --uts --ipc --fork --kill-child \
  bash -c "echo 0 >$box/cgroup.procs; exec unshare --cgroup bash $PWD/inner.sh" </dev/null >systemd.log 2>&1 &
outer=$!
undo end_process $outer
inside() { nsenter -t "$manager" -m -p -C -- "$@"; }
# A child that is gone when it is looked at is none: $(<FILE) would end the case, even before "&&".
is_up() {
  local name=
  manager=$(pgrep -P $outer | head -1) || return 1
  { read -r name <"/proc/$manager/comm"; } 2>/dev/null || return 1
  [ "$name" = systemd ] && inside test -S /run/systemd/private
}
end=$((SECONDS + 150))
until is_up; do
  [ $SECONDS -lt $end ] && kill -0 $outer 2>/dev/null || {
    cat systemd.log
    fail "systemd did not come up: it is $(cat "/proc/${manager:-none}/comm" 2>&1)"
  }
  read -rt 0.1 <> <(:) || :
done
need inside systemctl list-units --no-pager --no-legend >/dev/null

version=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
show() { inside systemctl show "vmrig@$1" -p "$2" --value; }
qemu_of() { inside "$VMRIG" list --json | python3 -c 'import json, sys
print({vm["name"]: vm["pid"] for vm in json.load(sys.stdin)}.get(sys.argv[1]))' "$1"; }
# until_other UNIT PID: its main process is another than PID, and it is up.
until_other() {
  local i now
  for ((i = 0; i < 600; i++)); do
    now=$(show "$1" MainPID)
    [ "$now" = "$2" ] || [ "$now" = 0 ] || [ "$(show "$1" SubState)" != running ] || return 0
    read -rt 0.1 <> <(:) || :
  done
  inside systemctl status "vmrig@$1" --no-pager || :
  fail "vmrig@$1 did not come back"
}

for vm in one two; do
  step "start $vm: systemctl returns when the guest runs"
  inside systemctl start "vmrig@$vm" || { cat systemd.log; inside cat /run/$vm.out; fail "start"; }
  expect_eq "$(show $vm SubState)" running "state of the service"
  expect_eq "$(show $vm StatusText)" "$vm running" "its status"
  supervisor=$(show $vm MainPID)
  qemu=$(qemu_of $vm)
  inside test -d "/proc/$qemu" || fail "no QEMU of $vm"

  if [ $vm = two ] && [ "$version" -lt 254 ]; then
    # Without DelegateSubgroup= systemd can't start anything where a group hands controllers on.
    step "the supervisor of $vm is killed: QEMU goes on, and recover gives it another"
    inside kill -KILL "$supervisor"
    need inside "$VMRIG" recover $vm
    expect_eq "$(qemu_of $vm)" "$qemu" "QEMU of $vm after its supervisor was killed"
    need inside "$VMRIG" stop $vm --force
    expect_eq "$(inside "$VMRIG" list --json)" "[]" "VMs after stop"
    continue
  fi

  step "the supervisor of $vm is killed: QEMU goes on, and gets another"
  inside kill -KILL "$supervisor"
  until_other $vm "$supervisor"
  expect_eq "$(qemu_of $vm)" "$qemu" "QEMU of $vm after its supervisor was killed"
  expect_eq "$(show $vm StatusText)" "$vm running" "status after that"
  need inside "$VMRIG" qmp $vm query-status

  step "the supervisor of $vm hangs: its watchdog ends it"
  supervisor=$(show $vm MainPID)
  inside kill -STOP "$supervisor"
  until_other $vm "$supervisor"
  expect_eq "$(qemu_of $vm)" "$qemu" "QEMU of $vm after its supervisor hung"

  step "stop $vm: in order, and nothing is left"
  need inside systemctl stop "vmrig@$vm"
  expect_eq "$(show $vm Result)" success "result of the service"
  expect_eq "$(show $vm ActiveState)" inactive "state after stop"
  inside test ! -d "/proc/$qemu" || fail "QEMU of $vm lives on"
  expect_eq "$(inside "$VMRIG" list --json)" "[]" "VMs after stop"
done
