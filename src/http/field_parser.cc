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

bool is_space(char c) {
    return c == ' ' || c == '\t';
}

struct Name {
    const char* end;
    std::uint32_t hash;
    HeaderId id;
};

// The end of the letters, digits and '-' at `at`, and what name they are.
inline Name take_name(const char* at, const char* end, const char* floor) {
#if defined(__SSE2__)
    // A short known name with its colon is known to be a valid one too.
    if (end - at >= 16) [[likely]] {
        const __m128i bytes = scan::load16(at);
        const unsigned colon = scan::mask(scan::equal(bytes, ':'));
        if (colon != 0) [[likely]] {
            const auto size = static_cast<unsigned>(__builtin_ctz(colon));
            const std::uint32_t hash = header_hash({at, size});
            const HeaderId id = header_id_candidate(hash);
            const detail::ShortName& known = detail::kShortNames[static_cast<std::size_t>(id)];
            const __m128i lower = _mm_or_si128(bytes, scan::load16(known.letters));
            const unsigned differ =
                scan::mask(_mm_cmpeq_epi8(lower, scan::load16(known.lower))) ^ 0xffffU;
            if (differ << (31 - size) == 0) [[likely]] {
                return {at + size, hash, id};
            }
        }
    }
#endif
    const char* stop = scan::name_end(at, end, floor);
    const std::string_view name(at, static_cast<std::size_t>(stop - at));
    const std::uint32_t hash = header_hash(name);
    return {stop, hash, header_id(name, hash)};
}

}  // namespace

ParseResult parse_fields(FieldSection section, const FieldRules& rules, HeaderList& headers) {
    const auto [begin, end, floor] = section;
    ParseResult result;
    // With a line feed at the end no search for the end of something needs to look where it is.
    if (begin == end || end[-1] != '\n') [[unlikely]] {
        return fault(HeadError::InvalidHeaderLine, begin, end);
    }
    const std::size_t most = headers.size() + rules.max_fields;
    const char* at = begin;
    while (at != end && *at != '\r') {
        const char* const line = at;
        Name name = take_name(at, end, floor);
        bool valid = true;
        if (*name.end != ':') [[unlikely]] {
            name.end = unusual_name_end(name.end, end, rules.allow_underscores, valid);
            if (name.end == nullptr) {
                return fault(HeadError::InvalidHeaderLine, line, end);
            }
            const std::string_view text(line, static_cast<std::size_t>(name.end - line));
            name.hash = header_hash(text);
            name.id = header_id(text, name.hash);
        }
        if (name.end == line) [[unlikely]] {
            return fault(HeadError::InvalidHeaderLine, line, end);
        }
        const char* value = name.end + 1;
        while (is_space(*value)) {
            ++value;
        }
        at = scan::find_control(value, end, floor);
        if (*at != '\r') [[unlikely]] {
            while (rules.allow_controls && *at != '\r' && *at != '\n' && *at != '\0') {
                at = scan::find_control(at + 1, end, floor);
            }
        }
        if (at[0] != '\r' || at[1] != '\n') [[unlikely]] {
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
        if (rules.unique.contains(name.id) && headers.has(name.id)) [[unlikely]] {
            return fault(
                name.id == HeaderId::Host ? HeadError::DuplicateHost : HeadError::DuplicateHeader,
                line, end);
        }
        headers.add({line, static_cast<std::size_t>(name.end - line)},
                    {value, static_cast<std::size_t>(last - value)}, name.id, name.hash);
    }
    if (end - at != 2 || at[1] != '\n') {
        return fault(HeadError::InvalidHeaderLine, at, end);
    }
    return result;
}

}  // namespace moongate::http
