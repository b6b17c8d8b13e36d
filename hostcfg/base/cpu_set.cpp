#include "hostcfg/base/cpu_set.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <stdexcept>

#include "hostcfg/base/error.hpp"

namespace vmrig {
namespace {

[[noreturn]] void refuse(std::string_view cpulist) {
  throw std::invalid_argument(
      fmt::format("{} is not a list of CPUs; write \"2\", \"2-5\" or \"2-5,8\"", quote(cpulist)));
}

int parse_cpu(std::string_view text, std::string_view whole) {
  int cpu = -1;
  auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), cpu);
  if (error != std::errc{} || rest != text.data() + text.size() || cpu < 0) refuse(whole);
  if (cpu >= CpuSet::kMaxCpus) {
    throw std::invalid_argument(
        fmt::format("CPU {} is above the highest possible, {}", cpu, CpuSet::kMaxCpus - 1));
  }
  return cpu;
}

}  // namespace

CpuSet::CpuSet(std::initializer_list<int> cpus) {
  for (int cpu : cpus) insert(cpu);
}

CpuSet CpuSet::parse(std::string_view cpulist) {
  CpuSet set;
  std::string_view left = cpulist;
  while (!left.empty()) {
    const std::size_t comma = left.find(',');
    const std::string_view range = left.substr(0, comma);
    const std::size_t dash = range.find('-');
    const int from = parse_cpu(range.substr(0, dash), cpulist);
    const int to =
        dash == std::string_view::npos ? from : parse_cpu(range.substr(dash + 1), cpulist);
    if (to < from) refuse(cpulist);
    // At once: a file that says "0-8191" a thousand times is no reason to take long.
    const auto end = static_cast<std::size_t>(to) + 1;
    if (end > set.bits_.size()) set.bits_.resize(end);
    std::fill(set.bits_.begin() + from, set.bits_.begin() + to + 1, true);
    if (comma == std::string_view::npos) break;
    left.remove_prefix(comma + 1);
    if (left.empty()) refuse(cpulist);
  }
  return set;
}

void CpuSet::insert(int cpu) {
  const auto index = static_cast<std::size_t>(cpu);
  if (index >= bits_.size()) bits_.resize(index + 1);
  bits_[index] = true;
}

void CpuSet::erase(int cpu) {
  if (contains(cpu)) bits_[static_cast<std::size_t>(cpu)] = false;
}

bool CpuSet::contains(int cpu) const {
  return cpu >= 0 && static_cast<std::size_t>(cpu) < bits_.size() &&
         bits_[static_cast<std::size_t>(cpu)];
}

bool CpuSet::empty() const { return size() == 0; }

std::size_t CpuSet::size() const {
  return static_cast<std::size_t>(std::count(bits_.begin(), bits_.end(), true));
}

int CpuSet::first() const {
  auto found = std::find(bits_.begin(), bits_.end(), true);
  return found == bits_.end() ? -1 : static_cast<int>(found - bits_.begin());
}

std::vector<int> CpuSet::cpus() const {
  std::vector<int> list;
  for (std::size_t i = 0; i < bits_.size(); ++i) {
    if (bits_[i]) list.push_back(static_cast<int>(i));
  }
  return list;
}

std::string CpuSet::to_string() const {
  std::string text;
  const std::vector<int> list = cpus();
  for (std::size_t i = 0; i < list.size();) {
    std::size_t last = i;
    while (last + 1 < list.size() && list[last + 1] == list[last] + 1) ++last;
    if (!text.empty()) text += ',';
    text += last == i ? fmt::format("{}", list[i]) : fmt::format("{}-{}", list[i], list[last]);
    i = last + 1;
  }
  return text;
}

bool CpuSet::includes(const CpuSet& other) const { return (other - *this).empty(); }

CpuSet CpuSet::operator|(const CpuSet& other) const {
  CpuSet result = *this;
  for (int cpu : other.cpus()) result.insert(cpu);
  return result;
}

CpuSet CpuSet::operator&(const CpuSet& other) const {
  CpuSet result;
  for (int cpu : cpus()) {
    if (other.contains(cpu)) result.insert(cpu);
  }
  return result;
}

CpuSet CpuSet::operator-(const CpuSet& other) const {
  CpuSet result;
  for (int cpu : cpus()) {
    if (!other.contains(cpu)) result.insert(cpu);
  }
  return result;
}

}  // namespace vmrig
