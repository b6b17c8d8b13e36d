#include "hostcfg/posix_acl.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <tuple>

namespace vmrig {
namespace {

constexpr std::uint32_t kVersion = 2;
constexpr std::size_t kHeadBytes = 4;
constexpr std::size_t kEntryBytes = 8;
constexpr std::uint16_t kOwner = 0x01;
constexpr std::uint16_t kUser = 0x02;
constexpr std::uint16_t kGroup = 0x04;
constexpr std::uint16_t kNamedGroup = 0x08;
constexpr std::uint16_t kMask = 0x10;
constexpr std::uint16_t kOther = 0x20;
constexpr std::uint32_t kNoId = std::numeric_limits<std::uint32_t>::max();
constexpr unsigned kAll = 7;

std::uint32_t little_endian(std::string_view bytes) {
  std::uint32_t number = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) {
    number = (number << 8) | static_cast<unsigned char>(bytes[i]);
  }
  return number;
}

void append(std::string& bytes, std::uint32_t number, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) {
    bytes += static_cast<char>(number & 0xff);
    number >>= 8;
  }
}

bool is_tag(std::uint16_t tag) {
  return tag == kOwner || tag == kUser || tag == kGroup || tag == kNamedGroup || tag == kMask ||
         tag == kOther;
}

}  // namespace

PosixAcl PosixAcl::of_mode(unsigned mode) {
  const auto bits = [mode](unsigned shift) {
    return static_cast<std::uint16_t>((mode >> shift) & kAll);
  };
  PosixAcl acl;
  acl.entries_ = {{kOwner, bits(6), kNoId}, {kGroup, bits(3), kNoId}, {kOther, bits(0), kNoId}};
  return acl;
}

PosixAcl PosixAcl::parse(std::string_view attribute) {
  if (attribute.size() < kHeadBytes || (attribute.size() - kHeadBytes) % kEntryBytes != 0 ||
      little_endian(attribute.substr(0, kHeadBytes)) != kVersion) {
    throw std::invalid_argument("it is no POSIX ACL of version 2");
  }
  PosixAcl acl;
  for (std::size_t at = kHeadBytes; at < attribute.size(); at += kEntryBytes) {
    const Entry entry{
        .tag = static_cast<std::uint16_t>(little_endian(attribute.substr(at, 2))),
        .permissions = static_cast<std::uint16_t>(little_endian(attribute.substr(at + 2, 2))),
        .id = little_endian(attribute.substr(at + 4, 4))};
    if (!is_tag(entry.tag) || entry.permissions > kAll) {
      throw std::invalid_argument("it has an entry of an unknown kind");
    }
    acl.entries_.push_back(entry);
  }
  return acl;
}

std::string PosixAcl::attribute() const {
  std::string bytes;
  append(bytes, kVersion, kHeadBytes);
  for (const Entry& entry : entries_) {
    append(bytes, entry.tag, 2);
    append(bytes, entry.permissions, 2);
    append(bytes, entry.id, 4);
  }
  return bytes;
}

PosixAcl::Entry* PosixAcl::find(std::uint16_t tag, std::uint32_t id) {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [tag, id](const Entry& entry) {
    return entry.tag == tag && entry.id == id;
  });
  return found == entries_.end() ? nullptr : &*found;
}

const PosixAcl::Entry* PosixAcl::find(std::uint16_t tag, std::uint32_t id) const {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [tag, id](const Entry& entry) {
    return entry.tag == tag && entry.id == id;
  });
  return found == entries_.end() ? nullptr : &*found;
}

bool PosixAcl::has_named() const {
  return std::any_of(entries_.begin(), entries_.end(), [](const Entry& entry) {
    return entry.tag == kUser || entry.tag == kNamedGroup;
  });
}

std::uint16_t PosixAcl::given() const {
  std::uint16_t all = 0;
  for (const Entry& entry : entries_) {
    const bool is_masked = entry.tag == kUser || entry.tag == kNamedGroup || entry.tag == kGroup;
    if (is_masked) all = static_cast<std::uint16_t>(all | entry.permissions);
  }
  return all;
}

std::optional<unsigned> PosixAcl::user(unsigned uid) const {
  const Entry* entry = find(kUser, uid);
  return entry == nullptr ? std::nullopt : std::optional<unsigned>(entry->permissions);
}

std::optional<unsigned> PosixAcl::effective(unsigned uid) const {
  const Entry* mask = find(kMask, kNoId);
  const std::optional<unsigned> own = user(uid);
  return own && mask != nullptr ? *own & mask->permissions : own;
}

void PosixAcl::fit_mask() {
  if (!has_named()) {
    std::erase_if(entries_, [](const Entry& entry) { return entry.tag == kMask; });
    return;
  }
  if (Entry* mask = find(kMask, kNoId)) {
    mask->permissions = static_cast<std::uint16_t>(mask->permissions | given());
  } else {
    entries_.push_back({kMask, given(), kNoId});
  }
  std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.tag, a.id) < std::tie(b.tag, b.id);
  });
}

bool PosixAcl::set_user(unsigned uid, unsigned permissions) {
  if (const Entry* mask = find(kMask, kNoId)) {
    if ((given() & ~mask->permissions) != 0) return false;
  }
  if (Entry* entry = find(kUser, uid)) {
    entry->permissions = static_cast<std::uint16_t>(permissions & kAll);
  } else {
    entries_.push_back({kUser, static_cast<std::uint16_t>(permissions & kAll), uid});
  }
  fit_mask();
  return true;
}

void PosixAcl::remove_user(unsigned uid) {
  std::erase_if(entries_,
                [uid](const Entry& entry) { return entry.tag == kUser && entry.id == uid; });
  if (Entry* mask = find(kMask, kNoId)) mask->permissions = given();
  fit_mask();
}

}  // namespace vmrig
