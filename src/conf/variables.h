// Variables ($host, $arg_x, $my_var): their definitions, the dense index that requests cache values
// under, and the lookup by name that ngx.var needs. Only variables that the configuration mentions
// get an index, so that the values array of a request stays small. A table is built by the
// compiling thread and then shared read-only with the snapshot; a later change copies it and
// appends, so indexes never move. Names ignore case, as in nginx.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/arena.h"
#include "base/strings.h"
#include "conf/error.h"

namespace moongate::engine {
class Request;
}

namespace moongate::conf {

// A view of a value that lives as long as the request. Neither valid nor not_found: not computed
// yet.
struct VariableValue {
    const char* data = nullptr;
    std::uint32_t size = 0;
    bool valid : 1 = false;
    bool not_found : 1 = false;
    bool no_cache : 1 = false;

    std::string_view text() const {
        return valid ? std::string_view(data, size) : std::string_view();
    }
    void set(std::string_view text) {
        data = text.data();
        size = static_cast<std::uint32_t>(text.size());
        valid = true;
        not_found = false;
    }
    void set_missing() {
        data = nullptr;
        size = 0;
        valid = false;
        not_found = true;
    }
};

using VariableGet = void (*)(engine::Request&, std::uintptr_t data, VariableValue& value);
using VariableSet = void (*)(engine::Request&, std::uintptr_t data, std::string_view text);

enum class VariableFlags : std::uint8_t {
    None = 0,
    Changeable = 1,  // `set`, map and Lua may define it again or assign to it
    NoCache = 2,     // computed anew at each use
    NoHash = 4,      // only by index, not by run-time name
    Prefix =
        8,  // a family: the name is a prefix such as "http_"; data becomes a `const PrefixName*`
    Weak = 16,  // a later definition replaces it
};
constexpr VariableFlags operator|(VariableFlags a, VariableFlags b) {
    return static_cast<VariableFlags>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr bool has(VariableFlags flags, VariableFlags bit) {
    return (static_cast<unsigned>(flags) & static_cast<unsigned>(bit)) != 0;
}

// What the get function of a family receives as `data`. Lower case; `rest` of "http_user_agent" is
// "user_agent".
struct PrefixName {
    std::string_view name;
    std::string_view rest;
    std::uintptr_t data;  // the family's own
};

// One row a variable in a module's table.
struct VariableRow {
    std::string_view name;  // without '$'
    VariableGet get = nullptr;
    VariableSet set = nullptr;
    std::uintptr_t data = 0;
    VariableFlags flags = VariableFlags::None;
    std::string_view doc;
};

struct Variable {
    std::string name;
    VariableGet get =
        nullptr;  // null while only mentioned, and for plain changeable ones without a reader
    VariableSet set = nullptr;  // null: an assignment stores into the values array
    std::uintptr_t data = 0;
    VariableFlags flags = VariableFlags::None;
    int index = -1;  // -1: the configuration does not mention it
    bool defined = false;
    bool from_family = false;           // stands for a family member; an own definition replaces it
    std::shared_ptr<const void> owner;  // keeps what `data` points to
};

class VariableTable {
public:
    // The modules' rows, once, before compiling.
    void add(std::span<const VariableRow> rows);

    // Defines NAME (`set`, map, geo, named captures, ...). One that exists and is changeable is
    // returned as it is; otherwise `the duplicate "NAME" variable`. The reference is valid until
    // the next call that adds a variable.
    Expected<Variable*> define(std::string_view name, VariableFlags flags);

    // The index of NAME, given now if it has none. A name nobody defined yet is remembered for
    // check().
    int index(std::string_view name);

    // nginx's `unknown "NAME" variable` for the first name that was mentioned and never defined.
    Applied check() const;

    const Variable& at(int index) const {
        return variables_[indexed_[static_cast<std::size_t>(index)]];
    }
    // How many indexes are in use: the length of a request's values array.
    std::size_t size() const { return indexed_.size(); }

    // By name at run time, in any case. Null: unknown, NoHash, or an unmentioned member of a
    // family: see family().
    const Variable* find(std::string_view name) const;
    // The longest family whose prefix NAME has; null if none.
    const Variable* family(std::string_view name) const;

    // Every definition, families included, for documents and listings.
    std::span<const Variable> all() const { return variables_; }

private:
    std::size_t entry(std::string_view lower_name);
    void resolve_family(Variable& variable) const;

    std::vector<Variable> variables_;
    std::vector<std::size_t> indexed_;
    struct Family {
        std::string prefix;  // lower case, not empty
        std::size_t at;      // in variables_
    };
    std::vector<Family> families_;
    std::unordered_map<std::string, std::size_t, StringHash, std::equal_to<>> by_name_;
};

// What the last regular expression left: $1 to $9. Offsets are pairs into `subject`; kUnset marks
// an unused group.
struct Captures {
    static constexpr std::uint32_t kUnset = 0xffffffff;
    const char* subject = nullptr;
    const std::uint32_t* offsets = nullptr;
    std::uint32_t pairs = 0;
};

// The part of a request that compiled strings read: engine::Request derives from it. One worker.
class VariableSource {
public:
    // `request` is handed to the variables' functions. The table must outlive the source.
    VariableSource(Arena& arena, const VariableTable& table, engine::Request* request)
        : arena_(&arena), table_(&table), request_(request) {}
    VariableSource(const VariableSource&) = delete;
    VariableSource& operator=(const VariableSource&) = delete;

    // The value, computed at most once unless its variable says NoCache. Valid until the next
    // assignment to it.
    const VariableValue& variable(int index) {
        if (values_ != nullptr) [[likely]] {
            const VariableValue& value = values_[index];
            if ((value.valid || value.not_found) && !value.no_cache) [[likely]] {
                return value;
            }
        }
        return compute(index);
    }
    std::string_view text(int index) { return variable(index).text(); }
    // The last computed value, even of a NoCache variable (nginx's indexed access); computes if
    // there is none.
    const VariableValue& cached_variable(int index);
    // Stores through the variable's set function, or into the values array. `text` must live as
    // long as the arena.
    void assign(int index, std::string_view text);
    // Stores into the values array whatever the variable's set function: named groups do.
    void store(int index, std::string_view text);
    // Forgets the value, so that the next use computes it.
    void forget(int index);
    // An assignment of no value at all: the variable is not found from now on.
    void assign_missing(int index);
    // By name, as ngx.var does: `storage` holds the value of a variable without an index. Never
    // null; an unknown name is not_found.
    const VariableValue& by_name(std::string_view name, VariableValue& storage);

    // $0 to $N of the last match; empty where the group took no part.
    std::string_view capture(std::uint32_t n) const {
        if (n >= captures_.pairs) {
            return {};
        }
        const std::uint32_t from = captures_.offsets[n * 2];
        const std::uint32_t to = captures_.offsets[n * 2 + 1];
        return from == Captures::kUnset || to < from
                   ? std::string_view()
                   : std::string_view(captures_.subject + from, to - from);
    }
    const Captures& captures() const { return captures_; }
    void set_captures(const Captures& captures) { captures_ = captures; }

    // Whether captures must be escaped in arguments: the URI they come from had been unescaped.
    bool captures_need_escape() const { return captures_need_escape_; }
    void set_captures_need_escape(bool need) { captures_need_escape_ = need; }

    // A subrequest uses its parent's values, as in nginx. Both must have the same table and arena
    // lifetime.
    void share_values(VariableSource& parent) { values_ = parent.values(); }
    // Begins with the values that the parent has now; its arena must live longer.
    void copy_values(const VariableSource& parent);

    Arena& arena() const { return *arena_; }
    const VariableTable& variable_table() const { return *table_; }

protected:
    ~VariableSource() = default;

private:
    const VariableValue& compute(int index);
    VariableValue* values();

    Arena* arena_;
    const VariableTable* table_;
    engine::Request* request_;
    VariableValue* values_ = nullptr;
    Captures captures_;
    std::uint16_t depth_ = 0;  // of computations that ask for further variables
    bool captures_need_escape_ = false;
};

}  // namespace moongate::conf
