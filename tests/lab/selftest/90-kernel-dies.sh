# Must fail: the machine ends under it.
. "$LAB_DIR/inside/lib.sh"
step "crash"
echo c >/proc/sysrq-trigger
