# limit: 120
# Devices that can't be had are refused with the exact reason, and nothing is changed.
. "$LAB_DIR/inside/lib.sh"
export VMRIG_STATE_DIR=$LAB_WORK/state
shared0=$(basename "$(readlink -f /sys/class/net/shared0/device)")
shared1=$(basename "$(readlink -f /sys/class/net/shared1/device)")
refused() { # TEXT JSON: the entry of "vfio"
  echo "{\"name\": \"r\", \"memory\": {\"size\": \"64MiB\"}, \"vfio\": [{\"id\": \"d\", $2}]}" >r.json
  expect_fails 3 "$VMRIG" start r.json 2>err
  cat err
  grep -qF "$1" err || fail "not said: $1"
}

step "a group that another device blocks"
refused "group $(group_of "$shared0") of $shared0 is not viable: drivers of the host hold $shared1 (e1000" \
  "\"host\": \"$shared0\", \"force\": true"
expect_eq "$(driver_of "$shared0") $(driver_of "$shared1")" "e1000 e1000" "drivers of the group"

step "a device without a reset"
if [ -s "$pci/$shared0/reset_method" ]; then
  echo "$shared0 can be reset by $(<"$pci/$shared0/reset_method")"
else
  refused "$shared0 can't be reset" "\"host\": \"$shared0\""
fi

step "a PF with the default route"
undo ip addr del 192.0.2.1/24 dev pf0
ip link set pf0 up
ip addr add 192.0.2.1/24 dev pf0
ip route add default via 192.0.2.254 dev pf0
refused "default route" "\"host\": \"$pf0\""
need grep -q "192.0.2.1" err
expect_eq "$(driver_of $pf0)" igb "driver of the PF"
expect_eq "$(ls "$VMRIG_STATE_DIR" 2>/dev/null)" "" "state folder"

step "a device that is not there, a PF without VFs"
refused "this host has no device 0000:77:00.0" '"host": "0000:77:00.0"'
echo '{"name": "r", "memory": {"size": "64MiB"}, "nics": [{"id": "n", "type": "vf", "pf": "pf0"}]}' >r.json
expect_fails 3 "$VMRIG" start r.json 2>err
cat err
need grep -qF "pf0 has no VFs, it can have 7" err
