// A POSIX ACL as the kernel keeps it in an extended attribute. Pure.
// Source: acl(5), linux include/uapi/linux/posix_acl_xattr.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vmrig {

inline constexpr const char* kAclAttribute = "system.posix_acl_access";

class PosixAcl {
 public:
  // That of a file without one: its mode says the same.
  static PosixAcl of_mode(unsigned mode);
  // Throws std::invalid_argument when the bytes are no ACL.
  static PosixAcl parse(std::string_view attribute);

  std::string attribute() const;

  // The permissions that stand in the entry of a named user; nullopt: it is not named.
  std::optional<unsigned> user(unsigned uid) const;
  // As far as the mask lets them be.
  std::optional<unsigned> effective(unsigned uid) const;

  // Gives a named user these and no others, and widens the mask to hold all that are given. False:
  // a narrower mask holds others back, and to widen it would give them what they are denied;
  // nothing is changed then.
  bool set_user(unsigned uid, unsigned permissions);

  // Takes the user's entry away. With the last named one goes the mask, and the file's mode is what
  // it was before the first.
  void remove_user(unsigned uid);

  bool operator==(const PosixAcl&) const = default;

 private:
  struct Entry {
    std::uint16_t tag = 0;
    std::uint16_t permissions = 0;
    std::uint32_t id = 0;
    bool operator==(const Entry&) const = default;
  };
  Entry* find(std::uint16_t tag, std::uint32_t id);
  const Entry* find(std::uint16_t tag, std::uint32_t id) const;
  bool has_named() const;
  std::uint16_t given() const;  // to the group and all that are named
  void fit_mask();

  std::vector<Entry> entries_;  // in the kernel's order: by tag, then by id
};

}  // namespace vmrig
