// The configuration parser: never crashes, and a printed tree parses to itself. Variables and
// patterns in the words go through their compilers, too.
#include <cstdlib>
#include <string>

#include "conf/compiled_string.h"
#include "conf/syntax.h"
#include "conf/values.h"

namespace {

using namespace moongate::conf;

void require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

bool same(const std::vector<Statement>& a, const std::vector<Statement>& b) {
    if (a.size() != b.size()) {
        return false;
    }
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (a[i].name != b[i].name || a[i].args != b[i].args || a[i].has_block != b[i].has_block ||
            a[i].lua_block != b[i].lua_block || !same(a[i].body, b[i].body)) {
            return false;
        }
    }
    return true;
}

void compile_words(const std::vector<Statement>& statements, VariableTable& variables) {
    for (const Statement& statement : statements) {
        for (const auto& arg : statement.args) {
            if (auto compiled = CompiledString::compile(arg, variables)) {
                require(compiled->source() == arg);
                require(has_variables(arg) || compiled->is_constant());
            }
            const auto size = parse_size(arg);
            require(!size || (*size >= 0 && parse_offset(arg) == size));
            const auto msec = parse_msec(arg);
            require(!msec || *msec >= 0);
            const auto seconds = parse_seconds(arg);
            require(!seconds || *seconds >= 0);
        }
        compile_words(statement.body, variables);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    (void)parse_text(text, "", {});
    const auto tree = parse_text(text, "f", {});
    if (!tree) {
        require(tree.error().message.find(" in f:") != std::string::npos);
        return 0;
    }
    ParseOptions generous;
    generous.max_parameter_bytes = 1 << 20;
    const auto again = parse_text(print(tree->statements), "f", generous);
    require(again.has_value() && same(tree->statements, again->statements));
    VariableTable variables;
    compile_words(tree->statements, variables);
    return 0;
}
