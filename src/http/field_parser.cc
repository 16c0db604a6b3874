#include "http/field_parser.h"

#include "http/byte_scan.h"

namespace moongate::http {
namespace {

// A line for the log: from its start to its CR or LF.
std::string_view line_at(const char* line, const char* end) {
    const char* stop = line;
    while (stop != end && *stop != '\r' && *stop != '\n') {
        ++stop;
    }
    return {line, static_cast<std::size_t>(stop - line)};
}

ParseResult fault(HeadError error, const char* line, const char* end) {
    ParseResult result;
    result.error = error;
    result.detail = line_at(line, end);
    return result;
}

// The end of a name that is not made of letters, digits and '-' alone, or null where nginx refuses
// the line. `valid` becomes false where the field is one to drop.
const char* unusual_name_end(const char* at, const char* end, bool underscores, bool& valid) {
    for (; at != end; ++at) {
        if (*at == ':') {
            return at;
        }
        if (scan::is(*at, scan::kName) || (*at == '_' && underscores)) {
            continue;
        }
        if (!scan::is(*at, scan::kNameCandidate)) {
            return nullptr;
        }
        valid = false;
    }
    return nullptr;
}

const char* value_end(const char* at, const char* end, bool allow_controls) {
    at = scan::find_control(at, end);
    while (allow_controls && at != end && *at != '\r' && *at != '\n' && *at != '\0') {
        at = scan::find_control(at + 1, end);
    }
    return at;
}

bool is_space(char c) {
    return c == ' ' || c == '\t';
}

}  // namespace

ParseResult parse_fields(const char* at, const char* end, const FieldRules& rules,
                         HeaderList& headers) {
    ParseResult result;
    const std::size_t most = headers.size() + rules.max_fields;
    while (end - at > 2 || (at != end && *at != '\r')) {
        const char* const line = at;
        const char* name_end = scan::name_end(at, end);
        bool valid = true;
        if (name_end == end || *name_end != ':') [[unlikely]] {
            name_end = unusual_name_end(name_end, end, rules.allow_underscores, valid);
            if (name_end == nullptr) {
                return fault(HeadError::InvalidHeaderLine, line, end);
            }
        }
        if (name_end == line) [[unlikely]] {
            return fault(HeadError::InvalidHeaderLine, line, end);
        }
        const char* value = name_end + 1;
        while (value != end && is_space(*value)) {
            ++value;
        }
        at = value_end(value, end, rules.allow_controls);
        if (end - at < 2 || at[0] != '\r' || at[1] != '\n') [[unlikely]] {
            return fault(HeadError::InvalidHeaderLine, line, end);
        }
        const char* last = at;
        while (last != value && is_space(last[-1])) {
            --last;
        }
        at += 2;
        if (static_cast<std::size_t>(at - line) > rules.max_line) [[unlikely]] {
            return fault(HeadError::HeaderTooLong, line, end);
        }
        if (!valid && rules.drop_invalid_names) [[unlikely]] {
            if (result.ignored_headers++ == 0) {
                result.detail = line_at(line, end);
            }
            continue;
        }
        if (headers.size() == most) [[unlikely]] {
            return fault(HeadError::TooManyHeaders, line, end);
        }
        const std::string_view name(line, static_cast<std::size_t>(name_end - line));
        const std::uint32_t hash = header_hash(name);
        const HeaderId id = header_id(name, hash);
        if (headers.has(id) && rules.unique.contains(id)) [[unlikely]] {
            return fault(
                id == HeaderId::Host ? HeadError::DuplicateHost : HeadError::DuplicateHeader, line,
                end);
        }
        headers.add(name, {value, static_cast<std::size_t>(last - value)}, id, hash);
    }
    if (end - at != 2 || at[0] != '\r' || at[1] != '\n') {
        return fault(HeadError::InvalidHeaderLine, at, end);
    }
    return result;
}

}  // namespace moongate::http
