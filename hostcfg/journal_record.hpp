// One line of a journal. Used by journal*.cpp only.
#pragma once

#include <string>

#include "hostcfg/base/json.hpp"

namespace vmrig {

inline constexpr int kJournalFormat = 1;

// The record with its checksum, as a line with its end. ASCII only, so that a cut between two
// bytes is a cut between two characters.
std::string journal_line(Json record);

}  // namespace vmrig
