// Field lines of a head or trailer section, shared by the HTTP/1 parsers. Private to src/http.
#pragma once

#include "http/h1_parser.h"

namespace moongate::http {

struct FieldRules {
    std::size_t max_line = 8192;
    std::uint32_t max_fields = 1000;
    bool drop_invalid_names = true;  // else such fields are taken as they are
    bool allow_underscores = false;
    bool allow_controls = false;  // in values, but for CR, LF and NUL
    HeaderIdSet unique;           // names that must not come twice
};

struct FieldSection {
    const char* begin;
    const char* end;
    const char* floor;  // what lies from here to `begin` may be read too
};

// The last bytes of the section must be its empty line.
ParseResult parse_fields(FieldSection section, const FieldRules& rules, HeaderList& headers);

}  // namespace moongate::http
