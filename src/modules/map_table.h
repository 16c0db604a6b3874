// What a `map {}` looks up: exact texts without regard to case, host names with a wildcard at
// either end, regular expressions in order. Built by the compiling thread, then immutable and
// shared.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/strings.h"
#include "conf/compiled_string.h"
#include "conf/regex.h"

namespace moongate::modules {

class MapTable {
public:
    enum class Added : std::uint8_t { Ok, Conflict, InvalidName };

    // `hostnames`: "*.a.b", ".a.b" and "a.b.*" are patterns.
    Added add(std::string_view key, conf::CompiledString value, bool hostnames);
    void add_regex(conf::BoundRegex regex, conf::CompiledString value);

    // Null: nothing matches (or a regex could not be decided). Exact names go before wildcards at
    // the front, the longest first, then wildcards at the end, then regular expressions, which an
    // empty key never matches.
    const conf::CompiledString* find(conf::VariableSource& source, std::string_view key) const;

private:
    using Names =
        std::unordered_map<std::string, conf::CompiledString, StringHash, std::equal_to<>>;
    struct Pattern {
        conf::BoundRegex regex;
        conf::CompiledString value;
    };

    const conf::CompiledString* find_name(std::string_view lower) const;

    Names exact_;
    Names front_;  // "*.a.b" under "a.b"
    Names back_;   // "a.b.*" under "a.b"
    std::vector<Pattern> patterns_;
};

}  // namespace moongate::modules
