// ngx.ssl's certificates and keys that need no connection: PEM and DER to each other and to
// OpenSSL's objects. A key that is encrypted and comes without its passphrase is an error (OpenSSL
// would ask on the terminal). What resty's ngx/ssl.lua binds; texts of errors are ngx_lua's.
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <climits>
#include <cstring>
#include <memory>

#include "lua/ffi.h"

using namespace moongate::lua;

namespace moongate::lua {
void keep_ffi_ssl_parse() {}
}  // namespace moongate::lua

namespace {

template <auto Free>
struct Deleter {
    template <class T>
    void operator()(T* object) const {
        Free(object);
    }
};
using Bio = std::unique_ptr<BIO, Deleter<BIO_free>>;
using Certificate = std::unique_ptr<X509, Deleter<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
struct ChainDeleter {
    void operator()(STACK_OF(X509) * chain) const { sk_X509_pop_free(chain, X509_free); }
};
using Chain = std::unique_ptr<STACK_OF(X509), ChainDeleter>;

// OpenSSL's list of errors is the thread's: each call leaves it as it found it, empty.
struct ErrorsCleared {
    ~ErrorsCleared() { ERR_clear_error(); }
};

Bio open(const void* data, std::size_t size, const char** error) {
    Bio bio(size <= INT_MAX ? BIO_new_mem_buf(data, static_cast<int>(size)) : nullptr);
    if (bio == nullptr) {
        *error = "BIO_new_mem_buf() failed";
    }
    return bio;
}

int no_terminal(char* to, int room, int, void* passphrase) {
    if (passphrase == nullptr) {
        return -1;
    }
    const auto size = static_cast<int>(std::strlen(static_cast<const char*>(passphrase)));
    if (size > room) {
        return -1;
    }
    std::memcpy(to, passphrase, static_cast<std::size_t>(size));
    return size;
}

// The certificates of a PEM text, the first may be "TRUSTED". Null: `error` says why.
Chain read_pem_chain(const unsigned char* pem, std::size_t size, const char** error) {
    const Bio bio = open(pem, size, error);
    if (bio == nullptr) {
        return nullptr;
    }
    Chain chain(sk_X509_new_null());
    Certificate next(PEM_read_bio_X509_AUX(bio.get(), nullptr, no_terminal, nullptr));
    if (next == nullptr) {
        *error = "PEM_read_bio_X509_AUX() failed";
        return nullptr;
    }
    while (next != nullptr) {
        if (chain == nullptr || sk_X509_push(chain.get(), next.get()) == 0) {
            *error = "sk_X509_push() failed";
            return nullptr;
        }
        static_cast<void>(next.release());
        next.reset(PEM_read_bio_X509(bio.get(), nullptr, no_terminal, nullptr));
    }
    const unsigned long last = ERR_peek_last_error();
    if (ERR_GET_LIB(last) != ERR_LIB_PEM || ERR_GET_REASON(last) != PEM_R_NO_START_LINE) {
        *error = "PEM_read_bio_X509() failed";
        return nullptr;
    }
    return chain;
}

Key read_pem_key(const unsigned char* pem, std::size_t size, const unsigned char* passphrase,
                 const char** error) {
    const Bio bio = open(pem, size, error);
    if (bio == nullptr) {
        return nullptr;
    }
    Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_terminal,
                                    const_cast<unsigned char*>(passphrase)));
    if (key == nullptr) {
        *error = "PEM_read_bio_PrivateKey() failed";
    }
    return key;
}

}  // namespace

// Lua's buffer is as large as the PEM text.
MOONGATE_FFI int ngx_http_lua_ffi_cert_pem_to_der(const unsigned char* pem, std::size_t size,
                                                  unsigned char* der, const char** error) {
    const ErrorsCleared cleared;
    const Chain chain = read_pem_chain(pem, size, error);
    if (chain == nullptr) {
        return kFfiError;
    }
    std::size_t total = 0;
    for (int i = 0; i < sk_X509_num(chain.get()); ++i) {
        X509* certificate = sk_X509_value(chain.get(), i);
        const int length = i2d_X509(certificate, nullptr);
        if (length < 0 || total + static_cast<std::size_t>(length) > size) {
            *error = "i2d_X509() failed";
            return kFfiError;
        }
        unsigned char* to = der + total;
        total += static_cast<std::size_t>(i2d_X509(certificate, &to));
    }
    return static_cast<int>(total);
}

MOONGATE_FFI int ngx_http_lua_ffi_priv_key_pem_to_der(const unsigned char* pem, std::size_t size,
                                                      const unsigned char* passphrase,
                                                      unsigned char* der, const char** error) {
    const ErrorsCleared cleared;
    const Key key = read_pem_key(pem, size, passphrase, error);
    if (key == nullptr) {
        return kFfiError;
    }
    const int length = i2d_PrivateKey(key.get(), nullptr);
    if (length < 0 || static_cast<std::size_t>(length) > size) {
        *error = "i2d_PrivateKey() failed";
        return kFfiError;
    }
    return i2d_PrivateKey(key.get(), &der);
}

MOONGATE_FFI void* ngx_http_lua_ffi_parse_pem_cert(const unsigned char* pem, std::size_t size,
                                                   const char** error) {
    const ErrorsCleared cleared;
    return read_pem_chain(pem, size, error).release();
}

MOONGATE_FFI void* ngx_http_lua_ffi_parse_pem_priv_key(const unsigned char* pem, std::size_t size,
                                                       const char** error) {
    const ErrorsCleared cleared;
    return read_pem_key(pem, size, nullptr, error).release();
}

MOONGATE_FFI void* ngx_http_lua_ffi_parse_der_cert(const char* data, std::size_t size,
                                                   const char** error) {
    const ErrorsCleared cleared;
    const Bio bio = open(data, size, error);
    if (bio == nullptr) {
        return nullptr;
    }
    if (BIO_eof(bio.get())) {
        *error = "d2i_X509_bio() failed";
        return nullptr;
    }
    Chain chain(sk_X509_new_null());
    while (!BIO_eof(bio.get())) {
        Certificate next(d2i_X509_bio(bio.get(), nullptr));
        if (next == nullptr) {
            *error = "d2i_X509_bio() failed";
            return nullptr;
        }
        if (chain == nullptr || sk_X509_push(chain.get(), next.get()) == 0) {
            *error = "sk_X509_push() failed";
            return nullptr;
        }
        static_cast<void>(next.release());
    }
    return chain.release();
}

MOONGATE_FFI void* ngx_http_lua_ffi_parse_der_priv_key(const char* data, std::size_t size,
                                                       const char** error) {
    const ErrorsCleared cleared;
    const Bio bio = open(data, size, error);
    if (bio == nullptr) {
        return nullptr;
    }
    EVP_PKEY* key = d2i_PrivateKey_bio(bio.get(), nullptr);
    if (key == nullptr) {
        *error = "d2i_PrivateKey_bio() failed";
    }
    return key;
}

MOONGATE_FFI void ngx_http_lua_ffi_free_cert(void* chain) {
    sk_X509_pop_free(static_cast<STACK_OF(X509)*>(chain), X509_free);
}

MOONGATE_FFI void ngx_http_lua_ffi_free_priv_key(void* key) {
    EVP_PKEY_free(static_cast<EVP_PKEY*>(key));
}
