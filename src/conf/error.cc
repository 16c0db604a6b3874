#include "conf/error.h"

#include <fmt/format.h>

namespace moongate::conf {

std::unexpected<ConfError> reject_directive(std::string_view name, std::string_view what) {
    return reject(fmt::format("\"{}\" directive {}", name, what));
}

std::unexpected<ConfError> reject_value(std::string_view value) {
    return reject(fmt::format("invalid value \"{}\"", value));
}

}  // namespace moongate::conf
