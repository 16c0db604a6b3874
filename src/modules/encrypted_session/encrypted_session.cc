// A session is MD5(data) and AES-256-CBC(data) with PKCS#7 padding, where data is the value and
// eight bytes of its expiry: seconds since the epoch, the highest byte first, 0 for never.
#include "modules/encrypted_session/encrypted_session.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <array>
#include <cstring>
#include <limits>
#include <memory>

#include "base/clock.h"
#include "conf/compiler.h"
#include "engine/request.h"
#include "modules/set_function.h"

namespace moongate::modules {

namespace {

using conf::Applied;

constexpr std::size_t kKeySize = 32;
constexpr std::size_t kIvSize = 16;
constexpr std::size_t kBlock = 16;
constexpr std::size_t kDigest = 16;
constexpr std::size_t kExpiry = 8;

struct EncryptedSessionSettings {
    std::string key;  // empty: none was given
    std::string iv = "deadbeefdeadbeef";
    std::int64_t expires_s = 86400;
};

struct FreeContext {
    void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, FreeContext>;

const unsigned char* bytes(std::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
}

bool md5(const unsigned char* data, std::size_t size, unsigned char* to) {
    unsigned made = 0;
    return EVP_Digest(data, size, to, &made, EVP_md5(), nullptr) == 1 && made == kDigest;
}

// Both write at most size + kBlock bytes; the number of bytes, or -1.
std::ptrdiff_t crypt(const EncryptedSessionSettings& settings, bool encrypt,
                     const unsigned char* from, std::size_t size, unsigned char* to) {
    const CipherContext context(EVP_CIPHER_CTX_new());
    int first = 0;
    int last = 0;
    if (context == nullptr || size > std::numeric_limits<int>::max() - kBlock ||
        EVP_CipherInit_ex(context.get(), EVP_aes_256_cbc(), nullptr, bytes(settings.key),
                          bytes(settings.iv), encrypt ? 1 : 0) != 1 ||
        EVP_CipherUpdate(context.get(), to, &first, from, static_cast<int>(size)) != 1 ||
        EVP_CipherFinal_ex(context.get(), to + first, &last) != 1) {
        return -1;
    }
    return first + last;
}

bool has_key(engine::Request& request, const EncryptedSessionSettings& settings) {
    if (settings.key.empty()) {
        request.log_error(LogLevel::Error,
                          "encrypted_session: a key is required to be defined by the "
                          "encrypted_session_key directive");
    }
    return !settings.key.empty();
}

Result<std::string_view> encrypt_session(engine::Request& request,
                                         std::span<const std::string_view> values, const void*) {
    const auto& settings = request.get<EncryptedSessionSettings>();
    if (!has_key(request, settings)) {
        return set_failure();
    }
    const std::string_view value = values[0];
    const std::uint64_t expires =
        settings.expires_s == 0 ? 0
                                : static_cast<std::uint64_t>(Clock::current().unix_seconds()) +
                                      static_cast<std::uint64_t>(settings.expires_s);
    const std::size_t size = value.size() + kExpiry;
    auto* data = reinterpret_cast<unsigned char*>(request.arena().allocate_chars(size));
    if (!value.empty()) {
        std::memcpy(data, value.data(), value.size());
    }
    for (std::size_t i = 0; i < kExpiry; ++i) {
        data[value.size() + i] = static_cast<unsigned char>(expires >> (8 * (kExpiry - 1 - i)));
    }
    auto* to =
        reinterpret_cast<unsigned char*>(request.arena().allocate_chars(kDigest + size + kBlock));
    const std::ptrdiff_t made =
        md5(data, size, to) ? crypt(settings, true, data, size, to + kDigest) : -1;
    if (made < 0) {
        request.log_error(LogLevel::Info, "encrypted_session: failed to encrypt");
        return set_result("");
    }
    return std::string_view(reinterpret_cast<const char*>(to),
                            kDigest + static_cast<std::size_t>(made));
}

// Anything but a session that is valid now comes to nothing.
Result<std::string_view> decrypt_session(engine::Request& request,
                                         std::span<const std::string_view> values, const void*) {
    const auto& settings = request.get<EncryptedSessionSettings>();
    if (!has_key(request, settings)) {
        return set_failure();
    }
    const std::string_view session = values[0];
    if (session.size() < kDigest) {
        return set_result("");
    }
    const std::string_view hidden = session.substr(kDigest);
    auto* data =
        reinterpret_cast<unsigned char*>(request.arena().allocate_chars(hidden.size() + kBlock));
    const std::ptrdiff_t made = crypt(settings, false, bytes(hidden), hidden.size(), data);
    unsigned char digest[kDigest];
    if (made < static_cast<std::ptrdiff_t>(kExpiry) ||
        !md5(data, static_cast<std::size_t>(made), digest) ||
        CRYPTO_memcmp(digest, session.data(), kDigest) != 0) {
        return set_result("");
    }
    const std::size_t size = static_cast<std::size_t>(made) - kExpiry;
    std::uint64_t expires = 0;
    for (std::size_t i = 0; i < kExpiry; ++i) {
        expires = expires << 8 | data[size + i];
    }
    if (expires != 0 && expires <= static_cast<std::uint64_t>(Clock::current().unix_seconds())) {
        return set_result("");
    }
    return std::string_view(reinterpret_cast<const char*>(data), size);
}

constexpr SetFunction kFunctions[] = {
    {"set_encrypt_session", 1, &encrypt_session},
    {"set_decrypt_session", 1, &decrypt_session},
};

Applied apply_key(conf::Compiler&, const conf::Statement& statement,
                  EncryptedSessionSettings& settings) {
    if (statement.arg(1).size() != kKeySize) {
        return conf::reject(
            fmt::format("encrypted_session_key: the key must be of {} bytes long", kKeySize));
    }
    settings.key = statement.arg(1);
    return {};
}

Applied apply_iv(conf::Compiler&, const conf::Statement& statement,
                 EncryptedSessionSettings& settings) {
    if (statement.arg(1).size() > kIvSize) {
        return conf::reject(fmt::format(
            "encrypted_session_iv: the init vector must NOT be longer than {} bytes", kIvSize));
    }
    settings.iv = statement.arg(1);
    settings.iv.resize(kIvSize, '\0');
    return {};
}

constexpr std::array kRows{
    conf::custom<apply_key>("encrypted_session_key", kSetContexts, conf::kTake1, "",
                            "The key of sessions: 32 bytes.")
        .syntax("key")
        .merged(conf::Merge::Inherit),
    conf::custom<apply_iv>("encrypted_session_iv", kSetContexts, conf::kTake1, "deadbeefdeadbeef",
                           "The first vector of the cipher: at most 16 bytes, filled with zeros.")
        .syntax("vector")
        .merged(conf::Merge::Inherit),
    conf::seconds<&EncryptedSessionSettings::expires_s>(
        "encrypted_session_expires", kSetContexts, "1d",
        "How long a session is valid; 0: for ever."),
    conf::custom<apply_set_function>("set_encrypt_session", kSetContexts, conf::kTake12, "",
                                     "Encrypts a value, to be read before it expires.")
        .syntax("$target [value]"),
    conf::custom<apply_set_function>("set_decrypt_session", kSetContexts, conf::kTake12, "",
                                     "Decrypts a session; what is none that is valid now comes to "
                                     "nothing.")
        .syntax("$target [value]"),
};

}  // namespace

std::span<const SetFunction> encrypted_session_functions() {
    return kFunctions;
}

const engine::Module encrypted_session_module{
    .directives = {.module = "encrypted-session", .rows = kRows},
};

}  // namespace moongate::modules
