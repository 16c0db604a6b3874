// Functions of nginx's core and of ngx_lua's own C interface that Lua libraries declare with
// ffi.cdef: numbers, times, hexadecimal text and values of shared dictionaries. Their meaning is
// that of src/core/ngx_string.c, ngx_parse.c and of ngx_http_lua_api.h. Any thread with a VM.
#include <limits>

#include "conf/values.h"
#include "engine/snapshot.h"
#include "lua/api.h"
#include "lua/ffi.h"
#include "lua/shared_dict.h"
#include "lua/vm.h"

using namespace moongate::lua;

namespace moongate::lua {
void keep_ffi_core() {}
}  // namespace moongate::lua

namespace {

std::string_view view(const unsigned char* data, std::size_t size) {
    return {reinterpret_cast<const char*>(data), data == nullptr ? 0 : size};
}

int hex_digit(unsigned char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

struct ApiValue {  // ngx_http_lua_value_t
    std::uint8_t type;
    union {
        int boolean;
        double number;
        NgxStr text;
    } value;
};

}  // namespace

MOONGATE_FFI std::intptr_t ngx_atoi(const unsigned char* text, std::size_t size) {
    return moongate::conf::parse_integer(view(text, size)).value_or(kFfiError);
}

MOONGATE_FFI std::intptr_t ngx_hextoi(const unsigned char* text, std::size_t size) {
    if (text == nullptr || size == 0) {
        return kFfiError;
    }
    std::intptr_t value = 0;
    for (; size-- > 0; ++text) {
        const int digit = hex_digit(*text);
        if (digit < 0 || value > (std::numeric_limits<std::intptr_t>::max() - digit) / 16) {
            return kFfiError;
        }
        value = value * 16 + digit;
    }
    return value;
}

// Writes two digits a byte; returns the end of what it wrote.
MOONGATE_FFI unsigned char* ngx_hex_dump(unsigned char* to, const unsigned char* from,
                                         std::size_t size) {
    static constexpr char kDigits[] = "0123456789abcdef";
    for (; size > 0; --size, ++from) {
        *to++ = static_cast<unsigned char>(kDigits[*from >> 4]);
        *to++ = static_cast<unsigned char>(kDigits[*from & 15]);
    }
    return to;
}

MOONGATE_FFI std::intptr_t ngx_parse_time(const NgxStr* text, std::uintptr_t in_seconds) {
    const std::string_view line = view(text->data, text->len);
    return (in_seconds != 0 ? moongate::conf::parse_seconds(line)
                            : moongate::conf::parse_msec(line))
        .value_or(kFfiError);
}

MOONGATE_FFI void* ngx_http_lua_find_zone(const unsigned char* name, std::size_t size) {
    const Vm* vm = Vm::current();
    const SharedDicts* dicts = vm == nullptr ? nullptr : vm->snapshot().get<SharedDicts>();
    if (dicts == nullptr) {
        return nullptr;
    }
    for (const std::shared_ptr<SharedDict>& dict : *dicts) {
        if (dict->name() == view(name, size)) {
            return dict.get();
        }
    }
    return nullptr;
}

// A string goes to the caller's buffer, cut to its length.
MOONGATE_FFI std::intptr_t ngx_http_lua_shared_dict_get(SharedDict* dict, const unsigned char* key,
                                                        std::size_t key_size, ApiValue* to) {
    constexpr int kExpired = kFfiDone;
    if (dict == nullptr) {
        return kFfiError;
    }
    char room[256];
    const SharedDict::Got got = dict->get(view(key, key_size), room, sizeof(room), true);
    const std::unique_ptr<char, decltype(&std::free)> large(
        got.text != nullptr && got.text != room ? got.text : nullptr, std::free);
    if (got.stale) {
        return kExpired;
    }
    switch (got.type) {
        case DictType::Nil:
            return kFfiDeclined;
        case DictType::Boolean:
            to->value.boolean = got.number != 0 ? 1 : 0;
            break;
        case DictType::Number:
            to->value.number = got.number;
            break;
        case DictType::String: {
            NgxStr& text = to->value.text;
            if (text.data == nullptr || text.len == 0) {
                return kFfiError;
            }
            text.len = std::min(text.len, got.size);
            if (text.len > 0) {
                std::memcpy(text.data, got.text, text.len);
            }
            break;
        }
        case DictType::List:
            return kFfiError;
    }
    to->type = static_cast<std::uint8_t>(got.type);
    return kFfiOk;
}
