// Hotplug: a device comes.
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>
#include <utility>

#include "devices/controllers.hpp"
#include "hostcfg/base/error.hpp"
#include "launcher/hotplug/hotplug.hpp"
#include "launcher/hotplug/qemu_refusal.hpp"

namespace vmrig {

namespace asio = boost::asio;

namespace {

constexpr std::chrono::seconds kUndoTimeout{10};

// Memory that has to be found, or another process that has to answer: a deadline may pass, and the
// device must not come after it.
bool may_take_long(const DeviceDescription& device) {
  return std::any_of(device.backends.begin(), device.backends.end(), [](const Backend& backend) {
    return backend.kind == BackendKind::kObject || backend.kind == BackendKind::kChardev;
  });
}

}  // namespace

asio::awaitable<Json> Hotplug::attach(Json arguments) {
  refuse_while_suspended("attach to");
  const UnderWay::Mark mark = under_way_.begin();
  Json answer = co_await attach_now(std::move(arguments));
  co_return answer;
}

asio::awaitable<Json> Hotplug::attach_now(Json arguments) {
  const AttachRequest request = attach_request(arguments);
  const qmp::Deadline deadline = qmp::deadline_in(request.timeout);
  AttachWish wish;
  PortSearch search;
  const PreparedAttach prepared = co_await prepare_attach(request, wish, search, deadline);
  const AttachPlan& plan = prepared.plan;
  const std::string id = wish.id;
  std::optional<int> fdset;
  std::exception_ptr fault;
  try {
    co_await take_host_devices(plan);
    DeviceDescription device = plan.device;
    if (plan.region) fdset = co_await back_by_hugepages(device, *plan.region, deadline);
    if (!device.controller.empty()) co_await plug_controller(device.controller, deadline);
    co_await hand_over_fds(plan, deadline);
    co_await plug(std::move(device), search, deadline);
  } catch (...) {
    fault = std::current_exception();
  }
  if (fault) co_await take_back(prepared.files);
  give_up_ports(search);
  if (fault) co_await take_back_fds(plan);
  if (!fault && plan.link_down) {
    try {
      co_await set_link(id, SetRequest::Link::kDown, deadline);
    } catch (const Error& error) {
      parts_.log(error.what());
    }
  }
  if (fdset) co_await drop_fdset(*fdset);
  if (fault) {
    co_await forget(id);
    plugging_.erase(id);
    std::rethrow_exception(fault);
  }
  plugging_.erase(id);
  if (plan.host_end && plan.host_end->vhost) {
    update_vhost_threads();
    parts_.save();
  }
  parts_.log(fmt::format("attached {} {}", kind_name(request.kind), id));
  co_return Json{{"id", id}};
}

// QEMU takes each by its name when it makes the netdev.
asio::awaitable<void> Hotplug::hand_over_fds(const AttachPlan& plan, qmp::Deadline deadline) {
  std::vector<FdSource> sources;
  for (const NamedFd& fd : plan.fds) sources.push_back(fd.source);
  if (sources.empty()) co_return;
  const std::vector<Fd> fds = co_await parts_.host.open_fds(parts_.folder(), sources, plan.helpers);
  for (std::size_t i = 0; i < fds.size(); ++i) {
    QmpCommand command{"getfd", Json{{"fdname", plan.fds[i].name}}};
    try {
      (void)co_await execute(std::move(command), deadline, fds[i].get());
    } catch (const qmp::Error& error) {
      throw qemu_refusal("hand an fd to QEMU for", plan.device.id, error);
    }
  }
}

// Those that QEMU has not taken keep the host's device busy.
asio::awaitable<void> Hotplug::take_back_fds(const AttachPlan& plan) {
  for (const NamedFd& fd : plan.fds) {
    QmpCommand command{"closefd", Json{{"fdname", fd.name}}};
    try {
      (void)co_await execute(std::move(command), qmp::deadline_in(kUndoTimeout));
    } catch (const qmp::Error&) {
      continue;  // it was taken, or never came
    }
  }
}

// A controller stays when its last device has gone: it costs nothing, and the next is quicker.
asio::awaitable<void> Hotplug::plug_controller(std::string id, qmp::Deadline deadline) {
  const Turn::Holder turn = co_await controllers_.take();
  const Json present = co_await peripherals(deadline);
  const bool is_there = std::any_of(present.begin(), present.end(), [&id](const Json& entry) {
    return entry.value("name", std::string()) == id;
  });
  if (is_there) co_return;
  DeviceDescription controller = describe_controller(id);
  PortSearch search;
  std::exception_ptr fault;
  try {
    co_await plug(std::move(controller), search, deadline);
  } catch (...) {
    fault = std::current_exception();
  }
  give_up_ports(search);
  if (fault) std::rethrow_exception(fault);
}

// QEMU is handed the memory as a file that it finds among its own fds.
asio::awaitable<int> Hotplug::back_by_hugepages(DeviceDescription& device, MemoryRegion region,
                                                qmp::Deadline deadline) {
  int fdset = -1;
  const std::vector<MemoryRegion> regions = {std::move(region)};
  HostSide::TellPages tell_nobody;
  const std::vector<MemoryFile> files =
      co_await parts_.host.populate(regions, std::move(tell_nobody));
  try {
    QmpCommand command{"add-fd", Json{{"opaque", memory_file_mark()}}};
    const Json added = co_await execute(std::move(command), deadline, files.front().fd());
    fdset = added.at("fdset-id").get<int>();
    for (Backend& backend : device.backends) {
      backend.props["mem-path"] = fmt::format("/proc/self/fd/{}", added.at("fd").get<int>());
    }
  } catch (const qmp::Error& error) {
    throw qemu_refusal("hand memory to QEMU for", device.id, error);
  }
  co_return fdset;
}

asio::awaitable<void> Hotplug::drop_fdset(std::int64_t fdset) {
  QmpCommand command = fdset_removal(fdset);
  try {
    (void)co_await execute(std::move(command), qmp::deadline_in(kUndoTimeout));
  } catch (const qmp::Error& error) {
    parts_.log(fmt::format("remove-fd: {}", error.what()));
  }
}

// The commands are sent without a wait between them: a device_add behind a backend that QEMU
// refuses is refused, too.
asio::awaitable<void> Hotplug::plug(DeviceDescription device, PortSearch& search,
                                    qmp::Deadline deadline) {
  std::vector<PlugStep> done;
  std::exception_ptr fault;
  try {
    for (FrontEnd& front_end : device.front_ends) {
      if (front_end.bus != FrontEnd::Bus::kPci) continue;
      front_end.props["bus"] = co_await bus_for(device.id, search, deadline);
    }
    std::vector<PlugStep> batch;
    std::vector<PlugStep> steps = backend_steps(device);
    for (std::size_t i = 0; i < steps.size(); ++i) {
      batch.push_back(std::move(steps[i]));
      if (device.backends[i].kind == BackendKind::kChardev) {
        co_await make(std::exchange(batch, {}), done, deadline);
        co_await wait_for_switch(device.id, deadline);
      }
    }
    if (may_take_long(device)) co_await make(std::exchange(batch, {}), done, deadline);
    for (const FrontEnd& front_end : device.front_ends) {
      batch.push_back(front_end_step(front_end));
    }
    co_await make(std::move(batch), done, deadline);
  } catch (const qmp::Error& error) {
    fault = std::make_exception_ptr(qemu_refusal("attach", device.id, error));
  } catch (...) {
    fault = std::current_exception();
  }
  if (!fault) co_return;
  co_await take_back(done);
  search.is_used = false;
  std::rethrow_exception(fault);
}

// Sends all in one go. Throws the first refusal; what else came about stands in `done`, and without
// answers all of it, as it may still come.
asio::awaitable<void> Hotplug::make(std::vector<PlugStep> steps, std::vector<PlugStep>& done,
                                    qmp::Deadline deadline) {
  if (steps.empty()) co_return;
  std::vector<qmp::Request> requests;
  for (PlugStep& step : steps) {
    requests.push_back({std::move(step.plug.name), std::move(step.plug.arguments), {}});
    if (step.file) requests.back().fds = {step.file.get()};
  }
  std::vector<qmp::Outcome> outcomes;
  std::exception_ptr fault;
  try {
    outcomes = co_await parts_.monitor().execute_all(std::move(requests), deadline);
  } catch (const qmp::Error&) {
    fault = std::current_exception();
  }
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (fault || outcomes[i].ok()) done.push_back(std::move(steps[i]));
  }
  if (fault) std::rethrow_exception(fault);
  for (const qmp::Outcome& outcome : outcomes) {
    if (!outcome.ok()) throw qmp::Error(*outcome.error);
  }
}

asio::awaitable<void> Hotplug::take_back(const std::vector<PlugStep>& done) {
  for (auto step = done.rbegin(); step != done.rend(); ++step) {
    QmpCommand command = step->unplug;
    try {
      (void)co_await execute(std::move(command), qmp::deadline_in(kUndoTimeout));
    } catch (const qmp::Error& error) {
      parts_.log(
          fmt::format("{} of a device that was not attached: {}", step->unplug.name, error.what()));
    }
  }
}

// The VM as it was before the attach.
asio::awaitable<void> Hotplug::forget(std::string id) {
  co_await release_host_device(id);
  remove_from_config(id);
  parts_.save();
}

}  // namespace vmrig
