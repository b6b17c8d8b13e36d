#include "tests/support/full_config.hpp"

#include <nlohmann/json.hpp>

namespace vmrig::testing {

Json full_config() {
  return Json::parse(R"({
    "name": "a", "profile": "plain", "qemu": "/q", "machine": {"type": "pc", "accel": "tcg", "hotplug_ports": 2},
    "boot": {"kernel": "/k", "initrd": "/i", "cmdline": "x", "order": ["d"]},
    "cpu": {"model": "max", "vcpus": 2, "max_vcpus": 4, "topology": {"sockets": 1, "cores": 4, "threads": 1},
            "pin": ["0", "1"], "emulator": "0-1", "smt": "use", "exclusive": false,
            "scheduler": {"policy": "fifo", "priority": 5}},
    "memory": {"size": "64MiB", "hugepages": "none", "backing": "memfd", "share": true, "reserve": false,
               "prealloc": false, "lock": "on-fault", "policy": "interleave",
               "merge": true, "node": "0-1", "max": "1GiB", "slots": 2,
               "devices": [{"id": "m", "size": "128MiB", "kind": "dimm", "hugepages": "2MiB", "node": 0},
                           {"id": "w", "size": "128MiB", "kind": "virtio-mem", "requested": "64MiB"}]},
    "numa": [{"vcpus": "0-3", "memory": "64MiB", "node": 0, "distances": [10], "pxb": false}],
    "iothreads": [{"id": "io0", "pin": "0", "scheduler": {"policy": "rr", "priority": 9}}],
    "disks": [{"id": "d", "path": "/d", "format": "raw", "bus": "virtio", "cache": "none", "aio": "native",
               "discard": "unmap", "readonly": false, "serial": "s", "iothread": "io0", "queues": 1,
               "throttle": {"iops": 10, "iops_max": 20, "bps": "1MiB", "bps_max": "2MiB"}},
              {"id": "e", "path": "/e",
               "throttle": {"iops_read": 10, "iops_read_max": 20, "iops_write": 10, "iops_write_max": 20,
                            "bps_read": "1MiB", "bps_read_max": "2MiB", "bps_write": "1MiB", "bps_write_max": "2MiB"},
               "io_max": {"read_bps": "1MiB", "write_bps": "1MiB", "read_iops": 10, "write_iops": 10}}],
    "nics": [{"id": "n", "type": "user", "model": "virtio", "mac": "52:54:00:00:00:01",
              "forward": ["tcp::2222-:22"], "isolated": true, "mtu": 1500},
             {"id": "v", "type": "vf", "pf": ["eno1", "eno2"], "vf": "auto", "create": 4, "vlan": 12, "qos": 3,
              "vlan_proto": "802.1ad", "trust": true, "spoofchk": false, "link": "enable",
              "min_rate": "10Mbit", "max_rate": "1Gbit"},
             {"id": "ta", "type": "tap", "queues": 2, "vhost": false, "rx_queue_size": 512, "tx_queue_size": 256,
              "packed": true, "offloads": false, "txqueuelen": 2000, "ifname": "t0", "vlan": 5, "trunk": [7, 8],
              "rate": {"ingress": "20Mbit", "egress": "500Kbit"}, "link": "down",
              "bridge": {"name": "br0", "create": true, "address": "10.0.0.1/24", "mtu": 1500, "vlan_filtering": true}},
             {"id": "tb", "type": "tap", "device": "tap9", "ovs": {"bridge": "o", "tag": 5, "trunks": [6]}},
             {"id": "tc", "type": "tap", "address": "2001:db8::1/64"},
             {"id": "ma", "type": "macvtap", "parent": "eno1", "mode": "vepa"},
             {"id": "vu", "type": "vhost-user", "socket": "/v", "server": true},
             {"id": "pa", "type": "passt", "isolated": true},
             {"id": "no", "type": "none"}],
    "vfio": [{"id": "g", "host": "0000:1d:00.0", "force": true, "whole_group": true, "driver": "keep",
              "multifunction": true, "rombar": false, "romfile": "/rom", "properties": {"x-vga": true}}],
    "serial": [{"id": "c", "type": "file", "path": "/log"}],
    "usb": [{"id": "t", "type": "tablet"},
            {"id": "us", "type": "storage", "path": "/u", "format": "raw", "readonly": true},
            {"id": "uh", "type": "host", "device": "1d6b:0002"},
            {"id": "ui", "type": "host", "vendor": "0x1d6b", "product": "0x0003"},
            {"id": "uj", "type": "host", "bus": 1, "address": 2}],
    "rng": true, "rngs": [{"id": "r"}], "balloon": true, "latency": false,
    "limits": {"cpu_weight": 100, "cpu_max": "250%", "memory_max": "1GiB", "memory_high": "512MiB", "io_weight": 50,
               "pids_max": 512},
    "clock": {"rtc": "utc", "rtc_catchup": true, "hpet": false, "pit_lost_ticks": "delay"},
    "channels": [{"name": "org.qemu.guest_agent.0", "id": "agent"}],
    "watchdog": {"model": "ib700", "action": "pause"},
    "power": {"s3": false, "s4": false, "on_poweroff": "preserve", "on_reboot": "destroy",
              "on_crash": "restart", "max_restarts": 3, "pvpanic": true,
              "on_supervisor_exit": "kill", "stop_timeout_s": 5},
    "security": {"user": "caller", "sandbox": true}, "qemu_args": ["-d", "guest_errors"]})");
}

}  // namespace vmrig::testing
