// Slow, plain models of field lines, of the chunked coding and of URI normalisation, written for
// reading. Unit tests and fuzz targets compare the real codecs with them. Not part of the product.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "http/field_parser.h"

namespace moongate::http::reference {

struct Chunked {
    enum class Outcome : std::uint8_t { Complete, Incomplete, Invalid };
    Outcome outcome = Outcome::Incomplete;
    std::string body;
    std::string trailer;       // field lines and the empty line
    std::size_t consumed = 0;  // for Complete
};

// RFC 9112 §7.1 with whole input at hand. It knows no limits but 2^63 - 1, and takes trailers as
// any lines.
inline Chunked decode_chunked(std::string_view input) {
    Chunked result;
    const auto outcome = [&](Chunked::Outcome what) {
        result.outcome = what;
        return result;
    };
    std::size_t at = 0;
    for (;;) {
        const std::size_t line_end = input.find("\r\n", at);
        const std::string_view line = input.substr(at, line_end - at);
        std::string digits;
        std::size_t i = 0;
        while (i < line.size() && hex_value(line[i]) >= 0) {
            digits.push_back(line[i++]);
        }
        const std::string_view rest = line.substr(i);
        const std::size_t text = rest.find_first_not_of(" \t");
        // Only a CR that still may be followed by LF is missing bytes rather than wrong ones.
        for (std::size_t k = 0; k < rest.size(); ++k) {
            const auto c = static_cast<unsigned char>(rest[k]);
            const bool last_cr =
                c == '\r' && line_end == std::string_view::npos && k + 1 == rest.size();
            if (((c < 0x20 && c != '\t') || c == 0x7f) && !last_cr) {
                return outcome(Chunked::Outcome::Invalid);
            }
        }
        if (digits.size() > 16 || (digits.empty() && !line.empty()) ||
            (digits.empty() && line_end != std::string_view::npos) ||
            (text != std::string_view::npos && rest[text] != ';' && rest[text] != '\r')) {
            return outcome(Chunked::Outcome::Invalid);
        }
        const auto size = parse_number<std::uint64_t>(digits.empty() ? "0" : digits, 16);
        if (!size || *size > 0x7fffffffffffffffU) {
            return outcome(Chunked::Outcome::Invalid);
        }
        if (line_end == std::string_view::npos) {
            return outcome(Chunked::Outcome::Incomplete);
        }
        at = line_end + 2;
        if (*size == 0) {
            break;
        }
        const std::string_view data = input.substr(at, *size);
        result.body += data;
        at += data.size();
        const std::string_view end = input.substr(at, 2);
        if (data.size() == *size && !std::string_view("\r\n").starts_with(end)) {
            return outcome(Chunked::Outcome::Invalid);
        }
        if (data.size() < *size || end.size() < 2) {
            return outcome(Chunked::Outcome::Incomplete);
        }
        at += 2;
    }
    const std::size_t trailer = at;
    for (;;) {
        const std::size_t stop = input.find_first_of("\r\n", at);
        if (stop == std::string_view::npos || (input[stop] == '\r' && stop + 1 == input.size())) {
            return outcome(Chunked::Outcome::Incomplete);
        }
        if (input.substr(stop, 2) != "\r\n") {
            return outcome(Chunked::Outcome::Invalid);
        }
        const bool empty = stop == at;
        at = stop + 2;
        if (empty) {
            break;
        }
    }
    result.trailer = input.substr(trailer, at - trailer);
    result.consumed = at;
    return outcome(Chunked::Outcome::Complete);
}

// The path of normalize_uri(): decode all, split at '/', walk the segments.
inline std::optional<std::string> normalize_path(std::string_view uri, bool merge_slashes) {
    std::string decoded;
    const std::string_view path = uri.substr(0, uri.find_first_of("?#"));
    for (std::size_t i = 0; i < path.size(); ++i) {
        if (path[i] != '%') {
            decoded.push_back(path[i]);
            continue;
        }
        if (i + 2 >= path.size() || hex_value(path[i + 1]) < 0 || hex_value(path[i + 2]) < 0) {
            return std::nullopt;
        }
        decoded.push_back(static_cast<char>(hex_value(path[i + 1]) * 16 + hex_value(path[i + 2])));
        i += 2;
    }
    if (!uri.starts_with('/') || decoded.find('\0') != std::string::npos) {
        return std::nullopt;
    }
    std::vector<std::string> kept;
    bool directory = false;
    std::size_t at = 1;
    for (;;) {
        const std::size_t slash = decoded.find('/', at);
        const bool last = slash == std::string::npos;
        const std::string segment = decoded.substr(at, last ? slash : slash - at);
        directory = !last;
        if (segment == "..") {
            if (kept.empty()) {
                return std::nullopt;
            }
            kept.pop_back();
            directory = true;
        } else if (segment == "." || (last && segment.empty())) {
            directory = true;
        } else if (!segment.empty() || !merge_slashes) {
            kept.push_back(segment);
        }
        if (last) {
            break;
        }
        at = slash + 1;
    }
    std::string result;
    for (const std::string& segment : kept) {
        result += "/" + segment;
    }
    return directory || result.empty() ? result + "/" : result;
}

struct Fields {
    HeadError error = HeadError::None;
    std::uint32_t ignored = 0;  // counted where there is no error
    std::string detail;
    std::vector<std::pair<std::string, std::string>> kept;  // with an error: those before it
};

// Field lines of a section that ends with its empty line, a byte at a time.
inline Fields parse_fields(std::string_view section, const FieldRules& rules) {
    Fields result;
    std::vector<std::string> seen;
    for (std::size_t at = 0; section.substr(at) != "\r\n";) {
        const std::string_view rest = section.substr(at);
        const std::string_view line = rest.substr(0, rest.find_first_of("\r\n"));
        const auto refuse = [&](HeadError error) {
            result.error = error;
            result.ignored = 0;
            result.detail = line;
            return result;
        };
        const std::size_t colon = rest.find(':');
        if (colon == std::string_view::npos || colon == 0) {
            return refuse(HeadError::InvalidHeaderLine);
        }
        bool valid = true;
        for (const char c : rest.substr(0, colon)) {
            const auto byte = static_cast<unsigned char>(c);
            if (byte <= 0x20 || byte == 0x7f) {
                return refuse(HeadError::InvalidHeaderLine);
            }
            valid = valid && (is_alpha(c) || is_digit(c) || c == '-' ||
                              (c == '_' && rules.allow_underscores));
        }
        std::size_t stop = colon + 1;
        for (; stop < rest.size(); ++stop) {
            const auto byte = static_cast<unsigned char>(rest[stop]);
            const bool control = (byte < 0x20 && byte != '\t') || byte == 0x7f;
            if (control && (!rules.allow_controls || byte == '\r' || byte == '\n' || byte == 0)) {
                break;
            }
        }
        if (rest.substr(stop, 2) != "\r\n") {
            return refuse(HeadError::InvalidHeaderLine);
        }
        std::string_view value = rest.substr(colon + 1, stop - colon - 1);
        const std::size_t first = std::min(value.find_first_not_of(" \t"), value.size());
        value = value.substr(first, value.find_last_not_of(" \t") + 1 - first);
        at += stop + 2;
        if (stop + 2 > rules.max_line) {
            return refuse(HeadError::HeaderTooLong);
        }
        if (!valid && rules.drop_invalid_names) {
            if (result.ignored++ == 0) {
                result.detail = line;
            }
            continue;
        }
        if (result.kept.size() == rules.max_fields) {
            return refuse(HeadError::TooManyHeaders);
        }
        std::string lower(rest.substr(0, colon));
        for (char& c : lower) {
            c = ascii_lower(c);
        }
        const HeaderId id = header_id(lower);
        if (id != HeaderId::Other && rules.unique.contains(id) &&
            std::find(seen.begin(), seen.end(), lower) != seen.end()) {
            return refuse(id == HeaderId::Host ? HeadError::DuplicateHost
                                               : HeadError::DuplicateHeader);
        }
        seen.push_back(lower);
        result.kept.emplace_back(rest.substr(0, colon), value);
    }
    return result;
}

}  // namespace moongate::http::reference
