// The functions behind the set_* directives of set-misc, by what they do: codings.cc, quoting.cc,
// digests.cc, numbers.cc (random numbers and counters), times.cc. All are SetCalls: see
// modules/rewrite/rewrite.h. Results live in the request's arena.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "modules/set_function.h"

namespace moongate::modules {

constexpr std::size_t kBase32Letters = 32;

struct SetMiscSettings {
    bool base32_padding = true;
    std::string base32_alphabet = "0123456789abcdefghijklmnopqrstuv";
};

// What set_rotate counts: one a location, shared by its workers. kUnset: not used yet.
struct RotateCounter {
    static constexpr std::int64_t kUnset = -1;
    std::atomic<std::int64_t> current = kUnset;
};

using SetValues = std::span<const std::string_view>;

// --- codings.cc
Result<std::string_view> set_escape_uri(engine::Request&, SetValues, const void*);
Result<std::string_view> set_unescape_uri(engine::Request&, SetValues, const void*);
Result<std::string_view> set_encode_base32(engine::Request&, SetValues, const void*);
Result<std::string_view> set_decode_base32(engine::Request&, SetValues, const void*);
Result<std::string_view> set_encode_base64(engine::Request&, SetValues, const void*);
Result<std::string_view> set_decode_base64(engine::Request&, SetValues, const void*);
Result<std::string_view> set_encode_base64url(engine::Request&, SetValues, const void*);
Result<std::string_view> set_decode_base64url(engine::Request&, SetValues, const void*);
Result<std::string_view> set_encode_hex(engine::Request&, SetValues, const void*);
Result<std::string_view> set_decode_hex(engine::Request&, SetValues, const void*);

// --- quoting.cc
Result<std::string_view> set_quote_sql_str(engine::Request&, SetValues, const void*);
Result<std::string_view> set_quote_pgsql_str(engine::Request&, SetValues, const void*);
Result<std::string_view> set_quote_json_str(engine::Request&, SetValues, const void*);

// --- digests.cc
Result<std::string_view> set_md5(engine::Request&, SetValues, const void*);
Result<std::string_view> set_sha1(engine::Request&, SetValues, const void*);
Result<std::string_view> set_hmac_sha1(engine::Request&, SetValues, const void*);
Result<std::string_view> set_hmac_sha256(engine::Request&, SetValues, const void*);

// --- numbers.cc
Result<std::string_view> set_random(engine::Request&, SetValues, const void*);
Result<std::string_view> set_secure_random_alphanum(engine::Request&, SetValues, const void*);
Result<std::string_view> set_secure_random_lcalpha(engine::Request&, SetValues, const void*);
// `data`: a RotateCounter, which the const does not concern.
Result<std::string_view> set_rotate(engine::Request&, SetValues, const void* data);

// --- times.cc
Result<std::string_view> set_local_today(engine::Request&, SetValues, const void*);
Result<std::string_view> set_formatted_gmt_time(engine::Request&, SetValues, const void*);
Result<std::string_view> set_formatted_local_time(engine::Request&, SetValues, const void*);

}  // namespace moongate::modules
