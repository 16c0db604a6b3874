// nginx's value grammars: sizes, offsets, times, numbers and words. parse_* take text and say
// nothing about why; read_* take a statement and its row, check bounds and use nginx's messages.
// Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "conf/compiled_string.h"
#include "conf/error.h"
#include "conf/syntax.h"

namespace moongate::conf {

class Compiler;
struct Directive;

// `proxy_buffers 8 4k`.
struct Buffers {
    std::size_t count = 0;
    std::size_t size = 0;
    bool operator==(const Buffers&) const = default;
};

// "10", "4k", "1m" (either case), bytes. Nothing on overflow or any other character.
std::optional<std::int64_t> parse_size(std::string_view text);
// As parse_size, and g.
std::optional<std::int64_t> parse_offset(std::string_view text);
// "1d 2h", "30s", "500ms", "1w3d": milliseconds. A number without unit at the end is seconds.
std::optional<std::int64_t> parse_msec(std::string_view text);
// As parse_msec in seconds: also y and M, but no ms.
std::optional<std::int64_t> parse_seconds(std::string_view text);
// Plain digits.
std::optional<std::int64_t> parse_integer(std::string_view text);
// "1.5" with `digits` digits of fraction as an integer: parse_fixed("1.5", 2) is 150.
std::optional<std::int64_t> parse_fixed(std::string_view text, unsigned digits);

Expected<std::int64_t> read_flag(const Statement& statement, const Directive& row);
Expected<std::int64_t> read_size(const Statement& statement, const Directive& row);
Expected<std::int64_t> read_offset(const Statement& statement, const Directive& row);
Expected<std::int64_t> read_number(const Statement& statement, const Directive& row);
Expected<std::int64_t> read_msec(const Statement& statement, const Directive& row);
Expected<std::int64_t> read_seconds(const Statement& statement, const Directive& row);
Expected<std::int64_t> read_enumeration(const Statement& statement, const Directive& row);
Expected<std::int64_t> read_bitmask(Compiler& compiler, const Statement& statement,
                                    const Directive& row, std::int64_t bits);
Expected<Buffers> read_buffers(const Statement& statement, const Directive& row);
Expected<CompiledString> read_complex(Compiler& compiler, std::string_view text);
// Compiler::full_path.
std::string prefixed_path(const Compiler& compiler, std::string_view name);

}  // namespace moongate::conf
