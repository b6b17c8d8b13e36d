# Must fail, by its own exit status only: undo has put the link back.
. "$LAB_DIR/inside/lib.sh"
undo ip link del labdummy
ip link add labdummy type dummy
step "fail"
false
