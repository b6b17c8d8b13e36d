# limit: 2
# Must fail: it waits for what never comes.
. "$LAB_DIR/inside/lib.sh"
undo ip link del labdummy
ip link add labdummy type dummy
step "wait for nothing"
wait_for_line "$LAB_WORK/nothing" "never written" 60
