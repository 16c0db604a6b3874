// Arrays in variables: a list of texts as one text that begins with a mark, so that an array can be
// copied, kept and shared like any other value. array-var's directives and set_form_input_multi
// make and read them. Whatever the text, reading it is safe: a size that does not fit means that it
// is no array. Any thread.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/arena.h"

namespace moongate::modules {

std::string_view write_array(Arena& arena, std::span<const std::string_view> elements);
// Views into `text`; nothing where it is no array.
std::optional<std::vector<std::string_view>> read_array(std::string_view text);

}  // namespace moongate::modules
