#define PCRE2_CODE_UNIT_WIDTH 8
#include "conf/regex.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <new>

namespace moongate::conf {
namespace {

constexpr std::size_t kJitStackStart = 32 * 1024;
constexpr std::size_t kJitStackMax = 512 * 1024;
// Pairs that a match needs no arena for until it succeeds.
constexpr std::size_t kStackPairs = 32;

// One a thread: PCRE2's match data cannot be shared, and growing it is rare.
struct ThreadState {
    pcre2_match_context* context = pcre2_match_context_create(nullptr);
    pcre2_jit_stack* stack = pcre2_jit_stack_create(kJitStackStart, kJitStackMax, nullptr);
    pcre2_match_data* data = nullptr;
    std::uint32_t pairs = 0;

    ThreadState() {
        if (context == nullptr) {
            throw std::bad_alloc();
        }
        if (stack != nullptr) {
            pcre2_jit_stack_assign(context, nullptr, stack);
        }
    }
    ThreadState(const ThreadState&) = delete;
    ThreadState& operator=(const ThreadState&) = delete;
    ~ThreadState() {
        pcre2_match_data_free(data);
        pcre2_jit_stack_free(stack);
        pcre2_match_context_free(context);
    }

    pcre2_match_data* data_for(std::uint32_t wanted) {
        if (wanted > pairs) {
            pcre2_match_data_free(data);
            pairs = std::max<std::uint32_t>(wanted, 16);
            data = pcre2_match_data_create(pairs, nullptr);
            if (data == nullptr) {
                throw std::bad_alloc();
            }
        }
        return data;
    }
};

ThreadState& thread_state() {
    thread_local ThreadState state;
    return state;
}

std::uint32_t compile_options(RegexFlags flags) {
    constexpr std::pair<RegexFlags, std::uint32_t> kOptions[] = {
        {RegexFlags::Caseless, PCRE2_CASELESS},
        {RegexFlags::Multiline, PCRE2_MULTILINE},
        {RegexFlags::DotAll, PCRE2_DOTALL},
        {RegexFlags::Extended, PCRE2_EXTENDED},
        {RegexFlags::Utf, PCRE2_UTF},
        {RegexFlags::NoUtfCheck, PCRE2_NO_UTF_CHECK},
        {RegexFlags::Anchored, PCRE2_ANCHORED},
        {RegexFlags::DollarEndOnly, PCRE2_DOLLAR_ENDONLY},
        {RegexFlags::DuplicateNames, PCRE2_DUPNAMES},
    };
    std::uint32_t options = 0;
    for (const auto& [flag, option] : kOptions) {
        if (has(flags, flag)) {
            options |= option;
        }
    }
    return options;
}

}  // namespace

struct Regex::Code {
    pcre2_code* code = nullptr;
    std::string pattern;
    std::vector<NamedGroup> names;
    std::uint32_t groups = 0;
    std::uint32_t match_limit = 0;
    bool jit = false;

    Code() = default;
    Code(const Code&) = delete;
    Code& operator=(const Code&) = delete;
    ~Code() { pcre2_code_free(code); }

    void read_names() {
        std::uint32_t count = 0;
        std::uint32_t entry_bytes = 0;
        PCRE2_SPTR table = nullptr;
        pcre2_pattern_info(code, PCRE2_INFO_NAMECOUNT, &count);
        pcre2_pattern_info(code, PCRE2_INFO_NAMEENTRYSIZE, &entry_bytes);
        pcre2_pattern_info(code, PCRE2_INFO_NAMETABLE, &table);
        for (std::uint32_t i = 0; i < count; ++i, table += entry_bytes) {
            const std::uint32_t group = static_cast<std::uint32_t>(table[0]) << 8 | table[1];
            names.push_back({reinterpret_cast<const char*>(table + 2), group});
        }
    }
};

Expected<Regex> Regex::compile(std::string_view pattern, RegexFlags flags,
                               std::uint32_t match_limit) {
    auto made = std::make_shared<Code>();
    made->pattern = std::string(pattern);
    made->match_limit = match_limit;
    int error = 0;
    PCRE2_SIZE at = 0;
    made->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(made->pattern.data()),
                               made->pattern.size(), compile_options(flags), &error, &at, nullptr);
    if (made->code == nullptr) {
        std::string message =
            fmt::format("pcre2_compile() failed: {} in \"{}\"", error_text(error), made->pattern);
        if (at < made->pattern.size()) {
            message += fmt::format(" at \"{}\"", made->pattern.substr(at));
        }
        return reject(std::move(message));
    }
    made->jit =
        !has(flags, RegexFlags::NoJit) && pcre2_jit_compile(made->code, PCRE2_JIT_COMPLETE) == 0;
    pcre2_pattern_info(made->code, PCRE2_INFO_CAPTURECOUNT, &made->groups);
    made->read_names();
    Regex regex;
    regex.code_ = std::move(made);
    return regex;
}

int Regex::match(std::string_view subject, std::span<std::uint32_t> offsets,
                 std::size_t start) const {
    if (subject.size() >= Captures::kUnset) {
        return PCRE2_ERROR_BADOFFSET;
    }
    ThreadState& state = thread_state();
    pcre2_match_data* data = state.data_for(code_->groups + 1);
    pcre2_set_match_limit(state.context, code_->match_limit);
    const char* text = subject.data() == nullptr ? "" : subject.data();
    const int rc = pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text), subject.size(),
                               start, 0, data, state.context);
    if (rc < 0) {
        return rc == PCRE2_ERROR_NOMATCH ? 0 : rc;
    }
    // Groups above the highest one that matched are PCRE2_UNSET, too.
    const std::size_t pairs = std::min<std::size_t>(code_->groups + 1, offsets.size() / 2);
    const PCRE2_SIZE* found = pcre2_get_ovector_pointer(data);
    for (std::size_t i = 0; i < pairs * 2; ++i) {
        offsets[i] =
            found[i] == PCRE2_UNSET ? Captures::kUnset : static_cast<std::uint32_t>(found[i]);
    }
    return std::max(1, static_cast<int>(pairs));
}

std::uint32_t Regex::group_count() const {
    return code_->groups;
}
std::span<const Regex::NamedGroup> Regex::named_groups() const {
    return code_->names;
}
std::string_view Regex::pattern() const {
    return code_->pattern;
}
bool Regex::has_jit() const {
    return code_->jit;
}

std::string Regex::error_text(int code) {
    PCRE2_UCHAR text[128];
    if (pcre2_get_error_message(code, text, sizeof(text)) < 0) {
        return fmt::format("error {}", code);
    }
    return reinterpret_cast<const char*>(text);
}

Expected<BoundRegex> BoundRegex::compile(std::string_view pattern, RegexFlags flags,
                                         VariableTable& variables) {
    auto regex = Regex::compile(pattern, flags);
    if (!regex) {
        return std::unexpected(std::move(regex.error()));
    }
    BoundRegex bound;
    for (const auto& [name, group] : regex->named_groups()) {
        if (auto defined = variables.define(name, VariableFlags::Changeable); !defined) {
            return std::unexpected(std::move(defined.error()));
        }
        bound.named_.push_back({group, variables.index(name)});
    }
    bound.regex_ = std::move(*regex);
    return bound;
}

int BoundRegex::match(VariableSource& source, std::string_view subject) const {
    const std::uint32_t pairs = regex_.group_count() + 1;
    std::array<std::uint32_t, kStackPairs * 2> few;
    const std::span<std::uint32_t> offsets =
        pairs <= kStackPairs ? std::span(few).first(pairs * 2)
                             : source.arena().make_array<std::uint32_t>(std::size_t{pairs} * 2);
    const int rc = regex_.match(subject, offsets);
    if (rc <= 0) {
        return rc;
    }
    std::span<std::uint32_t> kept = offsets;
    if (pairs <= kStackPairs) {
        kept = source.arena().make_array<std::uint32_t>(offsets.size());
        std::ranges::copy(offsets, kept.begin());
    }
    source.set_captures({subject.data(), kept.data(), pairs});
    for (const Named& named : named_) {
        source.store(named.variable, source.capture(named.group));
    }
    return 1;
}

}  // namespace moongate::conf
