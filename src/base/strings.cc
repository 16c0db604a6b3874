#include "base/strings.h"

#include <algorithm>
#include <cstring>

namespace moongate {

bool equals_ignore_case(std::string_view a, std::string_view b) {
    if (a.size() != b.size()) {
        return false;
    }
    std::size_t i = 0;
    for (; i + 8 <= a.size(); i += 8) {
        std::uint64_t x = 0;
        std::uint64_t y = 0;
        std::memcpy(&x, a.data() + i, 8);
        std::memcpy(&y, b.data() + i, 8);
        if (x == y) {
            continue;
        }
        // Texts that differ in more than the bit that tells upper from lower case are different.
        if (((x ^ y) & ~std::uint64_t{0x2020202020202020}) != 0) {
            return false;
        }
        for (std::size_t j = i; j < i + 8; ++j) {
            if (ascii_lower(a[j]) != ascii_lower(b[j])) {
                return false;
            }
        }
    }
    for (; i < a.size(); ++i) {
        if (ascii_lower(a[i]) != ascii_lower(b[i])) {
            return false;
        }
    }
    return true;
}

bool starts_with_ignore_case(std::string_view text, std::string_view prefix) {
    return text.size() >= prefix.size() &&
           equals_ignore_case(text.substr(0, prefix.size()), prefix);
}

std::size_t find_ignore_case(std::string_view text, std::string_view needle) {
    const auto at = std::search(text.begin(), text.end(), needle.begin(), needle.end(),
                                [](char a, char b) { return ascii_lower(a) == ascii_lower(b); });
    return at == text.end() && !needle.empty() ? std::string_view::npos
                                               : static_cast<std::size_t>(at - text.begin());
}

std::string to_lower(std::string_view text) {
    std::string lower(text);
    lower_in_place(lower.data(), lower.size());
    return lower;
}

void lower_in_place(char* text, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i) {
        text[i] = ascii_lower(text[i]);
    }
}

std::string_view trim(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) {
        text.remove_prefix(1);
    }
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) {
        text.remove_suffix(1);
    }
    return text;
}

std::uint32_t hash_ignore_case(std::string_view text) {
    std::uint32_t hash = 2166136261U;  // FNV-1a
    for (char c : text) {
        hash = (hash ^ static_cast<unsigned char>(ascii_lower(c))) * 16777619U;
    }
    return hash;
}

}  // namespace moongate
