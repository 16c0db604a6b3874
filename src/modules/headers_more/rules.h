// One statement of headers-more: which messages it concerns and what it changes in them. Parsed
// with the configuration, immutable then.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "conf/compiled_string.h"
#include "conf/error.h"
#include "conf/syntax.h"
#include "http/header_list.h"

namespace moongate::conf {
class Compiler;
}
namespace moongate::engine {
class Request;
}

namespace moongate::modules {

struct FieldRule {
    std::string name;  // of a wildcard without its '*'
    http::HeaderId id = http::HeaderId::Other;
    bool wildcard = false;
    conf::CompiledString value;  // unset: the field is taken away

    bool matches(std::string_view other) const;
};

struct HeadersRule {
    std::vector<FieldRule> fields;
    std::vector<std::string> types;  // -t; empty: any
    std::vector<int> statuses;       // -s; empty: any
    bool append = false;             // -a
    bool replace = false;            // -r: only fields that are there

    bool wants_type(std::string_view type) const;
    bool wants_status(int status) const;
};

// From `more_set_headers [options] field...` and its three relatives. The messages are the
// module's.
conf::Expected<HeadersRule> parse_headers_rule(conf::Compiler& compiler,
                                               const conf::Statement& statement);

// Changes the response; an error ends it.
Status change_response(engine::Request& request, const HeadersRule& rule);
// Changes the request. False: a value makes no sense there.
bool change_request(engine::Request& request, const HeadersRule& rule);

}  // namespace moongate::modules
