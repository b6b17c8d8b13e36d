# Must fail: a link is left, and a PF's MTU is changed.
. "$LAB_DIR/inside/lib.sh"
step "leave a link"
ip link add labdummy type dummy
ip link set pf0 mtu 1400
