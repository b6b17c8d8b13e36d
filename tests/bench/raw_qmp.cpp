// The yardstick of qmp.py: the least that talks QMP, on bare libc without the C++ library.
//
//   raw_qmp round PATH COUNT        COUNT round trips of query-status on one connection; prints
//                                   "COUNT TOTAL P50 P99", times in microseconds
//   raw_qmp once PATH               one query-status; prints its reply
//   raw_qmp spawn COUNT PROGRAM [ARGUMENT...]
//                                   runs a program COUNT times, its output thrown away; prints
//                                   the same, from before the start until it has been reaped
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char** environ;

namespace {

constexpr char kCapabilities[] = "{\"execute\":\"qmp_capabilities\"}\n";
constexpr char kQuery[] = "{\"execute\":\"query-status\"}\n";
constexpr long kWarmUp = 100;

[[noreturn]] void fail(const char* what) {
  perror(what);
  exit(1);
}

double now_us() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

// One line of the peer; its length.
size_t read_line(int fd, char* buffer, size_t room) {
  size_t held = 0;
  while (held < room) {
    const ssize_t got = recv(fd, buffer + held, room - held, 0);
    if (got <= 0) fail("recv");
    held += static_cast<size_t>(got);
    if (buffer[held - 1] == '\n') return held;
  }
  fail("a reply that is too long");
}

size_t ask(int fd, const char* command, size_t length, char* buffer, size_t room) {
  if (send(fd, command, length, MSG_NOSIGNAL) != static_cast<ssize_t>(length)) fail("send");
  return read_line(fd, buffer, room);
}

int connect_to(const char* path, char* buffer, size_t room) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (strlen(path) >= sizeof address.sun_path) fail("path");
  strcpy(address.sun_path, path);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    fail(path);
  }
  read_line(fd, buffer, room);
  ask(fd, kCapabilities, sizeof kCapabilities - 1, buffer, room);
  return fd;
}

int compare(const void* left, const void* right) {
  const double a = *static_cast<const double*>(left);
  const double b = *static_cast<const double*>(right);
  return a < b ? -1 : static_cast<int>(a > b);
}

void print_figures(double* times, long count) {
  double total = 0;
  for (long i = 0; i < count; ++i) total += times[i];
  qsort(times, static_cast<size_t>(count), sizeof *times, compare);
  printf("%ld %.1f %.1f %.1f\n", count, total, times[count / 2], times[count * 99 / 100]);
}

double* room_for(long count) {
  if (count < 1) fail("COUNT");
  auto* times = static_cast<double*>(calloc(static_cast<size_t>(count), sizeof(double)));
  if (times == nullptr) fail("calloc");
  return times;
}

int round_trips(const char* path, long count) {
  char buffer[4096];
  const int fd = connect_to(path, buffer, sizeof buffer);
  double* times = room_for(count);
  for (long i = -kWarmUp; i < count; ++i) {
    const double start = now_us();
    ask(fd, kQuery, sizeof kQuery - 1, buffer, sizeof buffer);
    if (i >= 0) times[i] = now_us() - start;
  }
  print_figures(times, count);
  free(times);
  return 0;
}

int once(const char* path) {
  char buffer[4096];
  const int fd = connect_to(path, buffer, sizeof buffer);
  const size_t length = ask(fd, kQuery, sizeof kQuery - 1, buffer, sizeof buffer);
  return write(STDOUT_FILENO, buffer, length) == static_cast<ssize_t>(length) ? 0 : 1;
}

int spawn_many(long count, char** argv) {
  posix_spawn_file_actions_t actions;
  if (posix_spawn_file_actions_init(&actions) != 0 ||
      posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0) != 0 ||
      posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0) != 0) {
    fail("posix_spawn");
  }
  double* times = room_for(count);
  for (long i = -1; i < count; ++i) {
    const double start = now_us();
    pid_t pid = -1;
    int status = 0;
    if (posix_spawn(&pid, argv[0], &actions, nullptr, argv, environ) != 0 ||
        waitpid(pid, &status, 0) != pid) {
      fail(argv[0]);
    }
    if (i >= 0) times[i] = now_us() - start;
    if (status != 0) {
      fprintf(stderr, "raw_qmp: %s: wait status %d\n", argv[0], status);
      return 1;
    }
  }
  print_figures(times, count);
  free(times);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4 && strcmp(argv[1], "round") == 0) {
    return round_trips(argv[2], strtol(argv[3], nullptr, 10));
  }
  if (argc == 3 && strcmp(argv[1], "once") == 0) return once(argv[2]);
  if (argc > 3 && strcmp(argv[1], "spawn") == 0) {
    return spawn_many(strtol(argv[2], nullptr, 10), argv + 3);
  }
  fputs("usage: raw_qmp round PATH COUNT | once PATH | spawn COUNT PROGRAM [ARGUMENT...]\n",
        stderr);
  return 2;
}
