// ngx.ocsp: requests and responses of the Online Certificate Status Protocol (RFC 6960), from DER
// chains of a certificate and its issuer. What resty's ngx/ocsp.lua binds; texts of errors are
// ngx_lua's.
#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <memory>
#include <string>

#include "lua/ffi.h"

using namespace moongate::lua;

namespace moongate::lua {
void keep_ffi_ocsp() {}
}  // namespace moongate::lua

namespace {

template <auto Free>
struct Deleter {
    template <class T>
    void operator()(T* object) const {
        Free(object);
    }
};
template <class T, auto Free>
using Owned = std::unique_ptr<T, Deleter<Free>>;
using Certificate = Owned<X509, X509_free>;
struct UrlsDeleter {
    void operator()(STACK_OF(OPENSSL_STRING) * urls) const { X509_email_free(urls); }
};
struct IssuersDeleter {
    void operator()(STACK_OF(X509) * list) const { sk_X509_free(list); }
};

struct ErrorsCleared {
    ~ErrorsCleared() { ERR_clear_error(); }
};

// A chain's first two certificates.
class Pair {
public:
    Pair(const char* chain, std::size_t size)
        : bio_(size <= INT_MAX ? BIO_new_mem_buf(chain, static_cast<int>(size)) : nullptr) {}

    // Null, or what is wrong.
    const char* read_certificate() {
        if (bio_ == nullptr) {
            return "BIO_new_mem_buf() failed";
        }
        certificate.reset(d2i_X509_bio(bio_.get(), nullptr));
        return certificate == nullptr ? "d2i_X509_bio() failed" : nullptr;
    }
    const char* read_issuer() {
        if (BIO_eof(bio_.get())) {
            return "no issuer certificate in chain";
        }
        issuer.reset(d2i_X509_bio(bio_.get(), nullptr));
        return issuer == nullptr ? "d2i_X509_bio() failed" : nullptr;
    }
    const char* read() {
        const char* problem = read_certificate();
        return problem != nullptr ? problem : read_issuer();
    }

    Certificate certificate;
    Certificate issuer;

private:
    Owned<BIO, BIO_free> bio_;
};

// Empty, or what is wrong.
std::string validate(const unsigned char* data, std::size_t size, const char* chain,
                     std::size_t chain_size) {
    const Owned<OCSP_RESPONSE, OCSP_RESPONSE_free> response(
        size <= LONG_MAX ? d2i_OCSP_RESPONSE(nullptr, &data, static_cast<long>(size)) : nullptr);
    if (response == nullptr) {
        return "d2i_OCSP_RESPONSE() failed";
    }
    if (const int status = OCSP_response_status(response.get());
        status != OCSP_RESPONSE_STATUS_SUCCESSFUL) {
        return fmt::format("OCSP response not successful ({}: {})", status,
                           OCSP_response_status_str(status));
    }
    const Owned<OCSP_BASICRESP, OCSP_BASICRESP_free> basic(
        OCSP_response_get1_basic(response.get()));
    if (basic == nullptr) {
        return "OCSP_response_get1_basic() failed";
    }
    Pair pair(chain, chain_size);
    if (const char* problem = pair.read()) {
        return problem;
    }
    const std::unique_ptr<STACK_OF(X509), IssuersDeleter> issuers(sk_X509_new_null());
    if (issuers == nullptr || sk_X509_push(issuers.get(), pair.issuer.get()) == 0) {
        return "sk_X509_new_null() failed";
    }
    if (OCSP_basic_verify(basic.get(), issuers.get(), nullptr, OCSP_NOVERIFY) != 1) {
        return "OCSP_basic_verify() failed";
    }
    const Owned<OCSP_CERTID, OCSP_CERTID_free> id(
        OCSP_cert_to_id(nullptr, pair.certificate.get(), pair.issuer.get()));
    if (id == nullptr) {
        return "OCSP_cert_to_id() failed";
    }
    int status = 0;
    ASN1_GENERALIZEDTIME* this_update = nullptr;
    ASN1_GENERALIZEDTIME* next_update = nullptr;
    if (OCSP_resp_find_status(basic.get(), id.get(), &status, nullptr, nullptr, &this_update,
                              &next_update) != 1) {
        return "certificate status not found in the OCSP response";
    }
    if (status != V_OCSP_CERTSTATUS_GOOD) {
        return fmt::format("certificate status \"{}\" in the OCSP response",
                           OCSP_cert_status_str(status));
    }
    constexpr long kClockSkewSeconds = 300;
    if (OCSP_check_validity(this_update, next_update, kClockSkewSeconds, -1) != 1) {
        return "OCSP_check_validity() failed";
    }
    return {};
}

}  // namespace

MOONGATE_FFI int ngx_http_lua_ffi_ssl_get_ocsp_responder_from_der_chain(const char* chain,
                                                                        std::size_t size, char* to,
                                                                        std::size_t* room,
                                                                        const char** error) {
    const ErrorsCleared cleared;
    Pair pair(chain, size);
    if (const char* problem = pair.read_certificate()) {
        *error = problem;
        return kFfiError;
    }
    const std::unique_ptr<STACK_OF(OPENSSL_STRING), UrlsDeleter> urls(
        X509_get1_ocsp(pair.certificate.get()));
    const char* url = urls == nullptr ? nullptr : sk_OPENSSL_STRING_value(urls.get(), 0);
    if (url == nullptr) {
        return kFfiDeclined;
    }
    const std::size_t length = std::strlen(url);
    const int result = length > *room ? kFfiBusy : kFfiOk;
    const std::size_t copied = std::min(length, *room);
    if (const char* problem = pair.read_issuer()) {
        *error = problem;
        return kFfiError;
    }
    if (X509_check_issued(pair.issuer.get(), pair.certificate.get()) != X509_V_OK) {
        *error = "issuer certificate not next to leaf";
        return kFfiError;
    }
    std::memcpy(to, url, copied);
    *room = copied;
    return result;
}

MOONGATE_FFI int ngx_http_lua_ffi_ssl_create_ocsp_request(const char* chain, std::size_t size,
                                                          unsigned char* to, std::size_t* room,
                                                          const char** error) {
    const ErrorsCleared cleared;
    Pair pair(chain, size);
    if (const char* problem = pair.read()) {
        *error = problem;
        return kFfiError;
    }
    const Owned<OCSP_REQUEST, OCSP_REQUEST_free> request(OCSP_REQUEST_new());
    if (request == nullptr) {
        *error = "OCSP_REQUEST_new() failed";
        return kFfiError;
    }
    Owned<OCSP_CERTID, OCSP_CERTID_free> id(
        OCSP_cert_to_id(nullptr, pair.certificate.get(), pair.issuer.get()));
    if (id == nullptr) {
        *error = "OCSP_cert_to_id() failed";
        return kFfiError;
    }
    if (OCSP_request_add0_id(request.get(), id.get()) == nullptr) {
        *error = "OCSP_request_add0_id() failed";
        return kFfiError;
    }
    static_cast<void>(id.release());
    const int length = i2d_OCSP_REQUEST(request.get(), nullptr);
    if (length <= 0) {
        *error = "i2d_OCSP_REQUEST() failed";
        return kFfiError;
    }
    if (static_cast<std::size_t>(length) > *room) {
        *error = "output buffer too small";
        *room = static_cast<std::size_t>(length);
        return kFfiBusy;
    }
    *room = static_cast<std::size_t>(i2d_OCSP_REQUEST(request.get(), &to));
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_ssl_validate_ocsp_response(const unsigned char* data,
                                                             std::size_t size, const char* chain,
                                                             std::size_t chain_size,
                                                             unsigned char* error,
                                                             std::size_t* error_size) {
    const ErrorsCleared cleared;
    const std::string problem = validate(data, size, chain, chain_size);
    if (problem.empty()) {
        return kFfiOk;
    }
    *error_size = std::min(*error_size, problem.size());
    std::memcpy(error, problem.data(), *error_size);
    return kFfiError;
}
