#include "conf/lua_block.h"

#include <fmt/format.h>

namespace moongate::conf {
namespace {

constexpr std::string_view kNoEnd =
    "unexpected end of file, expecting terminating characters for lua code block";

class Scanner {
public:
    Scanner(std::string_view text, unsigned line) : text_(text), line_(line), brace_line_(line) {}

    LuaBlockEnd run() {
        unsigned depth = 1;
        while (at_ < text_.size()) {
            const char c = text_[at_];
            if (c == '{') {
                ++depth;
                brace_line_ = line_;
            } else if (c == '}' && --depth == 0) {
                return {true, at_, line_, {}};
            } else if (c == '"' || c == '\'') {
                skip_string(c);
                continue;
            } else if (c == '-' && peek(1) == '-') {
                at_ += 2;
                if (bracket_level() < 0) {
                    skip_line();
                    continue;
                }
            }
            if (const int level = bracket_level(); level >= 0) {
                if (!skip_bracket(static_cast<std::size_t>(level))) {
                    return failed(
                        fmt::format("Lua code block missing the closing long bracket \"]{}]\", "
                                    "the inlined Lua code may be too long",
                                    std::string(static_cast<std::size_t>(level), '=')),
                        line_);
                }
                continue;
            }
            line_ += text_[at_] == '\n';
            ++at_;
        }
        return failed(kNoEnd, brace_line_);
    }

private:
    static LuaBlockEnd failed(std::string_view message, unsigned line) {
        return {false, 0, line, std::string(message)};
    }

    char peek(std::size_t ahead) const {
        return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
    }

    // N for `[` N times `=` `[` here, or -1.
    int bracket_level() const {
        if (peek(0) != '[') {
            return -1;
        }
        std::size_t level = 0;
        while (peek(1 + level) == '=') {
            ++level;
        }
        return peek(1 + level) == '[' ? static_cast<int>(level) : -1;
    }

    bool skip_bracket(std::size_t level) {
        const std::string close = "]" + std::string(level, '=') + "]";
        const std::size_t end = text_.find(close, at_ + level + 2);
        if (end == std::string_view::npos) {
            return false;
        }
        advance_to(end + close.size());
        return true;
    }

    // A quote without its partner on the same line is not a string, as in ngx_lua's lexer; Lua
    // itself will complain.
    void skip_string(char quote) {
        for (std::size_t i = at_ + 1; i < text_.size() && text_[i] != '\n'; ++i) {
            if (text_[i] == '\\') {
                ++i;
            } else if (text_[i] == quote) {
                advance_to(i + 1);
                return;
            }
        }
        ++at_;
    }

    void skip_line() {
        const std::size_t end = text_.find('\n', at_);
        advance_to(end == std::string_view::npos ? text_.size() : end);
    }

    void advance_to(std::size_t to) {
        for (; at_ < to; ++at_) {
            line_ += text_[at_] == '\n';
        }
    }

    std::string_view text_;
    std::size_t at_ = 0;
    unsigned line_;
    unsigned brace_line_;  // of the last '{': what ngx_lua names when the end is missing
};

}  // namespace

LuaBlockEnd find_lua_block_end(std::string_view text, unsigned line) {
    return Scanner(text, line).run();
}

}  // namespace moongate::conf
