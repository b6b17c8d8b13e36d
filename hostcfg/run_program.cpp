#include "hostcfg/run_program.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "hostcfg/base/error.hpp"
#include "hostcfg/base/fd.hpp"
#include "hostcfg/spawn_settings.hpp"

namespace vmrig {
namespace {

struct Pipe {
  Fd read_end;
  Fd write_end;
};

Pipe make_pipe(const char* operation, const std::string& object) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) < 0) throw system_error(operation, object, errno);
  return {Fd(ends[0]), Fd(ends[1])};
}

// What there is, cut at a sane length; false at the end.
bool read_some(const Fd& from, std::string& text) {
  constexpr std::size_t kLimit = 4096;
  std::array<char, 1024> buffer{};
  const ssize_t got = ::read(from.get(), buffer.data(), buffer.size());
  if (got < 0 && errno == EINTR) return true;
  if (got <= 0) return false;
  if (text.size() < kLimit) text.append(buffer.data(), static_cast<std::size_t>(got));
  return true;
}

void read_both(Pipe& output, Pipe& errors, ProgramResult& result) {
  while (output.read_end || errors.read_end) {
    std::array<pollfd, 2> waits = {{{output.read_end.get(), POLLIN, 0},  // -1 is passed over
                                    {errors.read_end.get(), POLLIN, 0}}};
    if (::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) return;
    if (waits[0].revents != 0 && !read_some(output.read_end, result.output)) {
      output.read_end.reset();
    }
    if (waits[1].revents != 0 && !read_some(errors.read_end, result.errors)) {
      errors.read_end.reset();
    }
  }
}

void cut_newlines(std::string& text) { text.erase(text.find_last_not_of('\n') + 1); }

}  // namespace

ProgramResult run_program(const std::vector<std::string>& command,
                          const std::vector<std::string>& environment, const char* operation,
                          const std::string& object) {
  Pipe output = make_pipe(operation, object);
  Pipe errors = make_pipe(operation, object);
  std::vector<std::string> words = command;
  std::vector<std::string> variables = environment;
  pid_t child = -1;
  {
    SpawnSettings settings;
    settings.pass(output.write_end.get(), STDOUT_FILENO);
    settings.pass(errors.write_end.get(), STDERR_FILENO);
    const int fault =
        ::posix_spawn(&child, command.front().c_str(), settings.actions(), settings.attributes(),
                      exec_list(words).data(), exec_list(variables).data());
    if (fault != 0) throw system_error(operation, object, fault);
  }
  output.write_end.reset();
  errors.write_end.reset();
  ProgramResult result;
  read_both(output, errors, result);
  pid_t ended = -1;
  do {
    ended = ::waitpid(child, &result.status, 0);
  } while (ended < 0 && errno == EINTR);
  if (ended < 0) throw system_error(operation, object, errno);
  cut_newlines(result.output);
  cut_newlines(result.errors);
  return result;
}

std::string find_program(const std::vector<std::string>& paths) {
  const auto found = std::find_if(paths.begin(), paths.end(), [](const std::string& path) {
    return ::access(path.c_str(), X_OK) == 0;
  });
  return found == paths.end() ? std::string() : *found;
}

}  // namespace vmrig
