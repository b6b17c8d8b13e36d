# PID 1 of the outer machine after the initramfs: adds tools, runs the cases (or a shell) and
# powers off. / is an overlay over the host's, so it may write anywhere.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
unset TERM
. /run/lab/share/env
exec {events}>/dev/ttyS1
stty -F /dev/ttyS1 raw -echo
# step TEXT: to the runner outside, and with the uptime to the console.
step() {
  local up
  printf '@step %s\n' "$*" >&"$events"
  read -r up _ </proc/uptime
  echo "lab: $up s: $*" >/dev/console
}
poweroff_now() {
  echo o >/proc/sysrq-trigger
  # The power-off runs in a kernel worker; PID 1 must not return before it.
  read -r <>/run/lab/never
}
trap poweroff_now EXIT
ulimit -l unlimited

step tools
tools=$LAB_BUILD/tools
# Only where the host has nothing of that name. No fork but ln's: they are dear under TCG.
for folder in bin sbin usr/bin usr/sbin lib/x86_64-linux-gnu usr/lib/x86_64-linux-gnu; do
  missing=()
  for file in "$tools/$folder"/*; do
    [ -d "$file" ] || [ -e "/$folder/${file##*/}" ] || missing+=("$file")
  done
  [ ${#missing[@]} = 0 ] || ln -s -t "/$folder" "${missing[@]}"
done
release=$(</proc/sys/kernel/osrelease)
mkdir -p /lib/modules
ln -sfn "$LAB_BUILD/kernel-$LAB_KERNEL/modules/lib/modules/$release" "/lib/modules/$release"

if [ "$LAB_MODE" = shell ]; then
  export TERM=linux LAB_DIR
  echo "lab: kernel $release. Run a case: bash \$LAB_DIR/inside/runner.sh 01-hardware:60" >/dev/console
  echo "lab: logs are in /run/lab/share. Leave with exit; Ctrl-a x ends QEMU." >/dev/console
  cd "$LAB_REPO" && busybox setsid busybox cttyhack bash -i </dev/ttyS0 >/dev/ttyS0 2>&1
  exit
fi
# A VM of KVM's that is always there: each first one has the kernel patch its scheduler and each last
# one patch it back (preempt_notifier_key), and TCG has been seen to run the patching's int3 late.
python3 -c 'import fcntl, os, signal
vm = fcntl.ioctl(os.open("/dev/kvm", os.O_RDWR), 0xAE01, 0)  # KVM_CREATE_VM
signal.pause()' </dev/null >/dev/console 2>&1 {events}>&- &
step "first case"
printf '@boot\n' >&"$events"
# shellcheck disable=SC2086  # a list of words
LAB_EVENTS=$events bash "$LAB_DIR/inside/runner.sh" $LAB_CASES >/dev/console 2>&1
step "power off"
printf '@end\n' >&"$events"
