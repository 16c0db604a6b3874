#include "modules/set_function.h"

#include "conf/compiler.h"

namespace moongate::modules {

const SetFunction* find_set_function(std::string_view name) {
    for (const auto functions : {set_misc_functions(), encrypted_session_functions()}) {
        for (const SetFunction& function : functions) {
            if (function.name == name) {
                return &function;
            }
        }
    }
    return nullptr;
}

conf::Applied apply_set_function(conf::Compiler& compiler, const conf::Statement& statement) {
    const SetFunction* function = find_set_function(statement.name);
    if (function == nullptr) {
        return conf::reject("not a set function");
    }
    std::string_view texts[4];
    for (std::size_t i = 0; i < function->values; ++i) {
        const bool in_place = statement.args.size() == 1;
        texts[i] = statement.arg(in_place ? 1 : i + 2);
    }
    return rewrite_append_call(compiler, statement.arg(1), {texts, function->values},
                               function->call);
}

}  // namespace moongate::modules
