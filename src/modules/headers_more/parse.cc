// The arguments of headers-more's directives.
#include <algorithm>

#include "base/strings.h"
#include "conf/compiler.h"
#include "modules/headers_more/rules.h"

namespace moongate::modules {

namespace {

using http::HeaderId;

constexpr std::string_view kSpace = " \t\n\v\f\r";

// Fields of a response that stand once: -a makes no sense with them.
constexpr http::HeaderIdSet kSingle{
    HeaderId::Server,       HeaderId::Date,         HeaderId::ContentEncoding,
    HeaderId::Location,     HeaderId::Refresh,      HeaderId::LastModified,
    HeaderId::ContentRange, HeaderId::AcceptRanges, HeaderId::WwwAuthenticate,
    HeaderId::Expires,      HeaderId::ETag,         HeaderId::ContentLength,
    HeaderId::ContentType,  HeaderId::CacheControl};

std::vector<std::string> words_of(std::string_view text, std::string_view separators) {
    std::vector<std::string> words;
    for (;;) {
        const std::size_t begin = text.find_first_not_of(separators);
        if (begin == std::string_view::npos) {
            return words;
        }
        const std::size_t end = std::min(text.find_first_of(separators, begin), text.size());
        words.emplace_back(text.substr(begin, end - begin));
        text.remove_prefix(end);
    }
}

conf::Applied add_statuses(const conf::Statement& statement, std::string_view list,
                           std::vector<int>& to) {
    for (const std::string& word : words_of(list, kSpace)) {
        const auto status = parse_number<int>(word);
        if (!status) {
            const auto wrong = std::ranges::find_if_not(word, is_digit);
            return conf::reject(
                fmt::format("{}: invalid digit \"{}\" found in the status code list \"{}\"",
                            statement.name, wrong == word.end() ? word.front() : *wrong, list));
        }
        to.push_back(*status);
    }
    return {};
}

conf::Expected<FieldRule> parse_field(conf::Compiler& compiler, const conf::Statement& statement,
                                      std::string_view text, bool clears) {
    const std::string_view whole = text;
    const std::size_t begin = text.find_first_not_of(kSpace);
    if (begin == std::string_view::npos || text[begin] == ':') {
        return conf::reject(
            fmt::format("{}: no key found in the header argument: {}", statement.name, whole));
    }
    text.remove_prefix(begin);
    const std::size_t end = std::min(text.find_first_of(" \t\n\v\f\r:"), text.size());
    FieldRule field;
    field.name = text.substr(0, end);
    text.remove_prefix(end);
    text.remove_prefix(std::min(text.find_first_not_of(" \t\n\v\f\r:"), text.size()));
    if (field.name.ends_with('*')) {
        if (field.name.size() < 2) {
            return conf::reject(
                fmt::format("{}: wildcard key too short: {}", statement.name, whole));
        }
        field.wildcard = true;
        field.name.pop_back();
    } else {
        field.id = http::header_id(field.name);
    }
    if (!clears && !text.empty()) {
        auto value = compiler.compile_string(text);
        if (!value) {
            return std::unexpected(std::move(value.error()));
        }
        field.value = std::move(*value);
    }
    return field;
}

}  // namespace

bool FieldRule::matches(std::string_view other) const {
    return wildcard ? starts_with_ignore_case(other, name) : equals_ignore_case(other, name);
}

bool HeadersRule::wants_type(std::string_view type) const {
    return types.empty() || std::ranges::find(types, type) != types.end();
}

bool HeadersRule::wants_status(int status) const {
    return statuses.empty() || std::ranges::find(statuses, status) != statuses.end();
}

conf::Expected<HeadersRule> parse_headers_rule(conf::Compiler& compiler,
                                               const conf::Statement& statement) {
    const bool input = statement.name.find("_input_") != std::string::npos;
    const bool clears = statement.name.starts_with("more_clear");
    HeadersRule rule;
    for (std::size_t i = 0; i < statement.args.size(); ++i) {
        const std::string& word = statement.args[i];
        if (word.empty()) {
            continue;
        }
        if (word.front() != '-') {
            auto field = parse_field(compiler, statement, word, clears);
            if (!field) {
                return std::unexpected(std::move(field.error()));
            }
            rule.fields.push_back(std::move(*field));
            continue;
        }
        const bool with_list = word == "-t" || (word == "-s" && !input);
        if (with_list && i + 1 == statement.args.size()) {
            return conf::reject(
                fmt::format("{}: option {} takes an argument.", statement.name, word));
        }
        if (word == "-t") {
            const auto types = words_of(statement.args[++i], " \t\n\v\f\r;");
            rule.types.insert(rule.types.end(), types.begin(), types.end());
        } else if (with_list) {
            if (auto added = add_statuses(statement, statement.args[++i], rule.statuses); !added) {
                return std::unexpected(std::move(added.error()));
            }
        } else if (word == "-a" && !input && !clears) {
            rule.append = true;
        } else if (word == "-r" && input) {
            rule.replace = true;
        } else {
            return conf::reject(
                fmt::format("{}: invalid option name: \"{}\"", statement.name, word));
        }
    }
    for (const FieldRule& field : rule.fields) {
        if (rule.append && kSingle.contains(field.id)) {
            return conf::reject(fmt::format("{}: can not append builtin headers \"{}\"",
                                            statement.name, field.name));
        }
    }
    return rule;
}

}  // namespace moongate::modules
