// What can follow in a QMP command that is being typed.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "qmp/schema.hpp"

namespace vmrig {

struct Completion {
  std::size_t from = 0;            // where the word that is being typed begins, in bytes
  std::vector<std::string> words;  // that may stand there; sorted; all begin with what is typed
  std::string after;               // follows the word when there is only one
};

// Candidates at the end of `typed`: `commands` for the first word; then, by the schema, the members
// of the object at hand (those of the chosen variant too) and the values of enums.
Completion complete_qmp(const qmp::Schema& schema, const std::set<std::string>& commands,
                        std::string_view typed);

}  // namespace vmrig
