// cjson.decode: a recursive parser over bytes that a NUL follows. What it accepts beyond RFC 8259
// is what lua-cjson accepts (control characters in strings; hexadecimal, NaN and infinity where
// decode_invalid_numbers allows them), and its errors have lua-cjson's texts and positions.
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "lua/cjson.h"

namespace moongate::lua {
namespace {

enum class Token : std::uint8_t {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String,
    Number,
    Boolean,
    Null,
    Colon,
    Comma,
    End,
    Error,
};
constexpr const char* kTokenNames[] = {"T_OBJ_BEGIN", "T_OBJ_END", "T_ARR_BEGIN", "T_ARR_END",
                                       "T_STRING",    "T_NUMBER",  "T_BOOLEAN",   "T_NULL",
                                       "T_COLON",     "T_COMMA",   "T_END",       "T_ERROR"};

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

class Decoder {
public:
    Decoder(lua_State* L, CjsonSettings& settings, std::string_view text)
        : L_(L), settings_(settings), text_(text.data()), at_(text.data()) {}

    void run() {
        next();
        value();
        next();
        if (token_ != Token::End) {
            fail("the end");
        }
    }

private:
    [[noreturn]] void fail(const char* expected) const {
        luaL_error(L_, "Expected %s but found %s at character %d", expected,
                   token_ == Token::Error ? problem_ : kTokenNames[static_cast<int>(token_)],
                   static_cast<int>(where_ - text_) + 1);
        __builtin_unreachable();
    }

    void error(const char* problem) {
        token_ = Token::Error;
        problem_ = problem;
        where_ = at_;
    }
    void take(Token token, std::size_t bytes) {
        token_ = token;
        at_ += bytes;
    }

    void next() {
        while (*at_ == ' ' || *at_ == '\n' || *at_ == '\t' || *at_ == '\r') {
            ++at_;
        }
        where_ = at_;
        switch (*at_) {
            case '{':
                return take(Token::ObjectBegin, 1);
            case '}':
                return take(Token::ObjectEnd, 1);
            case '[':
                return take(Token::ArrayBegin, 1);
            case ']':
                return take(Token::ArrayEnd, 1);
            case ':':
                return take(Token::Colon, 1);
            case ',':
                return take(Token::Comma, 1);
            case '\0':
                token_ = Token::End;
                return;
            case '"':
                return string();
            case '-':
            case '0':
            case '1':
            case '2':
            case '3':
            case '4':
            case '5':
            case '6':
            case '7':
            case '8':
            case '9':
                if (settings_.decode_invalid_numbers == 0 && is_invalid_number()) {
                    return error("invalid number");
                }
                return number();
            default:
                return word();
        }
    }

    void word() {
        if (std::strncmp(at_, "true", 4) == 0) {
            boolean_ = true;
            take(Token::Boolean, 4);
        } else if (std::strncmp(at_, "false", 5) == 0) {
            boolean_ = false;
            take(Token::Boolean, 5);
        } else if (std::strncmp(at_, "null", 4) == 0) {
            take(Token::Null, 4);
        } else if (std::strchr("iInN+", *at_) != nullptr && settings_.decode_invalid_numbers != 0 &&
                   is_invalid_number()) {
            number();
        } else {
            error("invalid token");
        }
    }

    // Numbers that strtod() takes and JSON does not have.
    bool is_invalid_number() const {
        const char* p = at_;
        if (*p == '+') {
            return true;
        }
        if (*p == '-') {
            ++p;
        }
        if (*p == '0') {
            return (p[1] | 0x20) == 'x' || is_digit(p[1]);
        }
        if (*p <= '9') {
            return false;
        }
        return ::strncasecmp(p, "inf", 3) == 0 || ::strncasecmp(p, "nan", 3) == 0;
    }

    void number() {
        const char* digits = at_ + (*at_ == '-' ? 1 : 0);
        if (is_digit(*digits) && (digits[1] | 0x20) != 'x') [[likely]] {
            // No longer than what may stand in a number, so that the end of the text is not needed.
            const char* end = digits;
            while (is_digit(*end) || *end == '.' || (*end | 0x20) == 'e' || *end == '+' ||
                   *end == '-') {
                ++end;
            }
            const auto [stop, problem] = std::from_chars(at_, end, number_);
            if (problem == std::errc()) {
                return take(Token::Number, static_cast<std::size_t>(stop - at_));
            }
        }
        char* stop = nullptr;
        number_ = std::strtod(at_, &stop);
        if (stop == at_) {
            return error("invalid number");
        }
        take(Token::Number, static_cast<std::size_t>(stop - at_));
    }

    static int hex4(const char* p) {
        int value = 0;
        for (int i = 0; i < 4; ++i) {
            const char c = p[i];
            const int digit = is_digit(c)              ? c - '0'
                              : (c >= 'a' && c <= 'f') ? c - 'a' + 10
                              : (c >= 'A' && c <= 'F') ? c - 'A' + 10
                                                       : -1;
            if (digit < 0) {
                return -1;
            }
            value = value * 16 + digit;
        }
        return value;
    }

    static void append_utf8(std::string& to, unsigned code) {
        const auto byte = [&to](unsigned value) { to += static_cast<char>(value); };
        if (code < 0x80) {
            byte(code);
            return;
        }
        if (code < 0x800) {
            byte(0xc0 | code >> 6);
        } else {
            if (code < 0x10000) {
                byte(0xe0 | code >> 12);
            } else {
                byte(0xf0 | code >> 18);
                byte(0x80 | (code >> 12 & 0x3f));
            }
            byte(0x80 | (code >> 6 & 0x3f));
        }
        byte(0x80 | (code & 0x3f));
    }

    // at_ is at the backslash of \uXXXX. False: it is none, or half a pair.
    bool unicode_escape() {
        int code = hex4(at_ + 2);
        if (code < 0) {
            return false;
        }
        std::size_t size = 6;
        if ((code & 0xf800) == 0xd800) {
            if ((code & 0x400) != 0 || at_[6] != '\\' || at_[7] != 'u') {
                return false;
            }
            const int low = hex4(at_ + 8);
            if (low < 0 || (low & 0xfc00) != 0xdc00) {
                return false;
            }
            code = (((code & 0x3ff) << 10) | (low & 0x3ff)) + 0x10000;
            size = 12;
        }
        append_utf8(settings_.buffer, static_cast<unsigned>(code));
        at_ += size;
        return true;
    }

    static char unescaped(char c) {
        switch (c) {
            case '"':
            case '\\':
            case '/':
                return c;
            case 'b':
                return '\b';
            case 'f':
                return '\f';
            case 'n':
                return '\n';
            case 'r':
                return '\r';
            case 't':
                return '\t';
            default:
                return '\0';
        }
    }

    void string() {
        ++at_;
        const char* from = at_;
        while (*at_ != '"' && *at_ != '\\' && *at_ != '\0') {
            ++at_;
        }
        string_ = {from, static_cast<std::size_t>(at_ - from)};
        if (*at_ == '"') [[likely]] {
            return take(Token::String, 1);
        }
        std::string& buffer = settings_.buffer;
        buffer.assign(string_);
        while (*at_ != '"') {
            if (*at_ == '\0') {
                return error("unexpected end of string");
            }
            if (*at_ != '\\') {
                buffer += *at_++;
            } else if (at_[1] == 'u') {
                if (!unicode_escape()) {
                    return error("invalid unicode escape code");
                }
            } else if (const char c = unescaped(at_[1]); c != '\0') {
                buffer += c;
                at_ += 2;
            } else {
                return error("invalid escape code");
            }
        }
        string_ = buffer;
        take(Token::String, 1);
    }

    void value() {
        switch (token_) {
            case Token::String:
                lua_pushlstring(L_, string_.data(), string_.size());
                break;
            case Token::Number:
                lua_pushnumber(L_, number_);
                break;
            case Token::Boolean:
                lua_pushboolean(L_, boolean_ ? 1 : 0);
                break;
            case Token::Null:
                lua_pushlightuserdata(L_, nullptr);
                break;
            case Token::ObjectBegin:
                object();
                break;
            case Token::ArrayBegin:
                array();
                break;
            default:
                fail("value");
        }
    }

    void descend() {
        if (++depth_ > settings_.decode_max_depth || lua_checkstack(L_, 4) == 0) {
            luaL_error(L_, "Found too many nested data structures (%d) at character %d", depth_,
                       static_cast<int>(at_ - text_));
        }
    }

    void object() {
        descend();
        lua_newtable(L_);
        next();
        if (token_ != Token::ObjectEnd) {
            for (;;) {
                if (token_ != Token::String) {
                    fail("object key string");
                }
                lua_pushlstring(L_, string_.data(), string_.size());
                next();
                if (token_ != Token::Colon) {
                    fail("colon");
                }
                next();
                value();
                lua_rawset(L_, -3);
                next();
                if (token_ == Token::ObjectEnd) {
                    break;
                }
                if (token_ != Token::Comma) {
                    fail("comma or object end");
                }
                next();
            }
        }
        --depth_;
    }

    void array() {
        descend();
        lua_newtable(L_);
        if (settings_.decode_array_with_array_mt != 0) {
            lua_pushlightuserdata(L_, const_cast<void*>(cjson_array_key()));
            lua_rawget(L_, LUA_REGISTRYINDEX);
            lua_setmetatable(L_, -2);
        }
        next();
        for (int i = 1; token_ != Token::ArrayEnd || i > 1; ++i) {
            value();
            lua_rawseti(L_, -2, i);
            next();
            if (token_ == Token::ArrayEnd) {
                break;
            }
            if (token_ != Token::Comma) {
                fail("comma or array end");
            }
            next();
        }
        --depth_;
    }

    lua_State* L_;
    CjsonSettings& settings_;
    const char* const text_;
    const char* at_;
    const char* where_ = nullptr;  // of the current token
    Token token_ = Token::End;
    const char* problem_ = nullptr;
    std::string_view string_;
    double number_ = 0;
    bool boolean_ = false;
    int depth_ = 0;
};

}  // namespace

void cjson_decode(lua_State* L, CjsonSettings& settings, std::string_view text) {
    if (text.size() >= 2 && (text[0] == '\0' || text[1] == '\0')) {
        luaL_error(L, "JSON parser does not support UTF-16 or UTF-32");
    }
    Decoder(L, settings, text).run();
}

}  // namespace moongate::lua
