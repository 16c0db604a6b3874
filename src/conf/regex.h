// PCRE2 with its JIT compiler. A Regex is immutable and shared by all workers; match data and the
// JIT stack are per thread and hidden here. BoundRegex adds what nginx's ngx_http_regex_t adds:
// named groups that are variables.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "conf/error.h"
#include "conf/variables.h"

namespace moongate::conf {

enum class RegexFlags : std::uint16_t {
    None = 0,
    Caseless = 1,
    Multiline = 2,
    DotAll = 4,
    Extended = 8,
    Utf = 16,
    NoUtfCheck = 32,
    Anchored = 64,
    DollarEndOnly = 128,
    DuplicateNames = 256,
    NoJit = 512,
};
constexpr RegexFlags operator|(RegexFlags a, RegexFlags b) {
    return static_cast<RegexFlags>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr bool has(RegexFlags flags, RegexFlags bit) {
    return (static_cast<unsigned>(flags) & static_cast<unsigned>(bit)) != 0;
}

class Regex {
public:
    // The default bound on PCRE2's match() calls: ends catastrophic patterns in well under a
    // second.
    static constexpr std::uint32_t kMatchLimit = 1000000;

    Regex() = default;
    // nginx's message: `pcre2_compile() failed: WHY in "PATTERN" at "REST"`.
    static Expected<Regex> compile(std::string_view pattern, RegexFlags flags = RegexFlags::None,
                                   std::uint32_t match_limit = kMatchLimit);

    explicit operator bool() const { return code_ != nullptr; }
    // Fills `offsets` with a pair a group, the whole match first, as many as fit; groups that took
    // no part get Captures::kUnset. Returns how many pairs fit, at least 1; 0 for no match; or
    // PCRE2's negative error code (a limit was hit, bad UTF). `subject` must be under 4 GiB.
    int match(std::string_view subject, std::span<std::uint32_t> offsets,
              std::size_t start = 0) const;
    bool matches(std::string_view subject) const { return match(subject, {}) > 0; }

    // Groups, without the whole match.
    std::uint32_t group_count() const;
    struct NamedGroup {
        std::string name;
        std::uint32_t group;
    };
    std::span<const NamedGroup> named_groups() const;
    std::string_view pattern() const;
    bool has_jit() const;

    // PCRE2's words for a negative result of match().
    static std::string error_text(int code);

private:
    struct Code;
    std::shared_ptr<const Code> code_;
};

// A regular expression of the configuration (location, server_name, rewrite, if, map).
class BoundRegex {
public:
    // Named groups become changeable variables of `variables`.
    static Expected<BoundRegex> compile(std::string_view pattern, RegexFlags flags,
                                        VariableTable& variables);

    explicit operator bool() const { return static_cast<bool>(regex_); }
    const Regex& regex() const { return regex_; }
    // On a match sets $0 to $N and the named variables of `source`; `subject` must live as long as
    // its arena. 1 match, 0 none, negative: see Regex::match. Nothing changes without a match.
    int match(VariableSource& source, std::string_view subject) const;

private:
    struct Named {
        std::uint32_t group;
        int variable;
    };
    Regex regex_;
    std::vector<Named> named_;
};

}  // namespace moongate::conf
