#include "tests/support/prometheus_text.hpp"

#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/support/vm_guard.hpp"

namespace vmrig::testing {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string_view take_name(std::string_view& text) {
  std::size_t end = 0;
  while (end < text.size() && (is_letter(text[end]) || (end > 0 && is_digit(text[end])))) ++end;
  const std::string_view name = text.substr(0, end);
  text.remove_prefix(end);
  return name;
}

bool take(std::string_view& text, std::string_view what) {
  if (!text.starts_with(what)) return false;
  text.remove_prefix(what.size());
  return true;
}

// Between quotes, with \\, \" and \n alone escaped.
bool take_quoted(std::string_view& text) {
  if (!take(text, "\"")) return false;
  while (!text.empty() && text.front() != '"') {
    if (text.front() == '\\') {
      text.remove_prefix(1);
      if (text.empty() || std::string_view("\\\"n").find(text.front()) == std::string_view::npos) {
        return false;
      }
    }
    text.remove_prefix(1);
  }
  return take(text, "\"");
}

bool take_labels(std::string_view& text) {
  if (!take(text, "{")) return true;
  std::set<std::string_view> names;
  do {
    const std::string_view name = take_name(text);
    if (name.empty() || !names.insert(name).second) return false;
    if (!take(text, "=") || !take_quoted(text)) return false;
  } while (take(text, ","));
  return take(text, "}");
}

bool read_value(const std::string& text, double& value) {
  char* end = nullptr;
  value = std::strtod(text.c_str(), &end);
  return !text.empty() && *end == '\0';
}

class Reader {
 public:
  PrometheusPage read(std::string_view text) {
    if (text.empty() || text.back() != '\n') fault("no newline at the end");
    // It throws for bytes that are no UTF-8.
    try {
      (void)Json(std::string(text)).dump();
    } catch (const Json::exception&) {
      fault("bytes that are no UTF-8");
    }
    while (!text.empty()) {
      const std::size_t end = text.find('\n');
      read_line(text.substr(0, end));
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    return std::move(page_);
  }

 private:
  void fault(const std::string& what) { page_.faults.push_back(what); }

  void read_line(std::string_view line) {
    const std::string whole(line);
    if (take(line, "# HELP ")) {
      const std::string name(take_name(line));
      if (!helps_.insert(name).second) fault("HELP twice: " + whole);
      if (!take(line, " ") || line.empty()) fault("HELP of nothing: " + whole);
    } else if (take(line, "# TYPE ")) {
      const std::string name(take_name(line));
      if (!take(line, " ") || (line != "counter" && line != "gauge")) fault("TYPE: " + whole);
      if (!page_.types.emplace(name, line).second) fault("TYPE twice: " + whole);
      if (line == "counter" && !name.ends_with("_total")) fault("no _total: " + whole);
      if (line == "gauge" && name.ends_with("_total")) fault("_total of a gauge: " + whole);
      family_ = name;
    } else {
      read_sample(line, whole);
    }
  }

  void read_sample(std::string_view line, const std::string& whole) {
    const std::string_view begin = line;
    const std::string name(take_name(line));
    if (name != family_ || !helps_.contains(name)) fault("not of its family: " + whole);
    if (!take_labels(line)) return fault("labels: " + whole);
    const std::string key(begin.substr(0, begin.size() - line.size()));
    double value = 0;
    if (!take(line, " ") || !read_value(std::string(line), value)) return fault("value: " + whole);
    if (!page_.samples.emplace(key, value).second) fault("twice: " + whole);
  }

  PrometheusPage page_;
  std::set<std::string> helps_;
  std::string family_;
};

}  // namespace

double PrometheusPage::at(const std::string& sample) const {
  const auto found = samples.find(sample);
  return found == samples.end() ? std::numeric_limits<double>::quiet_NaN() : found->second;
}

PrometheusPage read_prometheus(std::string_view text) { return Reader().read(text); }

std::string promtool() {
  const char* given = std::getenv("VMRIG_PROMTOOL");  // NOLINT(concurrency-mt-unsafe)
  const std::string path =
      given != nullptr ? std::string(given) : source_folder() + "/build/promtool/promtool";
  return ::access(path.c_str(), X_OK) == 0 ? path : std::string();
}

}  // namespace vmrig::testing
