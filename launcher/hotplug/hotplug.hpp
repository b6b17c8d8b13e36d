// Changes of a running VM: devices that come and go, vCPUs, memory, links.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "hostcfg/base/json.hpp"
#include "launcher/host_side.hpp"
#include "launcher/hotplug/attach_plan.hpp"
#include "launcher/hotplug/requests.hpp"
#include "launcher/hotplug/sequence.hpp"
#include "launcher/state_dir.hpp"
#include "launcher/turn.hpp"
#include "launcher/under_way.hpp"
#include "launcher/vm_state.hpp"
#include "qmp/client.hpp"

namespace vmrig {

inline constexpr std::string_view kPeripherals = "/machine/peripheral";  // QOM path
inline constexpr std::string_view kVcpuPrefix = "vmrig-vcpu";        // of the ids of vCPUs added
inline constexpr std::string_view kMemoryFileMark = "vmrig-memory";  // of QEMU's fdsets

// With this process's pid: what another one has left is known by it.
std::string memory_file_mark();

// A place for a vCPU, as query-hotpluggable-cpus tells of it.
struct VcpuSlot {
  std::string type;
  Json props;
  std::string id;  // of the device in it; empty: free, or there from the start
  bool is_free = false;
};

// What the supervisor lends. All of it has to outlive the Hotplug.
struct HotplugParts {
  boost::asio::any_io_executor executor;
  std::function<qmp::Client&()> monitor;  // the one that is connected now
  VmState& state;
  std::function<void()> save;           // writes `state`; that it can't is logged
  std::function<void()> save_or_throw;  // writes `state`
  std::function<VmFolder&()> folder;
  HostSide& host;
  std::function<void(const std::string& line)> log;
};

// What a QEMU that is started anew lacks of what the VM had.
struct Replay {
  std::vector<std::string> gone;            // ids of devices of the start that went meanwhile
  std::vector<Json> attaches;               // vmrig-attach's arguments
  int vcpus = 0;                            // how many there were
  std::map<std::string, Bytes> virtio_mem;  // by id, what each was asked to give
  bool empty() const { return attaches.empty() && virtio_mem.empty() && vcpus == 0; }
  // Takes over what an earlier Replay had, and which came to nothing since.
  void add(Replay earlier);
};

// For the one thread of its executor. Every operation throws vmrig::Error or DiagnosticsError for
// what vmrig refuses, and for what QEMU, the guest or the host refuse; the VM is then as it was.
class Hotplug {
 public:
  explicit Hotplug(HotplugParts parts);
  Hotplug(const Hotplug&) = delete;
  Hotplug& operator=(const Hotplug&) = delete;
  ~Hotplug();

  // vmrig-attach: returns {"id"} when the device exists. A transaction: when a step fails, those
  // before it are undone, and its error is the one that is thrown.
  boost::asio::awaitable<Json> attach(Json arguments);

  // vmrig-detach: returns {"id"} when QEMU has deleted the device and what stood behind it is
  // gone, too. Throws kFailed when the guest refuses, kTimeUp when it has not answered in time: the
  // request stays pending then, and is finished when the guest gets to it.
  boost::asio::awaitable<Json> detach(Json arguments);

  // vmrig-set: returns what is set now.
  boost::asio::awaitable<Json> set(Json arguments);

  bool has_balloon() const { return parts_.state.config.value("balloon", false); }
  // What the guest is left with, and what it says of its memory: {"actual": bytes, "age_s": 3,
  // "stats": {"free-memory": bytes, …}}; no stats while it has told none. Throws qmp::Error.
  boost::asio::awaitable<Json> balloon();

  // To be called with every event of QEMU's.
  void on_event(const qmp::Event& event);

  // A client's own QMP command has changed the devices: the state follows.
  void on_foreign_change();

  // QEMU has ended, and is to be started anew as it was first, with the config `first`. Waits for
  // operations under way, which fail; removals that were pending are done; what was attached since
  // is given back to the host, and the state is that of the start. Until resume() nothing is begun.
  boost::asio::awaitable<Replay> suspend(VmConfig first);
  // To be done before the new QEMU's guest runs. What can't be attached again is left out, and told
  // to the log.
  boost::asio::awaitable<void> replay(Replay replay);
  void resume() { is_suspended_ = false; }

  // For a new supervisor: after the death of the old one, and a time in which nobody heard QEMU,
  // what was begun is finished or taken back, so that the state, its claims and the journal are
  // what QEMU has. Never throws: what does not come about is logged.
  boost::asio::awaitable<void> settle();

 private:
  // A removal that somebody waits for.
  struct Unplug {
    explicit Unplug(const boost::asio::any_io_executor& executor)
        : changed(executor, boost::asio::steady_timer::time_point::max()) {}
    bool is_gone = false;
    bool asks_again = false;  // the guest has restarted or resumed: it may have missed the request
    std::string refusal;      // the guest's, in words
    boost::asio::steady_timer changed;
  };

  // For a root port with nothing in it.
  struct PortSearch {
    std::vector<std::string> reserved;  // in taken_; all but the one that is used are given up
    bool is_free = false;               // the last of them
    bool is_used = false;
  };

  // Claimed, and QEMU has its image files.
  struct PreparedAttach {
    AttachPlan plan;
    std::vector<PlugStep> files;
  };

  struct HandedFiles {
    std::vector<PlugStep> steps;  // what has come about
    std::exception_ptr fault;
  };

  const VmConfig& config();
  void change_config(VmConfig config);
  void change_config(VmConfig config, Json json);  // which is what to_json gives
  void remove_from_config(const std::string& id);

  // `fd`, when there is one, goes along; it stays the caller's.
  boost::asio::awaitable<Json> execute(QmpCommand command, qmp::Deadline deadline, int fd = -1);
  // The properties of kPeripherals: each device with an id is a child.
  boost::asio::awaitable<Json> peripherals(qmp::Deadline deadline);

  // prepare.cpp
  boost::asio::awaitable<PreparedAttach> prepare_attach(const AttachRequest& request,
                                                        AttachWish& wish, PortSearch& search,
                                                        qmp::Deadline deadline);
  boost::asio::awaitable<PreparedAttach> plan_and_claim(const AttachRequest& request,
                                                        AttachWish& wish, qmp::Deadline deadline);
  boost::asio::awaitable<HandedFiles> hand_over_files(std::vector<PlugStep> files, std::string id,
                                                      qmp::Deadline deadline);
  void claim(const AttachPlan& plan, AttachWish& wish);
  boost::asio::awaitable<void> take_host_devices(const AttachPlan& plan);

  // attach.cpp
  boost::asio::awaitable<Json> attach_now(Json arguments);
  boost::asio::awaitable<void> hand_over_fds(const AttachPlan& plan, qmp::Deadline deadline);
  boost::asio::awaitable<void> take_back_fds(const AttachPlan& plan);
  boost::asio::awaitable<void> plug_controller(std::string id, qmp::Deadline deadline);
  boost::asio::awaitable<int> back_by_hugepages(DeviceDescription& device, MemoryRegion region,
                                                qmp::Deadline deadline);
  boost::asio::awaitable<void> drop_fdset(std::int64_t fdset);
  boost::asio::awaitable<void> plug(DeviceDescription device, PortSearch& search,
                                    qmp::Deadline deadline);
  boost::asio::awaitable<void> make(std::vector<PlugStep> steps, std::vector<PlugStep>& done,
                                    qmp::Deadline deadline);
  boost::asio::awaitable<void> take_back(const std::vector<PlugStep>& done);
  boost::asio::awaitable<void> forget(std::string id);

  // switch.cpp
  boost::asio::awaitable<void> wait_for_switch(std::string id, qmp::Deadline deadline);

  // ports.cpp
  void give_up_ports(const PortSearch& search);
  boost::asio::awaitable<std::string> bus_for(std::string id, PortSearch& search,
                                              qmp::Deadline deadline);
  boost::asio::awaitable<void> find_free_port(PortSearch& search, qmp::Deadline deadline);
  boost::asio::awaitable<void> search_ahead(PortSearch& search, qmp::Deadline deadline);

  // detach.cpp
  boost::asio::awaitable<void> unplug(std::string id, qmp::Deadline deadline);
  boost::asio::awaitable<bool> request_unplug(std::string id, qmp::Deadline deadline);
  void on_deleted(const std::string& id);
  boost::asio::awaitable<void> clean_up(std::string id);
  boost::asio::awaitable<void> remove_backends(std::vector<QmpCommand> commands);
  boost::asio::awaitable<void> remove_backend(QmpCommand command);
  boost::asio::awaitable<void> release_host_device(std::string id);
  boost::asio::awaitable<void> release_network(NicConfig nic);
  void remove_socket(const std::string& id);
  boost::asio::awaitable<void> release_limit_and_node(std::string id);
  void set_pending(const std::string& id, bool is_pending);

  // restart.cpp
  void refuse_while_suspended(const char* operation) const;
  boost::asio::awaitable<void> attach_again(Json arguments);
  boost::asio::awaitable<void> request_size(std::string id, Bytes size);

  // threads.cpp
  boost::asio::awaitable<void> set_vcpus(int count, qmp::Deadline deadline);
  boost::asio::awaitable<void> add_vcpus(const std::vector<VcpuSlot>& slots, int wanted,
                                         qmp::Deadline deadline);
  boost::asio::awaitable<void> remove_vcpus(const std::vector<VcpuSlot>& slots, int surplus,
                                            qmp::Deadline deadline);
  void pin_new_threads(const std::vector<VmThread>& threads);
  boost::asio::awaitable<void> update_threads(qmp::Deadline deadline);
  void update_vhost_threads();

  // memory.cpp
  boost::asio::awaitable<void> set_memory(Bytes size, qmp::Deadline deadline);
  boost::asio::awaitable<void> remove_dimms(Bytes surplus, qmp::Deadline deadline);
  boost::asio::awaitable<void> resize_virtio_mem(std::string id, Bytes size,
                                                 qmp::Deadline deadline);

  // balloon.cpp
  boost::asio::awaitable<void> set_balloon(Bytes size, qmp::Deadline deadline);

  boost::asio::awaitable<void> set_link(std::string id, SetRequest::Link link,
                                        qmp::Deadline deadline);
  boost::asio::awaitable<void> refresh_devices();

  // settle.cpp
  boost::asio::awaitable<void> settle_devices(std::vector<std::string> ids);
  boost::asio::awaitable<void> take_back_left_fds(std::string id);
  boost::asio::awaitable<void> take_back_left_files(int next, std::set<std::int64_t> claimed);
  boost::asio::awaitable<void> settle_settings();
  boost::asio::awaitable<void> give_back_strays();

  void in_background(boost::asio::awaitable<void> task);

  HotplugParts parts_;
  std::optional<VmConfig> config_;  // as in state.config; read when first needed
  Turn planning_;                   // from a wish to its claim
  Turn vcpus_;                      // one change of their number at a time
  Turn controllers_;                // made once, by the first who needs one
  std::vector<std::string> ports_;  // the root ports, read when first needed
  std::map<std::string, std::string>
      taken_;  // port to the id of what was plugged into it here; "" while it is looked into
  std::set<std::string> plugging_;  // ids
  std::map<std::string, std::shared_ptr<Unplug>> unplugs_;
  bool is_suspended_ = false;
  UnderWay under_way_;  // operations
};

}  // namespace vmrig
