# Must fail: a process is left running.
. "$LAB_DIR/inside/lib.sh"
step "leave a process"
setsid bash -c 'read -r <>/run/lab/never' &
