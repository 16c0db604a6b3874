// The condition of `if (…)`: a variable, a comparison, a match or a test of a file. Parsed with the
// configuration, evaluated on the request's worker. Source: nginx's documentation of `if`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "conf/compiled_string.h"
#include "conf/error.h"
#include "conf/regex.h"
#include "conf/syntax.h"

namespace moongate::conf {
class Compiler;
}
namespace moongate::engine {
class Request;
}

namespace moongate::modules {

// A text whose captures are escaped or not, depending on where in the script it is evaluated
// (ScriptRun::quote): nginx escapes them for a URI that came escaped until a `rewrite` has matched.
class ScriptValue {
public:
    static conf::Expected<ScriptValue> compile(conf::Compiler& compiler, std::string_view text);

    std::string_view evaluate(engine::Request& request, bool quote) const;
    const char* evaluate_path(engine::Request& request, bool quote, std::size_t* size) const;

private:
    const conf::CompiledString& pick(bool quote) const {
        return quote && escaped_ ? escaped_ : plain_;
    }
    conf::CompiledString plain_;
    conf::CompiledString escaped_;  // unset where there are no captures
};

class Condition {
public:
    // From the values of `if`, parentheses included.
    static conf::Expected<Condition> compile(conf::Compiler& compiler,
                                             const conf::Statement& statement);

    enum class Result : std::uint8_t { False, True, Failed };
    // Failed: the regular expression ran into a limit (logged); the request gets 500.
    Result evaluate(engine::Request& request, bool quote, bool log_matches) const;

private:
    enum class Kind : std::uint8_t { Variable, Equal, Match, File };

    static conf::Expected<Condition> compile_variable(conf::Compiler& compiler,
                                                      const std::vector<std::string>& words);
    static conf::Expected<Condition> compile_file(conf::Compiler& compiler,
                                                  const std::vector<std::string>& words);
    bool test_file(engine::Request& request, bool quote) const;

    Kind kind_ = Kind::Variable;
    bool negative_ = false;
    char test_ = 0;  // f, d, e or x
    int variable_ = -1;
    ScriptValue value_;
    conf::BoundRegex regex_;
    std::string pattern_;
};

// Matches and logs as rewrite_log asks; a mismatch clears the captures. 1, 0 or negative (logged).
int match_and_log(engine::Request& request, const conf::BoundRegex& regex, std::string_view pattern,
                  std::string_view subject, bool log_matches);

}  // namespace moongate::modules
