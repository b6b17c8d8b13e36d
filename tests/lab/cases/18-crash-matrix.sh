# limit: 1200
# SIGKILL of the supervisor at every step of VF set-up, bind and release: recover puts all back.
. "$LAB_DIR/inside/lib.sh"
. "$LAB_DIR/inside/crash.sh"
shopt -s extglob
vm() { # NAME JSON: of the NIC
  echo "{\"name\": \"k\", \"memory\": {\"size\": \"64MiB\"}, \"nics\": [{\"id\": \"net1\", \"type\": \"vf\",
    \"pf\": \"pf0\", \"mac\": \"52:54:00:1a:b0:77\", \"vlan\": 9, \"trust\": true$2}]}" >"$1.json"
}
# All that a VM changes of the PF and its VFs, without a process where the shell can do it.
host_now() {
  local link vf override
  echo "VFs $(<"$pci/$pf0/sriov_numvfs")"
  for link in "$pci/$pf0"/virtfn*; do
    [ -e "$link" ] || continue
    vf=$(readlink "$link")
    override=$(<"$link/driver_override")
    echo "${vf##*/} driver $(driver_of "${vf##*/}") override $override"
  done
  # Its carrier comes and goes by itself when VFs do.
  link=$(ip -j link show pf0)
  link=${link/\"NO-CARRIER\",/}
  link=${link/,\"LOWER_UP\"/}
  echo "${link/\"operstate\":\"@(UP|DOWN)\"/}"
}
ip link set pf0 up

step "VFs that the VM makes"
vm make ', "create": 2'
matrix make.json 40

step "a VF that its owner has set up"
create_vfs $pf0 1
ip link set pf0 vf 0 mac 52:54:00:1a:b0:0a
ip link set pf0 vf 0 vlan 7
vm keep ""
matrix keep.json 30

step "recover itself"
recover_matrix keep.json 12
