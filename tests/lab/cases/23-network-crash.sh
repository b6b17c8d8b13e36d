# limit: 1200
# SIGKILL of the supervisor at every step on the network: bridge, VLANs, taps, macvtap, addresses, rates.
. "$LAB_DIR/inside/lib.sh"
. "$LAB_DIR/inside/crash.sh"
host_now() {
  # Carriers come and go by themselves.
  { ip -d -o link; ip -o -4 addr; bridge vlan; tc qdisc; nft list ruleset; } |
    sed -E 's/NO-CARRIER,//; s/,LOWER_UP//; s/ state [A-Z]+//'
}
modprobe -a tun vhost_net bridge 8021q macvtap ifb act_mirred cls_u32 sch_ingress sch_tbf nf_tables
# A module may come with devices of its own (ifb0, ifb1): they are there before.
ip link set pf1 up
cat >net.json <<'EOF'
{"name": "k", "memory": {"size": "64MiB"}, "nics": [
  {"id": "net0", "type": "tap", "vlan": 10, "rate": {"ingress": "20Mbit", "egress": "10Mbit"}, "mtu": 1400,
   "bridge": {"name": "kbr0", "create": true, "vlan_filtering": true, "address": "192.0.2.1/24"}},
  {"id": "net1", "type": "macvtap", "parent": "pf1", "vlan": 30, "rate": {"ingress": "20Mbit"}},
  {"id": "net2", "type": "tap", "address": "198.51.100.1/30"}]}
EOF
need "$VMRIG" plan net.json

step "a VM's life"
matrix net.json 60

step "recover itself"
recover_matrix net.json 20
