#include "hostcfg/base/cpu_set.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
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

constexpr int kBits = 64;

std::size_t word_of(int cpu) { return static_cast<std::size_t>(cpu) / kBits; }

std::uint64_t bit_of(int cpu) { return std::uint64_t{1} << (static_cast<unsigned>(cpu) % kBits); }

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
    set.insert_range(from, to);
    if (comma == std::string_view::npos) break;
    left.remove_prefix(comma + 1);
    if (left.empty()) refuse(cpulist);
  }
  return set;
}

void CpuSet::insert(int cpu) {
  const std::size_t word = word_of(cpu);
  if (word >= words_.size()) words_.resize(word + 1);
  words_[word] |= bit_of(cpu);
}

// By words: a file that says "0-8191" a thousand times is no reason to take long.
void CpuSet::insert_range(int from, int to) {
  const std::size_t last = word_of(to);
  if (last >= words_.size()) words_.resize(last + 1);
  for (std::size_t word = word_of(from); word <= last; ++word) {
    std::uint64_t bits = ~std::uint64_t{0};
    if (word == word_of(from)) bits &= ~(bit_of(from) - 1);
    if (word == last) bits &= bit_of(to) | (bit_of(to) - 1);
    words_[word] |= bits;
  }
}

void CpuSet::erase(int cpu) {
  if (!contains(cpu)) return;
  words_[word_of(cpu)] &= ~bit_of(cpu);
  trim();
}

bool CpuSet::contains(int cpu) const {
  return cpu >= 0 && word_of(cpu) < words_.size() && (words_[word_of(cpu)] & bit_of(cpu)) != 0;
}

bool CpuSet::empty() const { return words_.empty(); }

std::size_t CpuSet::size() const {
  std::size_t count = 0;
  for (const std::uint64_t word : words_) count += static_cast<std::size_t>(std::popcount(word));
  return count;
}

int CpuSet::first() const {
  for (std::size_t i = 0; i < words_.size(); ++i) {
    if (words_[i] != 0) return static_cast<int>(i) * kBits + std::countr_zero(words_[i]);
  }
  return -1;
}

std::vector<int> CpuSet::cpus() const {
  std::vector<int> list;
  list.reserve(size());
  for (std::size_t i = 0; i < words_.size(); ++i) {
    for (std::uint64_t left = words_[i]; left != 0; left &= left - 1) {
      list.push_back(static_cast<int>(i) * kBits + std::countr_zero(left));
    }
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

bool CpuSet::includes(const CpuSet& other) const {
  if (other.words_.size() > words_.size()) return false;
  for (std::size_t i = 0; i < other.words_.size(); ++i) {
    if ((other.words_[i] & ~words_[i]) != 0) return false;
  }
  return true;
}

CpuSet CpuSet::operator|(const CpuSet& other) const {
  const bool is_longer = words_.size() >= other.words_.size();
  CpuSet result = is_longer ? *this : other;
  const std::vector<std::uint64_t>& rest = is_longer ? other.words_ : words_;
  for (std::size_t i = 0; i < rest.size(); ++i) result.words_[i] |= rest[i];
  return result;
}

CpuSet CpuSet::operator&(const CpuSet& other) const {
  CpuSet result;
  result.words_.resize(std::min(words_.size(), other.words_.size()));
  for (std::size_t i = 0; i < result.words_.size(); ++i) {
    result.words_[i] = words_[i] & other.words_[i];
  }
  result.trim();
  return result;
}

CpuSet CpuSet::operator-(const CpuSet& other) const {
  CpuSet result = *this;
  const std::size_t common = std::min(words_.size(), other.words_.size());
  for (std::size_t i = 0; i < common; ++i) result.words_[i] &= ~other.words_[i];
  result.trim();
  return result;
}

bool CpuSet::operator==(const CpuSet& other) const { return words_ == other.words_; }

void CpuSet::trim() {
  while (!words_.empty() && words_.back() == 0) words_.pop_back();
}

}  // namespace vmrig
