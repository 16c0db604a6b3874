// One constexpr row a directive: its name, where it may stand, how many values it takes, their
// type, bounds and default, how it is inherited, and its documentation. The compiler, the live API,
// `moongate directives` and docs/directives.md all read this row. Rows are made with the functions
// at the end:
//     flag<&ProxySettings::buffering>("proxy_buffering", kHttp | kServer | kLocation, "on",
//     "Whether ...") custom<apply_listen>("listen", kServer, kOneOrMore, "*:80",
//     "...").syntax("address[:port] [options]")
// Settings structs are plain and copyable; std::optional members may stay unset and need no
// default.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "conf/compiled_string.h"
#include "conf/error.h"
#include "conf/level.h"
#include "conf/syntax.h"
#include "conf/values.h"

namespace moongate::conf {

class Compiler;
struct Directive;

// Where a directive may stand: a bit a kind of block.
using Contexts = std::uint32_t;
inline constexpr Contexts kMain = 1;
inline constexpr Contexts kEvents = 2;
inline constexpr Contexts kHttp = 4;
inline constexpr Contexts kUpstream = 8;
inline constexpr Contexts kServer = 16;
inline constexpr Contexts kServerIf = 32;
inline constexpr Contexts kLocation = 64;
inline constexpr Contexts kLocationIf = 128;
inline constexpr Contexts kLimitExcept = 256;
// Blocks of Moongate's own that modules may claim.
inline constexpr Contexts kModuleBlock1 = 512;
inline constexpr Contexts kModuleBlock2 = 1024;
inline constexpr Contexts kAnyContext = 2047;
inline constexpr Contexts kHttpLevels = kHttp | kServer | kLocation;

// How many values; bits combine.
using Arity = std::uint32_t;
inline constexpr Arity kNoArgs = 1;
inline constexpr Arity kTake1 = 2;
inline constexpr Arity kTake2 = 4;
inline constexpr Arity kTake3 = 8;
inline constexpr Arity kTake4 = 16;
inline constexpr Arity kTake5 = 32;
inline constexpr Arity kTake6 = 64;
inline constexpr Arity kTake7 = 128;
inline constexpr Arity kTake12 = kTake1 | kTake2;
inline constexpr Arity kTake13 = kTake1 | kTake3;
inline constexpr Arity kTake23 = kTake2 | kTake3;
inline constexpr Arity kTake123 = kTake1 | kTake2 | kTake3;
inline constexpr Arity kTake1234 = kTake123 | kTake4;
inline constexpr Arity kOneOrMore = 0x100;
inline constexpr Arity kTwoOrMore = 0x200;
inline constexpr Arity kAnyNumber = 0x400;
inline constexpr Arity kBlock = 0x1000;  // followed by `{ ... }`, not by `;`
inline constexpr Arity kLuaBlock =
    0x2000;  // as kBlock, but the block is Lua text (Statement::lua_block)
// With kBlock: the body's statements are data (map, geo, types) and the apply function reads
// Statement::body.
inline constexpr Arity kFreeForm = 0x4000;

enum class ValueType : std::uint8_t {
    Flag,
    Size,
    Offset,
    Number,
    Msec,
    Seconds,
    String,
    Path,
    Enumeration,
    Bitmask,
    StringList,
    KeyValues,
    Buffers,
    Complex,
    Block,
    LuaBlock,
    Custom,
};

// What a second statement of the same name means, and what a level with a statement takes from its
// parent.
enum class Merge : std::uint8_t {
    Inherit,      // one value; a second statement at the same level is `"x" directive is duplicate`
    ReplaceList,  // the first statement at a level clears what was inherited, further ones add
    Accumulate,   // statements add to what was inherited
    Custom,       // the apply function decides
};

struct EnumValue {
    std::string_view name;
    std::int64_t value;
};

using KeyValue = std::pair<std::string, std::string>;

// Pass 1: stores a statement's value in `settings`, this level's own struct (null where the row has
// none).
using ApplyFunction = Applied (*)(Compiler&, const Statement&, void* settings,
                                  const Directive& row);
// Compiles a block's body: makes a child level and calls Compiler::walk().
using EnterFunction = Applied (*)(Compiler&, const Statement&);

struct Directive {
    std::string_view name;
    Contexts contexts = 0;
    Arity arity = 0;
    ValueType type = ValueType::Custom;
    Merge merge = Merge::Custom;
    std::string_view
        default_text;  // as it would stand in a file: `""` is an empty value, empty means none
    std::string_view doc;
    std::string_view syntax_text;  // of the values; empty: derived from type and arity
    std::string_view group_text;   // ReplaceList rows of one group clear together (allow and deny)
    std::span<const EnumValue> values;
    std::int64_t minimum = 0;
    std::int64_t maximum = std::numeric_limits<std::int64_t>::max();
    const SettingsInfo* settings = nullptr;
    ApplyFunction apply = nullptr;
    void (*clear)(void* settings) = nullptr;  // for ReplaceList
    EnterFunction enter = nullptr;
    bool deferred = false;        // `enter` runs in pass 2, after all other statements of the level
    bool apply_default = false;   // default_text is applied to the root level
    bool default_needed = false;  // a row without a default is a mistake that a test reports
    bool deprecated = false;

    // Bounds of numbers, sizes (bytes) and times (the member's unit as written: ms for Msec, s for
    // Seconds).
    constexpr Directive within(std::int64_t low, std::int64_t high) const {
        Directive row = *this;
        row.minimum = low;
        row.maximum = high;
        return row;
    }
    constexpr Directive syntax(std::string_view text) const {
        Directive row = *this;
        row.syntax_text = text;
        return row;
    }
    constexpr Directive group(std::string_view name_of_group) const {
        Directive row = *this;
        row.group_text = name_of_group;
        return row;
    }
    constexpr Directive merged(Merge kind) const {
        Directive row = *this;
        row.merge = kind;
        return row;
    }
    // For custom rows: the default is run through the apply function at the root, as typed rows do.
    constexpr Directive with_default_applied() const {
        Directive row = *this;
        row.apply_default = true;
        return row;
    }
    // For block rows: `enter` runs where the statement stands (upstream), not after the level.
    constexpr Directive immediate() const {
        Directive row = *this;
        row.deferred = false;
        return row;
    }
    constexpr Directive marked_deprecated() const {
        Directive row = *this;
        row.deprecated = true;
        return row;
    }
    // For block rows: FUNCTION also runs in pass 1, at the statement's place among its neighbours
    // (`if`).
    template <auto Function>
    constexpr Directive in_order() const;
    // For ReplaceList custom rows: clears this member at the first statement of a level.
    template <auto Member>
    constexpr Directive clears() const;
};

// A module's part of the table.
struct ModuleDirectives {
    std::string_view module;
    std::span<const Directive> rows;
    // Structs of the module that no row names. Usually empty.
    std::span<const SettingsInfo* const> more_settings = {};
    // After pass 1 of each level that has its own copy of any of the module's structs, and of the
    // root: derives values and refuses conflicts. Runs in module order, before children are
    // compiled.
    Applied (*finish)(Compiler&, Level&) = nullptr;
};

}  // namespace moongate::conf

#include "conf/directive_rows.h"
