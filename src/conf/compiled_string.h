// A string with variables, nginx's "complex value": compiled once, evaluated for each request. Each
// part is evaluated exactly once and appended at that moment; no length is computed before, which
// is the class of memory errors nginx's two-pass scripts had (HARDENING 13). Immutable and shared;
// copying is a reference.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "conf/error.h"
#include "conf/variables.h"

namespace moongate::conf {

struct StringOptions {
    bool captures = true;  // $1 to $9 are captures; false: a digit after $ is an invalid name
    bool escape_captures = false;  // as in the arguments of `rewrite`: see captures_need_escape()
};

class CompiledString {
public:
    // Unset: evaluates to nothing and is false.
    CompiledString() = default;

    // nginx's messages: `invalid variable name`, `the closing bracket in "x" variable is missing`.
    static Expected<CompiledString> compile(std::string_view text, VariableTable& variables,
                                            StringOptions options = {});
    // `text` as it is, '$' included.
    static CompiledString literal(std::string_view text);

    explicit operator bool() const { return program_ != nullptr; }
    // True without variables and captures (and for an unset one).
    bool is_constant() const;
    bool uses_captures() const;
    // As it was written; the value itself where it is constant.
    std::string_view source() const;

    // Lives as long as this string's snapshot (constants) or the source's arena. A constant costs
    // one load, a single variable copies nothing. Text that was built has a NUL behind it; other
    // values may not.
    std::string_view evaluate(VariableSource& from) const;
    void append_to(VariableSource& from, std::string& out) const;
    // As evaluate(), always with a NUL behind it: for paths that go to system calls.
    const char* evaluate_c_str(VariableSource& from, std::size_t* size = nullptr) const;

private:
    struct Program;
    std::shared_ptr<const Program> program_;
};

// Whether nginx would see a variable in it.
bool has_variables(std::string_view text);

}  // namespace moongate::conf
