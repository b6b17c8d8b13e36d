// Runs a fuzz target where libFuzzer is not at hand: every file of the corpus, then random
// mutations of them. No search for new paths, but the same inputs for the same seed.
//
//   TARGET CORPUS COUNT [SEED]      CORPUS is a folder
// A failing input is left in ./crash-input.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" void __attribute__((weak)) __sanitizer_set_death_callback(void (*callback)());

namespace {

constexpr std::size_t kLongest = 4096;
constexpr unsigned kMostSeconds = 60;  // for a batch; a hang ends by SIGALRM
constexpr long kBatch = 256;

// The input that is being tried; a signal handler has no other way to it.
const std::string*& present() {
  static const std::string* input = nullptr;
  return input;
}

void save_present() {
  const std::string* input = present();
  if (input == nullptr) return;
  const int fd = ::open("crash-input", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return;
  const ssize_t written = ::write(fd, input->data(), input->size());
  constexpr std::string_view kWritten = "fuzz: the input is in ./crash-input\n";
  if (written >= 0 && ::write(STDERR_FILENO, kWritten.data(), kWritten.size()) < 0) return;
  ::close(fd);
}

void on_signal(int number) {
  save_present();
  std::signal(number, SIG_DFL);
  std::raise(number);
}

void run(const std::string& input) {
  present() = &input;
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
}

class Mutator {
 public:
  Mutator(std::vector<std::string> corpus, std::uint64_t seed)
      : corpus_(std::move(corpus)), random_(seed) {}

  std::string next() {
    std::string input = pick();
    const std::size_t changes = 1 + below(8);
    for (std::size_t i = 0; i < changes; ++i) change(input);
    if (input.size() > kLongest) input.resize(kLongest);
    return input;
  }

 private:
  std::size_t below(std::size_t bound) { return bound == 0 ? 0 : random_() % bound; }
  const std::string& pick() { return corpus_[below(corpus_.size())]; }

  void change(std::string& input) {
    static constexpr std::array<std::string_view, 24> kWords = {"{",
                                                                "}",
                                                                "[",
                                                                "]",
                                                                "\"",
                                                                ":",
                                                                ",",
                                                                "\\",
                                                                "\n",
                                                                "\xff",
                                                                "\\u0000",
                                                                "null",
                                                                "-1",
                                                                "1e999",
                                                                "99999999999999999999",
                                                                "\"id\"",
                                                                "\"execute\": \"stop\"",
                                                                "\"return\": {}",
                                                                "\"event\": \"STOP\"",
                                                                "//",
                                                                "/*",
                                                                "\"${NAME}\"",
                                                                "\xc3",
                                                                "\xed\xa0\x80"};
    const std::size_t at = below(input.size() + 1);
    switch (below(7)) {
      case 0:
        if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << below(8)));
        break;
      case 1:
        if (at < input.size()) input[at] = static_cast<char>(below(256));
        break;
      case 2:
        input.insert(at, kWords[below(kWords.size())]);
        break;
      case 3:
        input.erase(at, 1 + below(16));
        break;
      case 4:
        input.insert(at, input.substr(below(input.size() + 1), 1 + below(32)));
        break;
      case 5: {
        const std::string& other = pick();
        input = input.substr(0, at) + other.substr(below(other.size() + 1));
        break;
      }
      default:
        input.insert(at, std::string(1 + below(80), kWords[below(4)].front()));
        break;
    }
  }

  std::vector<std::string> corpus_;
  std::mt19937_64 random_;
};

long number(std::string_view text) {
  long value = -1;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  return fault == std::errc{} && end == text.data() + text.size() ? value : -1;
}

int drive(const char* folder, long count, std::uint64_t seed) {
  std::vector<std::string> corpus;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry);
  std::sort(files.begin(), files.end());
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    run(corpus.back());
  }
  if (corpus.empty()) {
    std::fprintf(stderr, "fuzz: %s is empty\n", folder);
    return 1;
  }
  const std::size_t kept = corpus.size();
  Mutator mutator(std::move(corpus), seed);
  for (long i = 0; i < count; ++i) {
    if (i % kBatch == 0) ::alarm(kMostSeconds);
    const std::string input = mutator.next();
    run(input);
  }
  present() = nullptr;
  std::printf("%zu of the corpus and %ld mutations of them, seed %llu: clean\n", kept, count,
              static_cast<unsigned long long>(seed));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const long count = argc > 2 ? number(argv[2]) : -1;
  const long seed = argc > 3 ? number(argv[3]) : 1;
  if (argc > 4 || count < 0 || seed < 0) {
    std::fputs("usage: TARGET CORPUS COUNT [SEED]\n", stderr);
    return 2;
  }
  for (const int each : {SIGABRT, SIGSEGV, SIGALRM, SIGBUS, SIGFPE}) std::signal(each, on_signal);
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(save_present);
  try {
    return drive(argv[1], count, static_cast<std::uint64_t>(seed));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fuzz: an exception came out: %s\n", error.what());
    save_present();
    return 1;
  }
}
