// ngx.re: what resty/core/regex binds, on PCRE2 with its JIT compiler. Lua passes PCRE1's option
// bits and reads the struct below, and scripts compare PCRE1's error numbers and words: both are
// translated. Match data and the JIT stack are the thread's. Source: lua-resty-core's regex.lua,
// pcre2api(3), pcreapi(3).
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "lua/ffi.h"
#include "lua/vm.h"

namespace moongate::lua {
void keep_ffi_regex() {}

namespace {

enum Mode : int { kDfa = 0x02, kJit = 0x04, kNoUtfCheck = 0x10 };

struct OptionPair {
    int pcre1;
    std::uint32_t pcre2;
};
constexpr OptionPair kOptions[] = {
    {0x0000001, PCRE2_CASELESS},
    {0x0000002, PCRE2_MULTILINE},
    {0x0000004, PCRE2_DOTALL},
    {0x0000008, PCRE2_EXTENDED},
    {0x0000010, PCRE2_ANCHORED},
    {0x0000800, PCRE2_UTF},
    {0x0080000, PCRE2_DUPNAMES},
    {0x2000000, PCRE2_ALT_BSUX | PCRE2_MATCH_UNSET_BACKREF | PCRE2_ALLOW_EMPTY_CLASS},
};

// What PCRE1 says where PCRE2 words it otherwise.
struct Words {
    int code;
    std::string_view pcre1;
};
constexpr Words kWords[] = {
    {109, "nothing to repeat"},
    {114, "missing )"},
    {118, "missing ) after comment"},
    {122, "unmatched parentheses"},
    {134, "character value in \\x{} or \\o{} is too large"},
    {137, "PCRE does not support \\L, \\l, \\N{name}, \\U, or \\u"},
    {138, "number after (?C is > 255"},
    {142, "syntax error in subpattern name (missing terminator)"},
    {143, "two named subpatterns have the same name"},
    {144, "group name must start with a non-digit"},
    {147, "unknown property name after \\P or \\p"},
    {158, "(?R or (?[+-]digits must be followed by )"},
};

std::string compile_error(int code) {
    for (const Words& words : kWords) {
        if (words.code == code) {
            return std::string(words.pcre1);
        }
    }
    PCRE2_UCHAR message[128];
    pcre2_get_error_message(code, message, sizeof(message));
    return reinterpret_cast<const char*>(message);
}

// The numbers of pcre_exec() for those of pcre2_match().
int match_error(int code) {
    if (code <= PCRE2_ERROR_UTF8_ERR1 && code >= PCRE2_ERROR_UTF8_ERR21) {
        return -10;  // PCRE_ERROR_BADUTF8
    }
    switch (code) {
        case PCRE2_ERROR_NOMATCH:
            return -1;
        case PCRE2_ERROR_PARTIAL:
            return -12;
        case PCRE2_ERROR_MATCHLIMIT:
            return -8;
        case PCRE2_ERROR_NOMEMORY:
            return -6;
        case PCRE2_ERROR_DEPTHLIMIT:
        case PCRE2_ERROR_HEAPLIMIT:
            return -21;  // PCRE_ERROR_RECURSIONLIMIT
        case PCRE2_ERROR_BADOFFSET:
            return -24;
        case PCRE2_ERROR_BADUTFOFFSET:
            return -11;
        case PCRE2_ERROR_RECURSELOOP:
            return -26;
        case PCRE2_ERROR_JIT_STACKLIMIT:
            return -27;
        case PCRE2_ERROR_BADOPTION:
            return -3;
        case PCRE2_ERROR_BADMAGIC:
            return -4;
        case PCRE2_ERROR_INTERNAL:
            return -14;
        case PCRE2_ERROR_DFA_UITEM:
            return -16;
        case PCRE2_ERROR_DFA_UCOND:
            return -17;
        case PCRE2_ERROR_DFA_WSSIZE:
            return -19;
        case PCRE2_ERROR_DFA_RECURSE:
            return -20;
        default:
            return code;
    }
}

// A piece of a replacement: literal text, or a capture.
struct Piece {
    std::string text;
    int capture = -1;
};

struct ComplexValue {  // ngx_http_lua_complex_value_t
    NgxStr value;
    void* lengths;  // not null: has captures
    void* values;
};

struct OwnedRegex;

struct Regex {  // ngx_http_lua_regex_t, and what Lua does not see
    void* pool;
    const unsigned char* name_table;
    int name_count;
    int name_entry_size;
    int ncaptures;
    int* captures;
    void* regex;
    void* regex_sd;
    ComplexValue* replace;
    const char* pattern;

    std::vector<int> offsets;
    std::string pattern_text;
    std::string literal;
    std::vector<Piece> pieces;
    ComplexValue replacement;
    int jit = 0;
    OwnedRegex* owner = nullptr;
};

struct OwnedRegex final : VmOwned {
    Regex regex{};
    ~OwnedRegex() override { pcre2_code_free(static_cast<pcre2_code*>(regex.regex)); }
};

struct Thread {
    pcre2_match_data* match = nullptr;
    std::uint32_t pairs = 0;
    pcre2_match_context* context = nullptr;
    pcre2_jit_stack* stack = nullptr;
    ~Thread() {
        pcre2_match_data_free(match);
        pcre2_match_context_free(context);
        pcre2_jit_stack_free(stack);
    }

    void set_stack(std::size_t bytes) {
        ready(1);
        pcre2_jit_stack_free(stack);
        stack = pcre2_jit_stack_create(32768, bytes, nullptr);
        pcre2_jit_stack_assign(context, nullptr, stack);
    }
    void ready(std::uint32_t wanted) {
        if (context == nullptr) {
            context = pcre2_match_context_create(nullptr);
            stack = pcre2_jit_stack_create(32768, 1024 * 1024, nullptr);
            pcre2_jit_stack_assign(context, nullptr, stack);
        }
        if (wanted > pairs) {
            pcre2_match_data_free(match);
            pairs = std::max<std::uint32_t>(wanted, 16);
            match = pcre2_match_data_create(pairs, nullptr);
        }
    }
};
thread_local Thread thread;

void report(unsigned char* to, std::size_t room, std::string_view text) {
    if (room == 0) {
        return;
    }
    const std::size_t size = std::min(text.size(), room - 1);
    std::memcpy(to, text.data(), size);
    to[size] = '\0';
}

}  // namespace
}  // namespace moongate::lua

using namespace moongate::lua;

MOONGATE_FFI const char* ngx_http_lua_ffi_pcre_version() {
    static const std::string version = [] {
        char text[64];
        pcre2_config(PCRE2_CONFIG_VERSION, text);
        return std::string(text);
    }();
    return version.c_str();
}

MOONGATE_FFI Regex* ngx_http_lua_ffi_compile_regex(const unsigned char* pattern, std::size_t size,
                                                   int flags, int options, unsigned char* error,
                                                   std::size_t error_size) {
    std::uint32_t bits = 0;
    for (const OptionPair& pair : kOptions) {
        if ((options & pair.pcre1) != 0) {
            bits |= pair.pcre2;
        }
    }
    if ((flags & kNoUtfCheck) != 0) {
        bits |= PCRE2_NO_UTF_CHECK;
    }
    int code = 0;
    std::size_t at = 0;
    pcre2_code* compiled = pcre2_compile(pattern, size, bits, &code, &at, nullptr);
    const std::string_view text(reinterpret_cast<const char*>(pattern), size);
    if (compiled == nullptr) {
        const std::string words = compile_error(code);
        report(error, error_size,
               at >= size ? fmt::format("pcre_compile() failed: {} in \"{}\"", words, text)
                          : fmt::format("pcre_compile() failed: {} in \"{}\" at \"{}\"", words,
                                        text, text.substr(at)));
        return nullptr;
    }
    auto* owner = new OwnedRegex();
    Regex* regex = &owner->regex;
    regex->owner = owner;
    regex->regex = compiled;
    if ((flags & kJit) != 0 && (flags & kDfa) == 0) {
        regex->jit = pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE) == 0 ? 1 : 0;
    }
    std::uint32_t groups = 0;
    std::uint32_t names = 0;
    std::uint32_t entry_size = 0;
    PCRE2_SPTR table = nullptr;
    pcre2_pattern_info(compiled, PCRE2_INFO_CAPTURECOUNT, &groups);
    pcre2_pattern_info(compiled, PCRE2_INFO_NAMECOUNT, &names);
    pcre2_pattern_info(compiled, PCRE2_INFO_NAMEENTRYSIZE, &entry_size);
    pcre2_pattern_info(compiled, PCRE2_INFO_NAMETABLE, &table);
    regex->ncaptures = (flags & kDfa) != 0 ? 0 : static_cast<int>(groups);
    regex->offsets.assign((groups + 1) * 3, -1);
    regex->captures = regex->offsets.data();
    regex->name_count = static_cast<int>(names);
    regex->name_entry_size = static_cast<int>(entry_size);
    regex->name_table = table;
    regex->pattern_text = text;
    regex->pattern = regex->pattern_text.c_str();
    return regex;
}

MOONGATE_FFI int ngx_http_lua_ffi_exec_regex(Regex* regex, int flags, const unsigned char* subject,
                                             std::size_t size, int position) {
    const auto* compiled = static_cast<const pcre2_code*>(regex->regex);
    thread.ready(static_cast<std::uint32_t>(regex->ncaptures) + 1);
    if (Vm* vm = Vm::current()) {
        const auto limit = static_cast<std::uint32_t>(vm->settings().regex_match_limit);
        pcre2_set_match_limit(thread.context, limit != 0 ? limit : 10000000);
    }
    const std::uint32_t options = (flags & kNoUtfCheck) != 0 ? PCRE2_NO_UTF_CHECK : 0;
    int result = 0;
    if ((flags & kDfa) != 0) {
        int workspace[100];
        result =
            pcre2_dfa_match(compiled, subject, size, static_cast<std::size_t>(position), options,
                            thread.match, thread.context, workspace, std::size(workspace));
    } else {
        result = pcre2_match(compiled, subject, size, static_cast<std::size_t>(position), options,
                             thread.match, thread.context);
    }
    if (result < 0) {
        return match_error(result);
    }
    const std::size_t* offsets = pcre2_get_ovector_pointer(thread.match);
    const std::uint32_t pairs = std::min<std::uint32_t>(
        pcre2_get_ovector_count(thread.match), static_cast<std::uint32_t>(regex->ncaptures) + 1);
    for (std::uint32_t i = 0; i < pairs; ++i) {
        const bool set = static_cast<int>(i) < result && offsets[2 * i] != PCRE2_UNSET;
        regex->captures[2 * i] = set ? static_cast<int>(offsets[2 * i]) : -1;
        regex->captures[2 * i + 1] = set ? static_cast<int>(offsets[2 * i + 1]) : -1;
    }
    return result;
}

MOONGATE_FFI void ngx_http_lua_ffi_destroy_regex(Regex* regex) {
    if (regex != nullptr) {
        delete regex->owner;
    }
}

namespace moongate::lua {
namespace {

int bad_template(const std::string& message) {
    if (Vm* vm = Vm::current()) {
        vm->log().write(LogLevel::Error, 0, message);
    }
    return kFfiError;
}

}  // namespace
}  // namespace moongate::lua

// "$1", "${1}", "$0" and "$$" in a replacement.
MOONGATE_FFI int ngx_http_lua_ffi_compile_replace_template(Regex* regex, const unsigned char* data,
                                                           std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    std::vector<Piece> pieces;
    std::string literal;
    for (std::size_t i = 0; i < text.size();) {
        if (text[i] != '$') {
            literal += text[i++];
            continue;
        }
        ++i;
        if (i < text.size() && text[i] == '$') {
            literal += '$';
            ++i;
            continue;
        }
        const bool braces = i < text.size() && text[i] == '{';
        const std::size_t first = i + (braces ? 1 : 0);
        const bool digits = first < text.size() && moongate::is_digit(text[first]);
        std::size_t at = first;
        int number = 0;
        for (; at < text.size(); ++at) {
            if (moongate::is_digit(text[at]) && digits) {
                constexpr int kTooMany = 100000;  // no pattern has so many groups
                number = std::min(number * 10 + (text[at] - '0'), kTooMany);
            } else if (digits || !(moongate::is_alpha(text[at]) || moongate::is_digit(text[at]) ||
                                   text[at] == '_')) {
                break;
            }
        }
        const std::string_view name = text.substr(std::min(first, text.size()), at - first);
        if (braces && first < text.size() && (at == text.size() || text[at] != '}')) {
            return bad_template(
                fmt::format("the closing bracket in \"{}\" variable is missing", name));
        }
        if (name.empty()) {
            return bad_template(
                fmt::format("lua script: invalid capturing variable name found in \"{}\"", text));
        }
        if (!digits) {
            return bad_template(
                fmt::format("attempt to use named capturing variable \"{}\" (named "
                            "captures not supported yet)",
                            name));
        }
        if (!literal.empty()) {
            pieces.push_back({std::exchange(literal, {}), -1});
        }
        pieces.push_back({{}, number});
        i = at + (braces ? 1 : 0);
    }
    if (pieces.empty()) {
        regex->literal = std::move(literal);
    } else if (!literal.empty()) {
        pieces.push_back({std::move(literal), -1});
    }
    regex->pieces = std::move(pieces);
    regex->replacement.value = {regex->literal.size(),
                                reinterpret_cast<unsigned char*>(regex->literal.data())};
    regex->replacement.lengths = regex->pieces.empty() ? nullptr : &regex->pieces;
    regex->replacement.values = regex->replacement.lengths;
    regex->replace = &regex->replacement;
    return kFfiOk;
}

namespace moongate::lua {
namespace {
struct ScriptEngine {
    const unsigned char* subject = nullptr;
    const Regex* regex = nullptr;
    int count = 0;

    std::string_view capture(int number) const {
        if (number >= count || number > regex->ncaptures || regex->captures[2 * number] < 0) {
            return {};
        }
        const int from = regex->captures[2 * number];
        return {reinterpret_cast<const char*>(subject) + from,
                static_cast<std::size_t>(regex->captures[2 * number + 1] - from)};
    }
};
}  // namespace
}  // namespace moongate::lua

MOONGATE_FFI ScriptEngine* ngx_http_lua_ffi_create_script_engine() {
    return new ScriptEngine();
}

MOONGATE_FFI void ngx_http_lua_ffi_init_script_engine(ScriptEngine* engine,
                                                      const unsigned char* subject, Regex* regex,
                                                      int count) {
    *engine = {subject, regex, count};
}

MOONGATE_FFI void ngx_http_lua_ffi_destroy_script_engine(ScriptEngine* engine) {
    delete engine;
}

MOONGATE_FFI std::size_t ngx_http_lua_ffi_script_eval_len(ScriptEngine* engine,
                                                          ComplexValue* value) {
    std::size_t size = 0;
    for (const Piece& piece : *static_cast<const std::vector<Piece>*>(value->lengths)) {
        size += piece.capture < 0 ? piece.text.size() : engine->capture(piece.capture).size();
    }
    return size;
}

MOONGATE_FFI std::size_t ngx_http_lua_ffi_script_eval_data(ScriptEngine* engine,
                                                           ComplexValue* value, unsigned char* to) {
    const unsigned char* const start = to;
    for (const Piece& piece : *static_cast<const std::vector<Piece>*>(value->values)) {
        const std::string_view text =
            piece.capture < 0 ? std::string_view(piece.text) : engine->capture(piece.capture);
        if (!text.empty()) {
            std::memcpy(to, text.data(), text.size());
            to += text.size();
        }
    }
    return static_cast<std::size_t>(to - start);
}

MOONGATE_FFI std::uint32_t ngx_http_lua_ffi_max_regex_cache_size() {
    const Vm* vm = Vm::current();
    return vm == nullptr ? 1024
                         : static_cast<std::uint32_t>(vm->settings().regex_cache_max_entries);
}

MOONGATE_FFI int ngx_http_lua_ffi_set_jit_stack_size(int size, unsigned char* error,
                                                     std::size_t* error_size) {
    constexpr int kSmallest = 32 * 1024;
    static_cast<void>(error);
    thread.set_stack(static_cast<std::size_t>(std::max(size, kSmallest)));
    *error_size = 0;
    return kFfiOk;
}
