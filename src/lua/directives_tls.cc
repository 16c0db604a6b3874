// Rows of Lua's TLS directives (tls_settings.h): the phases of handshakes with clients and with
// proxied servers, and lua_ssl_* for cosockets. Compiling thread only. Source: the "Directives"
// chapter of lua-nginx-module's documentation.
#include "lua/directives.h"
#include "lua/directives_code.h"
#include "lua/tls_settings.h"

namespace moongate::lua {
namespace {

using conf::kHttp;
using conf::kHttpLevels;
using conf::kLocation;
using conf::kLocationIf;
using conf::kLuaBlock;
using conf::kNoArgs;
using conf::kServer;
using conf::kTake1;

template <CodeRef LuaTlsSettings::* Member>
constexpr auto kCode = &apply_code<LuaTlsSettings, Member, false>;

template <CodeRef LuaTlsSettings::* Member>
constexpr Directive block_form(std::string_view name, Contexts contexts, std::string_view doc) {
    return conf::custom<kCode<Member>>(name, contexts, kNoArgs | kLuaBlock, "", doc);
}
template <CodeRef LuaTlsSettings::* Member>
constexpr Directive file_form(std::string_view name, Contexts contexts, std::string_view doc) {
    return conf::custom<kCode<Member>>(name, contexts, kTake1, "", doc).syntax("path");
}

constexpr std::string_view kHelloDoc =
    "Lua code run when a TLS client's first message was read. Accepted; it runs once the server "
    "speaks TLS.";
constexpr std::string_view kCertificateDoc =
    "Lua code that chooses the certificate of a TLS connection. Accepted; it runs once the server "
    "speaks TLS.";
constexpr std::string_view kFetchDoc =
    "Lua code that looks a TLS session up. Accepted; it runs once the server speaks TLS.";
constexpr std::string_view kStoreDoc =
    "Lua code that stores a TLS session. Accepted; it runs once the server speaks TLS.";
constexpr std::string_view kProxyCertificateDoc =
    "Lua code that chooses the certificate shown to a proxied server. Accepted; it runs once "
    "proxied connections speak TLS.";
constexpr std::string_view kProxyVerifyDoc =
    "Lua code that judges a proxied server's certificate. Accepted; it runs once proxied "
    "connections speak TLS.";

constexpr conf::EnumValue kProtocols[] = {{"SSLv2", kSslV2},    {"SSLv3", kSslV3},
                                          {"TLSv1", kTlsV1},    {"TLSv1.1", kTlsV11},
                                          {"TLSv1.2", kTlsV12}, {"TLSv1.3", kTlsV13}};

constexpr Contexts kProxied = kLocation | kLocationIf;

constexpr Directive kRows[] = {
    block_form<&LuaTlsSettings::client_hello>("ssl_client_hello_by_lua_block", kHttp | kServer,
                                              kHelloDoc),
    file_form<&LuaTlsSettings::client_hello>("ssl_client_hello_by_lua_file", kHttp | kServer,
                                             kHelloDoc),
    block_form<&LuaTlsSettings::certificate>("ssl_certificate_by_lua_block", kHttp | kServer,
                                             kCertificateDoc),
    file_form<&LuaTlsSettings::certificate>("ssl_certificate_by_lua_file", kHttp | kServer,
                                            kCertificateDoc),
    block_form<&LuaTlsSettings::session_store>("ssl_session_store_by_lua_block", kHttp, kStoreDoc),
    file_form<&LuaTlsSettings::session_store>("ssl_session_store_by_lua_file", kHttp, kStoreDoc),
    block_form<&LuaTlsSettings::session_fetch>("ssl_session_fetch_by_lua_block", kHttp, kFetchDoc),
    file_form<&LuaTlsSettings::session_fetch>("ssl_session_fetch_by_lua_file", kHttp, kFetchDoc),
    block_form<&LuaTlsSettings::proxy_certificate>("proxy_ssl_certificate_by_lua_block", kProxied,
                                                   kProxyCertificateDoc),
    file_form<&LuaTlsSettings::proxy_certificate>("proxy_ssl_certificate_by_lua_file", kProxied,
                                                  kProxyCertificateDoc),
    block_form<&LuaTlsSettings::proxy_verify>("proxy_ssl_verify_by_lua_block", kProxied,
                                              kProxyVerifyDoc),
    file_form<&LuaTlsSettings::proxy_verify>("proxy_ssl_verify_by_lua_file", kProxied,
                                             kProxyVerifyDoc),
    conf::flag<&LuaTlsSettings::skip_default_verify>(
        "lua_upstream_skip_openssl_default_verify", kProxied, "off",
        "Whether proxy_ssl_verify_by_lua decides alone about a proxied server's certificate. "
        "Accepted; it takes effect once proxied connections speak TLS."),

    conf::bitmask<&LuaTlsSettings::protocols>("lua_ssl_protocols", kHttpLevels, kProtocols,
                                              "TLSv1 TLSv1.1 TLSv1.2 TLSv1.3",
                                              "Versions of TLS that cosockets speak."),
    conf::string<&LuaTlsSettings::ciphers>("lua_ssl_ciphers", kHttpLevels, "DEFAULT",
                                           "Ciphers of cosockets' TLS connections."),
    conf::number<&LuaTlsSettings::verify_depth>("lua_ssl_verify_depth", kHttpLevels, "1",
                                                "Longest chain of certificates that a cosocket "
                                                "accepts."),
    conf::string<&LuaTlsSettings::certificate_path>("lua_ssl_certificate", kHttpLevels, "",
                                                    "The certificate that cosockets show."),
    conf::string<&LuaTlsSettings::certificate_key_path>("lua_ssl_certificate_key", kHttpLevels, "",
                                                        "Its private key."),
    conf::string<&LuaTlsSettings::trusted_certificate>(
        "lua_ssl_trusted_certificate", kHttpLevels, "",
        "Certificates of the authorities that cosockets trust."),
    conf::string<&LuaTlsSettings::crl>("lua_ssl_crl", kHttpLevels, "",
                                       "Revoked certificates that cosockets refuse."),
    conf::string<&LuaTlsSettings::key_log>("lua_ssl_key_log", kHttpLevels, "",
                                           "File for the keys of cosockets' TLS connections, for "
                                           "debugging."),
    conf::key_values<&LuaTlsSettings::conf_commands>(
        "lua_ssl_conf_command", kHttpLevels, "", "OpenSSL configuration commands for cosockets."),
};

}  // namespace

std::span<const Directive> lua_tls_directives() {
    return kRows;
}

}  // namespace moongate::lua
