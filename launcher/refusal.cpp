#include "launcher/refusal.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace vmrig {
namespace {

struct StatusClass {
  ExitStatus status;
  std::string_view name;
};

constexpr std::array kClasses = {
    StatusClass{ExitStatus::kUsage, "VmrigUsage"}, StatusClass{ExitStatus::kHost, "VmrigHost"},
    StatusClass{ExitStatus::kQemu, "VmrigQemu"}, StatusClass{ExitStatus::kBusy, "VmrigBusy"},
    StatusClass{ExitStatus::kTimeUp, "VmrigTimeUp"}};
constexpr std::string_view kMendMark = "\nmend: ";

std::string class_of(ExitStatus status) {
  const auto found = std::find_if(kClasses.begin(), kClasses.end(),
                                  [status](const StatusClass& c) { return c.status == status; });
  return std::string(found == kClasses.end() ? "GenericError" : found->name);
}

ExitStatus status_of(std::string_view error_class) {
  const auto found =
      std::find_if(kClasses.begin(), kClasses.end(),
                   [error_class](const StatusClass& c) { return c.name == error_class; });
  return found == kClasses.end() ? ExitStatus::kFailed : found->status;
}

}  // namespace

qmp::Error refusal_of(const std::exception_ptr& fault) {
  try {
    std::rethrow_exception(fault);
  } catch (const Error& error) {
    std::string text = error.what();
    if (!error.parts().mend.empty()) text += std::string(kMendMark) + error.parts().mend;
    return qmp::Error::refusal(std::move(text), class_of(error.status()));
  } catch (const DiagnosticsError& error) {
    std::string text;
    for (const Diagnostic& finding : error.diagnostics()) {
      if (!text.empty()) text += "\n";
      text += finding.path.empty() ? finding.message : finding.path + ": " + finding.message;
      if (!finding.mend.empty()) text += std::string(kMendMark) + finding.mend;
    }
    return qmp::Error::refusal(std::move(text), class_of(error.status()));
  } catch (const qmp::Error& error) {
    return error.kind() == qmp::ErrorKind::command
               ? qmp::Error::refusal(error.desc(), error.error_class())
               : qmp::Error::refusal(error.what());
  } catch (const std::exception& error) {
    return qmp::Error::refusal(error.what());
  }
}

Error error_of(const qmp::Error& refusal) {
  std::string text = refusal.desc();
  std::string mend;
  // Of several faults each keeps its own line.
  const std::size_t mark = text.rfind(kMendMark);
  if (mark != std::string::npos && text.find('\n') == mark) {
    mend = text.substr(mark + kMendMark.size());
    text.resize(mark);
  }
  return Error({.status = status_of(refusal.error_class()),
                .operation = std::move(text),
                .object = {},
                .cause = {},
                .mend = std::move(mend)});
}

}  // namespace vmrig
