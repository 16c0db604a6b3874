// Searching for the byte that ends a token, 16 bytes a step where the machine has SSE2. Private to
// src/http. None reads outside [floor, end). Any thread.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace moongate::http::scan {

enum : std::uint8_t {
    kName = 1,           // A-Z a-z 0-9 -
    kToken = 2,          // tchar of RFC 9110 §5.6.2
    kNameCandidate = 4,  // what nginx takes into a header name: no control, space, DEL or colon
    kTargetEnd = 8,      // control, space, DEL
    kControl = 16,       // control but tab, DEL
};

inline constexpr std::array<std::uint8_t, 256> kClass = [] {
    std::array<std::uint8_t, 256> classes{};
    for (unsigned c = 0; c < 256; ++c) {
        const bool alnum =
            (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z' && c < 0x80);
        std::uint8_t bits = 0;
        if (alnum || c == '-') {
            bits |= kName;
        }
        bool token = alnum;
        for (char t :
             {'!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~'}) {
            token = token || c == static_cast<unsigned>(t);
        }
        if (token) {
            bits |= kToken;
        }
        if (c > 0x20 && c != 0x7f && c != ':') {
            bits |= kNameCandidate;
        }
        if (c <= 0x20 || c == 0x7f) {
            bits |= kTargetEnd;
        }
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            bits |= kControl;
        }
        classes[c] = bits;
    }
    return classes;
}();

inline bool is(char c, std::uint8_t bits) {
    return (kClass[static_cast<unsigned char>(c)] & bits) != 0;
}

#if defined(__SSE2__)
inline __m128i load16(const char* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
// `bytes` ≤ 16 of them, the rest zero.
inline __m128i load_some(const char* p, std::size_t bytes) {
    if (bytes == 16) {
        return load16(p);
    }
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    if (bytes >= 8) {
        std::memcpy(&low, p, 8);
        std::memcpy(&high, p + bytes - 8, 8);
        high = high >> (8 * (15 - bytes)) >> 8;
    } else if (bytes >= 4) {
        std::uint32_t first = 0;
        std::uint32_t last = 0;
        std::memcpy(&first, p, 4);
        std::memcpy(&last, p + bytes - 4, 4);
        low = first | std::uint64_t{last} << (8 * (bytes - 4));
    } else {
        for (std::size_t i = 0; i < bytes; ++i) {
            low |= std::uint64_t{static_cast<unsigned char>(p[i])} << (8 * i);
        }
    }
    return _mm_set_epi64x(static_cast<long long>(high), static_cast<long long>(low));
}
inline __m128i at_most(__m128i bytes, char limit) {  // unsigned
    return _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(limit)), bytes);
}
inline __m128i equal(__m128i bytes, char c) {
    return _mm_cmpeq_epi8(bytes, _mm_set1_epi8(c));
}
inline unsigned mask(__m128i bytes) {
    return static_cast<unsigned>(_mm_movemask_epi8(bytes));
}
#endif

#if defined(__SSE2__)
inline __m128i name_bytes(__m128i bytes) {
    const __m128i lower = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
    const __m128i alpha = at_most(_mm_sub_epi8(lower, _mm_set1_epi8('a')), 25);
    const __m128i digit = at_most(_mm_sub_epi8(bytes, _mm_set1_epi8('0')), 9);
    return _mm_or_si128(_mm_or_si128(alpha, digit), equal(bytes, '-'));
}
inline __m128i controls(__m128i bytes) {
    return _mm_or_si128(_mm_andnot_si128(equal(bytes, '\t'), at_most(bytes, 0x1f)),
                        equal(bytes, 0x7f));
}
inline __m128i target_ends(__m128i bytes) {
    return _mm_or_si128(at_most(bytes, 0x20), equal(bytes, 0x7f));
}

// The first byte of [p, end) whose bit `hits` sets in the mask of its 16 bytes. The last bytes are
// read together with those before them, back to `floor`: heads are short, and a byte at a time
// there would be most of the work.
template <class Hits>
inline const char* find(const char* p, const char* end, const char* floor, Hits hits) {
    for (; end - p >= 16; p += 16) {
        const unsigned found = hits(load16(p));
        if (found != 0) {
            return p + std::countr_zero(found);
        }
    }
    if (p == end) {
        return end;
    }
    if (end - floor >= 16) {
        const unsigned found = hits(load16(end - 16)) >> (16 - (end - p));
        return found != 0 ? p + std::countr_zero(found) : end;
    }
    const unsigned inside = (1U << (end - p)) - 1;
    const unsigned found = hits(load_some(p, static_cast<std::size_t>(end - p))) & inside;
    return found != 0 ? p + std::countr_zero(found) : end;
}

// All of these: `floor` is the first byte that may be read, p or before it.

// The first byte that is not of kName.
inline const char* name_end(const char* p, const char* end, const char* floor) {
    return find(p, end, floor, [](__m128i bytes) { return mask(name_bytes(bytes)) ^ 0xffffU; });
}
// The first byte of kControl.
inline const char* find_control(const char* p, const char* end, const char* floor) {
    return find(p, end, floor, [](__m128i bytes) { return mask(controls(bytes)); });
}
// The first byte of kTargetEnd.
inline const char* target_end(const char* p, const char* end, const char* floor) {
    return find(p, end, floor, [](__m128i bytes) { return mask(target_ends(bytes)); });
}

#else

inline const char* find(const char* p, const char* end, std::uint8_t bits, bool wanted) {
    while (p != end && is(*p, bits) != wanted) {
        ++p;
    }
    return p;
}
inline const char* name_end(const char* p, const char* end, const char*) {
    return find(p, end, kName, false);
}
inline const char* find_control(const char* p, const char* end, const char*) {
    return find(p, end, kControl, true);
}
inline const char* target_end(const char* p, const char* end, const char*) {
    return find(p, end, kTargetEnd, true);
}

#endif

}  // namespace moongate::http::scan
