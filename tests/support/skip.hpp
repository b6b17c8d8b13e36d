// Leaving a test that can't run here, without hiding it.
#pragma once

#include <doctest/doctest.h>

#include <cstdio>
#include <string>

// Prints the line that tests/run.sh counts, and returns from the test.
#define SKIP_TEST(reason)                                                               \
  do {                                                                                  \
    const std::string& skip_reason_ = (reason);                                         \
    std::printf("SKIPPED: %s: %s\n", doctest::getContextOptions()->currentTest->m_name, \
                skip_reason_.c_str());                                                  \
    std::fflush(stdout);                                                                \
    return;                                                                             \
  } while (false)
