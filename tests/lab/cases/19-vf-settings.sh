# limit: 240
# What this NIC takes of a VF's settings is set and put back; what it refuses is told, and undone.
. "$LAB_DIR/inside/lib.sh"
export VMRIG_STATE_DIR=$LAB_WORK/state
vm() { # JSON: more of the NIC
  echo "{\"name\": \"s\", \"memory\": {\"size\": \"64MiB\"}, \"nics\": [{\"id\": \"net1\", \"type\": \"vf\",
    \"pf\": \"pf0\", \"mac\": \"52:54:00:1a:b0:77\", $1}]}" >s.json
}
record() { # of the VFs; the PF's own carrier comes and goes
  local link
  link=$(ip -j link show pf0)
  echo "${link#*\"vfinfo_list\"}"
}
undo "$VMRIG" recover
undo bash -c '"$0" stop --all --force || :' "$VMRIG"

step "a VF on pf0"
ip link set pf0 up
create_vfs $pf0 1
vf=$(vf_of $pf0 0)
ip link set pf0 vf 0 mac 52:54:00:1a:b0:0a
before=$(record)

step "what it takes"
vm '"vlan": 12, "qos": 3, "trust": true, "spoofchk": false, "max_rate": "100Mbit"'
"$VMRIG" start --paused s.json || { "$VMRIG" logs s || :; fail "start"; }
ip link show pf0
during=$(ip link show pf0)
for text in "52:54:00:1a:b0:77" "vlan 12, qos 3" "tx rate 100" "spoof checking off" "trust on"; do
  [[ $during == *"$text"* ]] || fail "the PF's record lacks \"$text\""
done
need "$VMRIG" sriov list pf0
need "$VMRIG" stop --force s
expect_eq "$(record)" "$before" "the PF after the stop"

# refused SETTING TEXT JSON
refused() {
  step "what it refuses: $1"
  vm "$3"
  expect_fails 3 "$VMRIG" start --paused s.json 2>err
  cat err
  need grep -qF "set $2 of VF 0 of \"pf0 ($pf0)\"" err
  need grep -qF "leave the setting out of the config" err
  expect_eq "$(record)" "$before" "the PF after the refusal"
  expect_eq "$(driver_of "$vf")" igbvf "driver of the VF after the refusal"
  expect_eq "$(ls "$VMRIG_STATE_DIR")" "" "state folder after the refusal"
}
refused "a minimum rate" "min rate 10 Mbit/s" '"min_rate": "10Mbit"'
refused "QinQ" "vlan 12 802.1ad, qos 0" '"vlan": 12, "vlan_proto": "802.1ad"'
refused "a link state" "link enable" '"link": "enable"'
refused "a rate above the link's" "max rate 100000 Mbit/s" '"max_rate": "100Gbit"'
