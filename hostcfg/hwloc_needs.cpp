// What hwloc wants of shared libraries where it is linked as an archive.
extern "C" {

// libudev's, of which Debian has no archive: hwloc asks it for the names of disks, and does without
// where there is no udev (hwloc topology-linux.c); vmrig asks hwloc for no disks at all.

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

// libm's, for the distances in an XML file of hwloc 1 (hwloc topology-xml.c).
float modff(float value, float* whole);

float modff(float value, float* whole) {
  constexpr float kAllWhole = 1U << 24U;  // from there on a float has no fraction
  const bool has_fraction = value > -kAllWhole && value < kAllWhole;
  *whole = has_fraction ? static_cast<float>(static_cast<int>(value)) : value;
  return value - *whole;
}
}
