// The known word that a user most likely meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vmrig {

// The candidate with the smallest edit distance to `word`, or an empty text when none is
// near enough to be a likely typing error.
std::string_view nearest(std::string_view word, const std::vector<std::string_view>& candidates);

// ", did you mean "X"?" or an empty text.
std::string did_you_mean(std::string_view word, const std::vector<std::string_view>& candidates);

}  // namespace vmrig
