#pragma once

#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "qmp/json.hpp"

namespace qmp {

/// An index over the reply of query-qmp-schema (qemu docs/devel/qapi-code-gen, "Client JSON
/// Protocol introspection"). Names of types are masked there, so every lookup starts at a command
/// or event and follows members.
///
/// A path is a list of steps from the argument type: "name" goes into a member's type (through
/// arrays), "+case" into a variant of a union. {"+file", "aio"} in blockdev-add is the type of
/// the file driver's aio. Where a value may be of several types, a path goes into the object.
class Schema {
 public:
  class Path {
   public:
    Path(std::initializer_list<std::string_view> steps) : steps_(steps) {}
    explicit Path(std::vector<std::string_view> steps) : steps_(std::move(steps)) {}
    auto begin() const noexcept { return steps_.begin(); }
    auto end() const noexcept { return steps_.end(); }

   private:
    std::vector<std::string_view> steps_;
  };

  /// Takes the reply (an array). Throws Error (protocol) when it is malformed.
  explicit Schema(Json reply);

  bool has_command(std::string_view command) const;
  bool has_event(std::string_view event) const;
  /// A feature flag of a command, e.g. ("device_add", "json-cli-hotplug").
  bool has_feature(std::string_view command, std::string_view feature) const;
  /// A top-level argument, e.g. ("object-add", "props").
  bool command_arg_has_member(std::string_view command, std::string_view member) const;
  /// True when the path leads to a type; "+case" and members both count.
  bool has_path(std::string_view command, const Path& path) const;
  /// A member's feature flag, the member being the path's last step.
  bool member_has_feature(std::string_view command, const Path& path,
                          std::string_view feature) const;
  /// Values of the enum at the path; empty when there is none or it is no enum.
  std::set<std::string> enum_values(std::string_view command, const Path& path) const;
  /// Names of the members of the object at the path, without those of a union's variants (they are
  /// at the path with "+case"); empty when there is none or it is no object. The empty path is the
  /// command's own arguments.
  std::set<std::string> member_names(std::string_view command, const Path& path) const;
  /// The member whose value chooses the variant of the union at the path; empty for no union.
  std::string tag(std::string_view command, const Path& path) const;
  /// Whether the enum at the path has `value`.
  bool has_enum_value(std::string_view command, const Path& path, std::string_view value) const;

  std::set<std::string> commands() const;
  std::set<std::string> events() const;

 private:
  const Json* find(std::string_view name, std::string_view meta_type) const;
  const Json* type_named(const Json& name) const;
  const Json* inner(const Json* type) const;
  const Json* argument_type(std::string_view command) const;
  const Json* walk(std::string_view command, const Path& path, const Json** last_member) const;

  Json entries_;
  std::unordered_map<std::string_view, const Json*> by_name_;  // keys point into entries_
};

}  // namespace qmp
