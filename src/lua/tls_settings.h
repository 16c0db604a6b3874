// What Lua's TLS directives set: the code of the handshake's phases, and the terms of TLS
// connections that cosockets open. Read by whoever performs handshakes; a VM compiles the code at
// its first use. Frozen with the configuration's levels. Source: the "Directives" chapter of
// lua-nginx-module's documentation.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lua/settings.h"

namespace moongate::lua {

// Bits of lua_ssl_protocols.
enum TlsProtocol : std::uint32_t {
    kSslV2 = 1,
    kSslV3 = 2,
    kTlsV1 = 4,
    kTlsV11 = 8,
    kTlsV12 = 16,
    kTlsV13 = 32,
};

struct LuaTlsSettings {
    CodeRef client_hello;
    CodeRef certificate;
    CodeRef session_fetch;
    CodeRef session_store;
    CodeRef proxy_certificate;
    CodeRef proxy_verify;
    bool skip_default_verify = false;

    // Of cosockets.
    std::uint32_t protocols = 0;  // the default of lua_ssl_protocols is applied
    std::string ciphers = "DEFAULT";
    std::int64_t verify_depth = 1;
    std::string certificate_path;
    std::string certificate_key_path;
    std::string trusted_certificate;
    std::string crl;
    std::string key_log;
    std::vector<std::pair<std::string, std::string>> conf_commands;
};

}  // namespace moongate::lua
