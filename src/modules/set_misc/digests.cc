// MD5 and SHA-1 in hexadecimal digits, HMACs as bytes.
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <limits>

#include "engine/request.h"
#include "modules/set_misc/functions.h"

namespace moongate::modules {

namespace {

Result<std::string_view> hex_digest(engine::Request& request, std::string_view text,
                                    const EVP_MD* kind) {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (EVP_Digest(text.data(), text.size(), bytes, &size, kind, nullptr) != 1) {
        request.log_error(LogLevel::Error, "EVP_Digest() failed");
        return set_failure();
    }
    const std::string_view digest(reinterpret_cast<const char*>(bytes), size);
    return set_encode_hex(request, {&digest, 1}, nullptr);
}

Result<std::string_view> hmac(engine::Request& request, SetValues values, const EVP_MD* kind) {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    const std::string_view key = values[0];
    const std::string_view text = values[1];
    if (key.size() > std::numeric_limits<int>::max() ||
        HMAC(kind, key.data() == nullptr ? "" : key.data(), static_cast<int>(key.size()),
             reinterpret_cast<const unsigned char*>(text.data()), text.size(), bytes,
             &size) == nullptr) {
        request.log_error(LogLevel::Error, "HMAC() failed");
        return set_failure();
    }
    return request.arena().copy({reinterpret_cast<const char*>(bytes), size});
}

}  // namespace

Result<std::string_view> set_md5(engine::Request& request, SetValues values, const void*) {
    return hex_digest(request, values[0], EVP_md5());
}
Result<std::string_view> set_sha1(engine::Request& request, SetValues values, const void*) {
    return hex_digest(request, values[0], EVP_sha1());
}
Result<std::string_view> set_hmac_sha1(engine::Request& request, SetValues values, const void*) {
    return hmac(request, values, EVP_sha1());
}
Result<std::string_view> set_hmac_sha256(engine::Request& request, SetValues values, const void*) {
    return hmac(request, values, EVP_sha256());
}

}  // namespace moongate::modules
