// See condition.h. The messages are nginx's.
#include "modules/rewrite/condition.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "conf/compiler.h"
#include "engine/request.h"

namespace moongate::modules {

namespace {

std::unexpected<conf::ConfError> invalid(std::string_view word) {
    return conf::reject(fmt::format("invalid condition \"{}\"", word));
}

// Without the parentheses around them; words that consist of one alone are left out.
conf::Expected<std::vector<std::string>> bare_words(const conf::Statement& statement) {
    std::vector<std::string> words = statement.args;
    if (words.empty() || words.front().empty() || words.front().front() != '(') {
        return invalid(words.empty() ? std::string_view() : std::string_view(words.front()));
    }
    words.front().erase(0, 1);
    if (words.back().empty() || words.back().back() != ')') {
        return invalid(words.back());
    }
    words.back().pop_back();
    if (words.back().empty()) {
        words.pop_back();
    }
    if (!words.empty() && words.front().empty() && words.size() > 1) {
        words.erase(words.begin());
    }
    if (words.empty()) {
        return invalid("");
    }
    return words;
}

}  // namespace

conf::Expected<ScriptValue> ScriptValue::compile(conf::Compiler& compiler, std::string_view text) {
    ScriptValue value;
    auto plain = compiler.compile_string(text);
    if (!plain) {
        return std::unexpected(std::move(plain.error()));
    }
    value.plain_ = std::move(*plain);
    if (value.plain_.uses_captures()) {
        auto escaped = compiler.compile_string(text, {.escape_captures = true});
        if (!escaped) {
            return std::unexpected(std::move(escaped.error()));
        }
        value.escaped_ = std::move(*escaped);
    }
    return value;
}

std::string_view ScriptValue::evaluate(engine::Request& request, bool quote) const {
    return pick(quote).evaluate(request);
}

const char* ScriptValue::evaluate_path(engine::Request& request, bool quote,
                                       std::size_t* size) const {
    return pick(quote).evaluate_c_str(request, size);
}

conf::Expected<Condition> Condition::compile(conf::Compiler& compiler,
                                             const conf::Statement& statement) {
    auto words = bare_words(statement);
    if (!words) {
        return std::unexpected(std::move(words.error()));
    }
    const std::string& first = words->front();
    if (first.size() > 1 && first[0] == '$') {
        return compile_variable(compiler, *words);
    }
    if ((first.size() == 2 && first[0] == '-') || (first.size() == 3 && first.starts_with("!-"))) {
        return compile_file(compiler, *words);
    }
    return invalid(first);
}

conf::Expected<Condition> Condition::compile_variable(conf::Compiler& compiler,
                                                      const std::vector<std::string>& words) {
    if (words.size() != 1 && words.size() != 3) {
        return invalid(words.front());
    }
    Condition condition;
    condition.variable_ = compiler.variables().index(std::string_view(words.front()).substr(1));
    if (words.size() == 1) {
        return condition;
    }
    const std::string& sign = words[1];
    condition.negative_ = sign[0] == '!';
    if (sign == "=" || sign == "!=") {
        condition.kind_ = Kind::Equal;
        auto value = ScriptValue::compile(compiler, words[2]);
        if (!value) {
            return std::unexpected(std::move(value.error()));
        }
        condition.value_ = std::move(*value);
        return condition;
    }
    if (sign == "~" || sign == "~*" || sign == "!~" || sign == "!~*") {
        condition.kind_ = Kind::Match;
        auto regex = compiler.compile_regex(
            words[2], sign.back() == '*' ? conf::RegexFlags::Caseless : conf::RegexFlags::None);
        if (!regex) {
            return std::unexpected(std::move(regex.error()));
        }
        condition.regex_ = std::move(*regex);
        condition.pattern_ = words[2];
        return condition;
    }
    return conf::reject(fmt::format("unexpected \"{}\" in condition", sign));
}

conf::Expected<Condition> Condition::compile_file(conf::Compiler& compiler,
                                                  const std::vector<std::string>& words) {
    const std::string& sign = words.front();
    if (words.size() != 2 || std::strchr("fdex", sign.back()) == nullptr) {
        return invalid(sign);
    }
    Condition condition;
    condition.kind_ = Kind::File;
    condition.negative_ = sign[0] == '!';
    condition.test_ = sign.back();
    auto value = ScriptValue::compile(compiler, words[1]);
    if (!value) {
        return std::unexpected(std::move(value.error()));
    }
    condition.value_ = std::move(*value);
    return condition;
}

Condition::Result Condition::evaluate(engine::Request& request, bool quote,
                                      bool log_matches) const {
    switch (kind_) {
        case Kind::Variable: {
            const std::string_view text = request.text(variable_);
            return text.empty() || text == "0" ? Result::False : Result::True;
        }
        case Kind::Equal: {
            // The left side first, as written: computing the right one may change what it means.
            const std::string_view left = request.text(variable_);
            const bool equal = left == value_.evaluate(request, quote);
            return equal != negative_ ? Result::True : Result::False;
        }
        case Kind::Match: {
            const int matched =
                match_and_log(request, regex_, pattern_, request.text(variable_), log_matches);
            if (matched < 0) {
                return Result::Failed;
            }
            return (matched > 0) != negative_ ? Result::True : Result::False;
        }
        case Kind::File:
            return test_file(request, quote) != negative_ ? Result::True : Result::False;
    }
    return Result::False;
}

bool Condition::test_file(engine::Request& request, bool quote) const {
    std::size_t size = 0;
    const char* path = value_.evaluate_path(request, quote, &size);
    if (path == nullptr || std::strlen(path) != size) {
        return false;  // a NUL inside names no file
    }
    struct stat info{};
    if (::stat(path, &info) != 0) {
        const int error = errno;
        if (error != ENOENT && error != ENOTDIR && error != ENAMETOOLONG) {
            request.log_error(LogLevel::Crit, "stat() \"{}\" failed {}", path, errno_text(error));
        }
        return false;
    }
    switch (test_) {
        case 'f':
            return S_ISREG(info.st_mode);
        case 'd':
            return S_ISDIR(info.st_mode);
        case 'x':
            return (info.st_mode & S_IXUSR) != 0;
        default:
            return S_ISREG(info.st_mode) || S_ISDIR(info.st_mode);
    }
}

int match_and_log(engine::Request& request, const conf::BoundRegex& regex, std::string_view pattern,
                  std::string_view subject, bool log_matches) {
    const int matched = regex.match(request, subject);
    if (matched < 0) {
        request.log_error(LogLevel::Alert, "pcre2_match() failed: {} on \"{}\" using \"{}\"",
                          matched, subject, pattern);
        return matched;
    }
    if (log_matches) {
        request.log_error(LogLevel::Notice, "\"{}\" {} \"{}\"", pattern,
                          matched > 0 ? "matches" : "does not match", subject);
    }
    if (matched == 0) {
        request.set_captures({});
    }
    return matched;
}

}  // namespace moongate::modules
