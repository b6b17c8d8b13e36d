#include "devices/usb.hpp"

#include <charconv>

#include "devices/controllers.hpp"
#include "devices/ids.hpp"

namespace vmrig {
namespace {

constexpr int kMaxUsbAddress = 127;  // seven bits on the wire
constexpr int kMaxUsbBus = 65535;

bool has_hexadecimal_prefix(std::string_view text) {
  return text.starts_with("0x") || text.starts_with("0X");
}

// One to four hexadecimal digits, also after "0x".
std::optional<std::uint16_t> parse_id(std::string_view text) {
  if (has_hexadecimal_prefix(text)) text.remove_prefix(2);
  std::uint16_t value = 0;
  const auto [rest, fault] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (fault != std::errc{} || rest != text.data() + text.size()) return std::nullopt;
  return value;
}

TextRule id_number_rule() {
  return {.min_length = 3,
          .max_length = 6,
          .pattern = "^0[xX][0-9A-Fa-f]{1,4}$",
          .meaning = "a hexadecimal number of 16 bits",
          .check = [](const std::string& text) -> std::string {
            if (has_hexadecimal_prefix(text) && parse_id(text)) return {};
            return "is no USB id; write \"0x1d6b\"";
          }};
}

std::optional<UsbIds> parse_ids(const std::string& text) {
  const std::size_t colon = text.find(':');
  if (colon > 4 || text.size() - colon > 5) return std::nullopt;  // npos, too, is above 4
  if (text.find_first_not_of("0123456789abcdefABCDEF:") != std::string::npos) return std::nullopt;
  const auto vendor = parse_id(std::string_view(text).substr(0, colon));
  const auto product = parse_id(std::string_view(text).substr(colon + 1));
  if (!vendor || !product) return std::nullopt;
  return UsbIds{*vendor, *product};
}

TextRule ids_rule() {
  return {.min_length = 3,
          .max_length = 9,
          .pattern = "^[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}$",
          .meaning = "vendor:product",
          .check = [](const std::string& text) -> std::string {
            return parse_ids(text) ? "" : R"(is no USB device; write "1d6b:0002", as lsusb does)";
          }};
}

std::string_view driver_of(UsbType type) {
  switch (type) {
    case UsbType::kTablet:
      return "usb-tablet";
    case UsbType::kKeyboard:
      return "usb-kbd";
    case UsbType::kMouse:
      return "usb-mouse";
    case UsbType::kStorage:
      return "usb-storage";
    case UsbType::kHost:
      break;
  }
  return "usb-host";
}

void check_host(const UsbConfig& usb, const Fields::Fault& fault) {
  constexpr const char* kMend = R"("device": "1d6b:0002", or "bus": 1, "address": 5)";
  const bool by_parts = usb.vendor || usb.product;
  const bool by_place = usb.bus || usb.address;
  if (usb.device && by_parts) {
    fault("device", "says the same as \"vendor\" and \"product\"; write one of them", {});
  }
  if (by_parts && !usb.vendor) fault("vendor", "is missing: \"product\" needs it", kMend);
  if (by_parts && !usb.product) fault("product", "is missing: \"vendor\" needs it", kMend);
  if (by_place && !usb.bus) fault("bus", "is missing: \"address\" needs it", kMend);
  if (by_place && !usb.address) fault("address", "is missing: \"bus\" needs it", kMend);
  if (!usb.device && !by_parts && !by_place) {
    fault("device", "is missing: a host device is named by its make or its place", kMend);
  }
}

}  // namespace

std::vector<std::string_view> enum_names(UsbType) {
  return {"tablet", "keyboard", "mouse", "storage", "host"};
}

void describe(Fields& fields, UsbConfig& usb) {
  fields.required("id", "Name of the USB device in vmrig and QMP.", usb.id, id_rule());
  fields.required("type", "An emulated tablet, keyboard, mouse or storage, or a host's device.",
                  usb.type);
  fields.optional("path", "The storage's image file or block device.", usb.path, path_rule());
  fields.optional("format", "Its image format; by the file's name when not given.", usb.format);
  fields.optional("readonly", "The guest can't write to the storage.", usb.readonly);
  fields.optional("device", "The host's device by vendor:product, as lsusb prints it.", usb.device,
                  ids_rule());
  fields.optional("vendor", "Vendor of the host's device.", usb.vendor, id_number_rule());
  fields.optional("product", "Product of the host's device.", usb.product, id_number_rule());
  fields.optional("bus", "Bus of the host's device.", usb.bus, IntRule{1, kMaxUsbBus});
  fields.optional("address", "Address of the host's device on its bus.", usb.address,
                  IntRule{1, kMaxUsbAddress});
  fields.rule([&](const Fields::Fault& fault) {
    if (usb.type == UsbType::kStorage) {
      if (!usb.path) fault("path", "is missing: a storage device needs one", {});
    } else {
      constexpr const char* kWhy = "is for a storage device";
      constexpr const char* kMend = R"("type": "storage")";
      if (usb.path) fault("path", kWhy, kMend);
      if (usb.format) fault("format", kWhy, kMend);
      if (usb.readonly) fault("readonly", kWhy, kMend);
    }
    if (usb.type == UsbType::kHost) return check_host(usb, fault);
    constexpr const char* kWhy = "names a host's device";
    constexpr const char* kMend = R"("type": "host")";
    if (usb.device) fault("device", kWhy, kMend);
    if (usb.vendor) fault("vendor", kWhy, kMend);
    if (usb.product) fault("product", kWhy, kMend);
    if (usb.bus) fault("bus", kWhy, kMend);
    if (usb.address) fault("address", kWhy, kMend);
  });
}

std::optional<UsbIds> usb_ids(const UsbConfig& usb) {
  if (usb.device) return parse_ids(*usb.device);
  if (!usb.vendor || !usb.product) return std::nullopt;
  const auto vendor = parse_id(*usb.vendor);
  const auto product = parse_id(*usb.product);
  if (!vendor || !product) return std::nullopt;
  return UsbIds{*vendor, *product};
}

DiskConfig usb_disk(const UsbConfig& usb) {
  DiskConfig disk;
  disk.id = usb.id;
  disk.path = usb.path.value_or("");
  disk.format = usb.format;
  disk.readonly = usb.readonly;
  return disk;
}

DeviceDescription describe_usb(const UsbConfig& usb, std::string origin, const DiskFiles& files,
                               const FdNaming& fds) {
  Json device = {
      {"driver", driver_of(usb.type)}, {"id", usb.id}, {"bus", std::string(kUsbController) + ".0"}};
  std::vector<Backend> backends;
  if (usb.type == UsbType::kStorage) {
    const DiskConfig disk = usb_disk(usb);
    backends = disk_backends(disk, files, fds);
    device["drive"] = disk.id + "-format";
    device["removable"] = false;
    device["write-cache"] = "on";
  } else if (usb.type == UsbType::kHost) {
    if (const std::optional<UsbIds> ids = usb_ids(usb)) {
      device["vendorid"] = ids->vendor;
      device["productid"] = ids->product;
    }
    if (usb.bus && usb.address) {
      device["hostbus"] = *usb.bus;
      device["hostaddr"] = *usb.address;
    }
  }
  return {.id = usb.id,
          .origin = std::move(origin),
          .controller = kUsbController,
          .backends = std::move(backends),
          .front_ends = {{FrontEnd::Bus::kOther, std::move(device)}}};
}

}  // namespace vmrig
