// In libudev's place where hwloc is linked as an archive: Debian has none of libudev. hwloc asks it
// for the names of disks, and does without where there is no udev (hwloc topology-linux.c);
// vmrig asks hwloc for no disks at all.
extern "C" {

struct udev;
struct udev_device;

udev* udev_new();
udev* udev_unref(udev*);
udev_device* udev_device_new_from_subsystem_sysname(udev*, const char*, const char*);
const char* udev_device_get_property_value(udev_device*, const char*);
udev_device* udev_device_unref(udev_device*);

udev* udev_new() { return nullptr; }
udev* udev_unref(udev* /*unused*/) { return nullptr; }
udev_device* udev_device_new_from_subsystem_sysname(udev* /*unused*/, const char* /*unused*/,
                                                    const char* /*unused*/) {
  return nullptr;
}
const char* udev_device_get_property_value(udev_device* /*unused*/, const char* /*unused*/) {
  return nullptr;
}
udev_device* udev_device_unref(udev_device* /*unused*/) { return nullptr; }
}
