#include "launcher/image_chain.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>

#include "hostcfg/image_links.hpp"
#include "launcher/preflight.hpp"

namespace vmrig {
namespace {

// What may stand in an image's header as the format of another: QEMU has drivers by which a header
// could have it connect to anywhere.
constexpr std::array<std::string_view, 9> kFormats = {"raw", "qcow2", "qcow", "qed",      "vmdk",
                                                      "vdi", "vhdx",  "vpc",  "parallels"};

bool is_utf8(const std::string& text) {
  try {
    (void)Json(text).dump();
    return true;
  } catch (const Json::type_error&) {
    return false;
  }
}

class ChainReader {
 public:
  ChainReader(const std::string& origin, const PlanInput& input, std::vector<Diagnostic>& findings)
      : origin_(origin), input_(input), findings_(findings) {}

  DiskFiles read(const DiskConfig& disk) {
    DiskFiles files;
    files.is_block_device = input_.facts.is_block_device(disk.path);
    const PathFacts* image = find(disk.path);
    const bool has_chain =
        image != nullptr && image->links && effective_format(disk) == DiskFormat::kQcow2;
    if (!has_chain) return files;
    seen_.insert(disk.path);
    std::string path = disk.path;
    ImageLinks links = *image->links;
    files.data = data_file(path, links);
    while (good_ && !links.backing_file.empty()) {
      std::optional<ImageLayer> layer = layer_below(path, links);
      if (!layer) break;
      path = layer->file.path;
      const PathFacts* below = find(path);
      links = below != nullptr && below->links && layer->format == "qcow2" ? *below->links
                                                                           : ImageLinks();
      layer->data = data_file(path, links);
      files.backing.push_back(std::move(*layer));
    }
    if (good_) return files;
    DiskFiles image_alone;
    image_alone.is_block_device = files.is_block_device;
    return image_alone;
  }

 private:
  const PathFacts* find(const std::string& path) const {
    const auto found = input_.facts.paths.find(path);
    return found == input_.facts.paths.end() ? nullptr : &found->second;
  }

  void problem(std::string message, std::string mend, ExitStatus status = ExitStatus::kUsage) {
    good_ = false;
    findings_.push_back(finding(Severity::kProblem, origin_ + ".path", std::move(message),
                                std::move(mend), status));
  }

  // What is JSON in the end has no room for other bytes.
  bool check_name(const std::string& image, const std::string& name) {
    if (is_utf8(name)) return true;
    problem(fmt::format("{} names {}, whose bytes are no UTF-8", quote(image), quote(name)),
            "another name for that file, and qemu-img rebase -u");
    return false;
  }

  std::optional<ImageFile> data_file(const std::string& image, const ImageLinks& links) {
    if (!links.fault.empty()) {
      problem(fmt::format("the header of {} can't be used: {}", quote(image), links.fault),
              fmt::format("qemu-img info {}", image));
      return std::nullopt;
    }
    if (links.data_file.empty() || !check_name(image, links.data_file)) return std::nullopt;
    const auto path = linked_path(image, links.data_file);
    if (!path) {
      problem(fmt::format("the data file of {} is {}, no file of this host", quote(image),
                          quote(links.data_file)),
              {});
      return std::nullopt;
    }
    if (!check(*path)) return std::nullopt;
    return ImageFile{*path, input_.facts.is_block_device(*path)};
  }

  std::optional<ImageLayer> layer_below(const std::string& image, const ImageLinks& links) {
    if (!check_name(image, links.backing_file)) return std::nullopt;
    const auto path = linked_path(image, links.backing_file);
    if (!path) {
      findings_.push_back(
          finding(Severity::kWarning, origin_ + ".path",
                  fmt::format("{} stands on {}, which QEMU opens itself, with its own rights",
                              quote(image), quote(links.backing_file))));
      return std::nullopt;
    }
    if (!seen_.insert(*path).second) {
      good_ = false;  // it lies below itself: check_image() tells
      return std::nullopt;
    }
    if (!check(*path)) return std::nullopt;
    const std::string format = format_of(image, *path, links);
    if (format.empty()) return std::nullopt;
    return ImageLayer{
        .file = {*path, input_.facts.is_block_device(*path)}, .format = format, .data = {}};
  }

  // As libvirt does since 6.0: a guest that once had the lower image for a raw disk could have
  // written any header into it.
  std::string format_of(const std::string& image, const std::string& path,
                        const ImageLinks& links) {
    if (links.backing_format.empty()) {
      const PathFacts* below = find(path);
      if (below == nullptr || below->magic_format.empty()) return "raw";
      problem(fmt::format("{} does not say which format {} is of, and it looks like {}",
                          quote(image), quote(path), below->magic_format),
              fmt::format("qemu-img rebase -u -b {} -F {} {}", links.backing_file,
                          below->magic_format, image));
      return {};
    }
    const bool known =
        std::find(kFormats.begin(), kFormats.end(), links.backing_format) != kFormats.end();
    if (!known) {
      problem(fmt::format("{} says that {} is of format {}, which vmrig does not know",
                          quote(image), quote(path), quote(links.backing_format)),
              {});
      return {};
    }
    return links.backing_format;
  }

  // What is missing, unreadable or in use below an image, check_image() tells.
  bool check(const std::string& path) {
    using Type = PathFacts::Type;
    const PathFacts* file = find(path);
    if (file == nullptr) return true;  // too long a chain: QEMU's own error tells
    const bool has_content = file->type == Type::kFile || file->type == Type::kBlockDevice;
    good_ = good_ && has_content && file->readable;
    return good_;
  }

  const std::string& origin_;
  const PlanInput& input_;
  std::vector<Diagnostic>& findings_;
  std::set<std::string> seen_;
  bool good_ = true;
};

Json to_json(const ImageFile& file) {
  return {{"path", file.path}, {"is_block_device", file.is_block_device}};
}

ImageFile image_file_from_json(const Json& json) {
  return {.path = json.at("path").get<std::string>(),
          .is_block_device = json.at("is_block_device").get<bool>()};
}

}  // namespace

DiskFiles files_of(const DiskConfig& disk, const std::string& origin, const PlanInput& input,
                   std::vector<Diagnostic>& findings) {
  return ChainReader(origin, input, findings).read(disk);
}

std::vector<std::string> paths_below(const DiskFiles& files) {
  std::vector<std::string> paths;
  if (files.data) paths.push_back(files.data->path);
  for (const ImageLayer& layer : files.backing) {
    paths.push_back(layer.file.path);
    if (layer.data) paths.push_back(layer.data->path);
  }
  return paths;
}

Json to_json(const DiskFiles& files) {
  Json backing = Json::array();
  for (const ImageLayer& layer : files.backing) {
    backing.push_back({{"file", to_json(layer.file)},
                       {"format", layer.format},
                       {"data", layer.data ? to_json(*layer.data) : Json(nullptr)}});
  }
  return {{"is_block_device", files.is_block_device},
          {"data", files.data ? to_json(*files.data) : Json(nullptr)},
          {"backing", std::move(backing)}};
}

DiskFiles disk_files_from_json(const Json& json) {
  DiskFiles files;
  files.is_block_device = json.at("is_block_device").get<bool>();
  if (const Json& data = json.at("data"); !data.is_null()) files.data = image_file_from_json(data);
  for (const Json& layer : json.at("backing")) {
    files.backing.push_back({.file = image_file_from_json(layer.at("file")),
                             .format = layer.at("format").get<std::string>(),
                             .data = {}});
    const Json& data = layer.at("data");
    if (!data.is_null()) files.backing.back().data = image_file_from_json(data);
  }
  return files;
}

}  // namespace vmrig
