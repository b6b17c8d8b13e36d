// A set of logical CPUs, by the kernel's numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace vmrig {

class CpuSet {
 public:
  static constexpr int kMaxCpus = 8192;  // linux CONFIG_NR_CPUS upper limit on x86-64

  CpuSet() = default;
  CpuSet(std::initializer_list<int> cpus);

  // Reads the kernel's list format: "0-3,8,10-11"; an empty text is the empty set.
  // Throws std::invalid_argument with a text for the user.
  static CpuSet parse(std::string_view cpulist);

  void insert(int cpu);  // 0 to kMaxCpus - 1
  void erase(int cpu);
  bool contains(int cpu) const;
  bool empty() const;
  std::size_t size() const;
  int first() const;              // the lowest; -1 when empty
  std::vector<int> cpus() const;  // ascending
  std::string to_string() const;  // "0-3,8"; empty when empty

  bool includes(const CpuSet& other) const;
  CpuSet operator|(const CpuSet& other) const;
  CpuSet operator&(const CpuSet& other) const;
  CpuSet operator-(const CpuSet& other) const;
  bool operator==(const CpuSet& other) const;

 private:
  std::vector<std::uint64_t> words_;  // the last one is not 0: equal sets have equal words

  void insert_range(int from, int to);
  void trim();
};

}  // namespace vmrig
