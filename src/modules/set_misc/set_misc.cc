#include "modules/set_misc/set_misc.h"

#include <unordered_map>
#include <vector>

#include "conf/compiler.h"
#include "engine/builder.h"
#include "engine/request.h"
#include "engine/snapshot.h"
#include "modules/set_misc/functions.h"

namespace moongate::modules {

namespace {

using conf::Applied;
using conf::Compiler;
using conf::Statement;

constexpr SetFunction kFunctions[] = {
    {"set_escape_uri", 1, &set_escape_uri},
    {"set_unescape_uri", 1, &set_unescape_uri},
    {"set_encode_base32", 1, &set_encode_base32},
    {"set_decode_base32", 1, &set_decode_base32},
    {"set_encode_base64", 1, &set_encode_base64},
    {"set_decode_base64", 1, &set_decode_base64},
    {"set_encode_base64url", 1, &set_encode_base64url},
    {"set_decode_base64url", 1, &set_decode_base64url},
    {"set_encode_hex", 1, &set_encode_hex},
    {"set_decode_hex", 1, &set_decode_hex},
    {"set_quote_sql_str", 1, &set_quote_sql_str},
    {"set_quote_pgsql_str", 1, &set_quote_pgsql_str},
    {"set_quote_json_str", 1, &set_quote_json_str},
    {"set_md5", 1, &set_md5},
    {"set_sha1", 1, &set_sha1},
    {"set_hmac_sha1", 2, &set_hmac_sha1},
    {"set_hmac_sha256", 2, &set_hmac_sha256},
    {"set_random", 2, &set_random},
    {"set_secure_random_alphanum", 1, &set_secure_random_alphanum},
    {"set_secure_random_lcalpha", 1, &set_secure_random_lcalpha},
    {"set_local_today", 0, &set_local_today},
    {"set_formatted_gmt_time", 1, &set_formatted_gmt_time},
    {"set_formatted_local_time", 1, &set_formatted_local_time},
};

// --- set_if_empty, set_rotate: the target's own value comes first

Result<std::string_view> if_empty(engine::Request&, SetValues values, const void*) {
    return set_result(values[0].empty() ? values[1] : values[0]);
}

Applied apply_if_empty(Compiler& compiler, const Statement& statement) {
    const std::string_view texts[] = {statement.arg(1), statement.arg(2)};
    return rewrite_append_call(compiler, statement.arg(1), texts, &if_empty);
}

// The counters of the locations of a configuration while it is compiled.
struct RotateCounters {
    std::unordered_map<const engine::Location*, std::shared_ptr<RotateCounter>> of;
};

Applied apply_rotate(Compiler& compiler, const Statement& statement) {
    auto& counter = compiler.extension<RotateCounters>().of[engine::current_location(compiler)];
    if (counter == nullptr) {
        counter = std::make_shared<RotateCounter>();
    }
    const std::string_view texts[] = {statement.arg(1), statement.arg(2), statement.arg(3)};
    return rewrite_append_call(compiler, statement.arg(1), texts, &set_rotate, counter);
}

// --- set_hashed_upstream

struct UpstreamLists {
    std::unordered_map<std::string, std::vector<std::string>, StringHash, std::equal_to<>> by_name;
};

Applied apply_upstream_list(Compiler& compiler, const Statement& statement) {
    auto& lists = compiler.extension<UpstreamLists>().by_name;
    const auto [at, added] = lists.try_emplace(std::string(statement.arg(1)));
    if (!added) {
        return conf::reject(fmt::format("duplicate upstream list name \"{}\"", statement.arg(1)));
    }
    at->second.assign(statement.args.begin() + 1, statement.args.end());
    return {};
}

std::string_view choose_by_key(const std::vector<std::string>& list, std::string_view key) {
    std::uint64_t hash = 0;
    for (const char c : key) {
        hash = hash * 31 + static_cast<unsigned char>(ascii_lower(c));
    }
    return list[static_cast<std::uint32_t>(hash) % static_cast<std::uint32_t>(list.size())];
}

// values: the key.
Result<std::string_view> hashed_upstream(engine::Request&, SetValues values, const void* data) {
    return choose_by_key(*static_cast<const std::vector<std::string>*>(data), values[0]);
}
// values: the list's name, the key.
Result<std::string_view> hashed_upstream_by_name(engine::Request& request, SetValues values,
                                                 const void*) {
    const auto* lists = request.snapshot.get<UpstreamLists>();
    if (lists != nullptr) {
        if (const auto found = lists->by_name.find(values[0]); found != lists->by_name.end()) {
            return choose_by_key(found->second, values[1]);
        }
    }
    request.log_error(LogLevel::Error, "set_hashed_upstream: upstream list \"{}\" not defined yet",
                      values[0]);
    return set_failure();
}

Applied apply_hashed_upstream(Compiler& compiler, const Statement& statement) {
    const std::string_view name = statement.arg(2);
    const std::string_view texts[] = {name, statement.arg(3)};
    if (conf::has_variables(name)) {
        return rewrite_append_call(compiler, statement.arg(1), texts, &hashed_upstream_by_name);
    }
    const auto& lists = compiler.extension<UpstreamLists>().by_name;
    const auto found = lists.find(name);
    if (found == lists.end()) {
        return conf::reject(
            fmt::format("set_hashed_upstream: upstream list \"{}\" not defined yet", name));
    }
    return rewrite_append_call(compiler, statement.arg(1), {texts + 1, 1}, &hashed_upstream,
                               std::make_shared<std::vector<std::string>>(found->second));
}

Applied keep_lists(Compiler& compiler, engine::Snapshot& snapshot) {
    auto& lists = compiler.extension<UpstreamLists>();
    if (!lists.by_name.empty()) {
        snapshot.put(std::make_shared<const UpstreamLists>(lists));
    }
    return {};
}

Applied apply_alphabet(Compiler&, const Statement& statement, SetMiscSettings& settings) {
    const std::string_view alphabet = statement.arg(1);
    if (alphabet.size() != kBase32Letters) {
        return conf::reject(
            fmt::format("\"set_base32_alphabet\" directive takes an alphabet of {} bytes but {} "
                        "expected",
                        alphabet.size(), kBase32Letters));
    }
    settings.base32_alphabet = alphabet;
    return {};
}

constexpr conf::Directive one_value(std::string_view name, std::string_view doc) {
    return conf::custom<apply_set_function>(name, kSetContexts, conf::kTake12, "", doc)
        .syntax("$target [value]");
}

constexpr std::array kRows{
    conf::custom<apply_if_empty>("set_if_empty", kSetContexts, conf::kTake2, "",
                                 "Sets a variable that is empty.")
        .syntax("$target value"),
    one_value("set_quote_sql_str", "Quotes a value as a literal of MySQL."),
    one_value("set_quote_pgsql_str", "Quotes a value as a literal of PostgreSQL."),
    one_value("set_quote_json_str", "Quotes a value as a string of JSON; an empty one is null."),
    one_value("set_unescape_uri", "Decodes %XX, and '+' as a space."),
    one_value("set_escape_uri", "Encodes as a part of a URI."),
    conf::custom<apply_upstream_list>("upstream_list", conf::kHttpLevels, conf::kTwoOrMore, "",
                                      "Names a list of upstreams for set_hashed_upstream.")
        .syntax("name upstream ..."),
    conf::custom<apply_hashed_upstream>("set_hashed_upstream", kSetContexts, conf::kTake3, "",
                                        "Chooses an upstream of a list by the hash of a key.")
        .syntax("$target list key"),
    one_value("set_encode_base32", "Encodes as Base32."),
    one_value("set_decode_base32", "Decodes Base32; what is none comes to nothing."),
    conf::flag<&SetMiscSettings::base32_padding>("set_base32_padding", kSetContexts, "on",
                                                 "Whether Base32 is padded with '='."),
    conf::flag<&SetMiscSettings::base32_padding>("set_misc_base32_padding", kSetContexts, "on",
                                                 "The old name of set_base32_padding.")
        .marked_deprecated(),
    conf::custom<apply_alphabet>("set_base32_alphabet", kSetContexts, conf::kTake1,
                                 "0123456789abcdefghijklmnopqrstuv", "The 32 letters of Base32.")
        .syntax("alphabet")
        .merged(conf::Merge::Inherit),
    one_value("set_encode_base64", "Encodes as Base64."),
    one_value("set_decode_base64", "Decodes Base64; what is none ends the request with 500."),
    one_value("set_encode_base64url", "Encodes as Base64 for URLs, without padding."),
    one_value("set_decode_base64url",
              "Decodes Base64 for URLs; what is none ends the request with 500."),
    one_value("set_encode_hex", "Encodes as hexadecimal digits."),
    one_value("set_decode_hex", "Decodes hexadecimal digits; others end the request with 500."),
    one_value("set_sha1", "The SHA-1 digest in hexadecimal digits."),
    one_value("set_md5", "The MD5 digest in hexadecimal digits."),
    conf::custom<apply_set_function>("set_hmac_sha1", kSetContexts, conf::kTake3, "",
                                     "The HMAC-SHA-1 of a text, as bytes.")
        .syntax("$target secret text"),
    conf::custom<apply_set_function>("set_hmac_sha256", kSetContexts, conf::kTake3, "",
                                     "The HMAC-SHA-256 of a text, as bytes.")
        .syntax("$target secret text"),
    conf::custom<apply_set_function>("set_random", kSetContexts, conf::kTake3, "",
                                     "A random number between two, both included.")
        .syntax("$target from to"),
    one_value("set_secure_random_alphanum", "So many random letters and digits, 64 at most."),
    one_value("set_secure_random_lcalpha", "So many random lower-case letters, 64 at most."),
    conf::custom<apply_rotate>("set_rotate", kSetContexts, conf::kTake3, "",
                               "The next number of a range, which begins again at its end.")
        .syntax("$target from to"),
    conf::custom<apply_set_function>("set_local_today", kSetContexts, conf::kTake1, "",
                                     "Today's date in the local time zone: yyyy-mm-dd.")
        .syntax("$target"),
    conf::custom<apply_set_function>("set_formatted_gmt_time", kSetContexts, conf::kTake2, "",
                                     "The time in UTC in a format of strftime().")
        .syntax("$target format"),
    conf::custom<apply_set_function>("set_formatted_local_time", kSetContexts, conf::kTake2, "",
                                     "The local time in a format of strftime().")
        .syntax("$target format"),
};

}  // namespace

std::span<const SetFunction> set_misc_functions() {
    return kFunctions;
}

const engine::Module set_misc_module{
    .directives = {.module = "set-misc", .rows = kRows},
    .finish_snapshot = &keep_lists,
};

}  // namespace moongate::modules
