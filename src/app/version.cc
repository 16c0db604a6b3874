#include "app/version.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/opensslv.h>

namespace moongate::app {
namespace {

// Only what exists: a tool that reads an argument here goes on to use the feature.
constexpr std::string_view kConfigureArguments[] = {
    "--with-pcre",
    "--with-pcre-jit",
    "--with-threads",
    "--add-module=ngx_devel_kit",
    "--add-module=lua-nginx-module",
};

}  // namespace

std::string_view compiler_text() {
    return "clang " __clang_version__;
}

std::string version_text() {
    return fmt::format("nginx version: {}\nmoongate version: {}\n", kNginxVersion, kVersion);
}

std::string configure_arguments() {
    std::string text =
        fmt::format("--prefix={0} --conf-path={1}{2} --error-log-path={1}{3} --pid-path={1}{4}",
                    kDefaultPrefix.substr(0, kDefaultPrefix.size() - 1), kDefaultPrefix,
                    kDefaultConfiguration, kDefaultErrorLog, kDefaultPid);
    for (std::string_view argument : kConfigureArguments) {
        text += fmt::format(" {}", argument);
    }
    return text;
}

std::string build_text() {
    constexpr std::string_view kBuiltWith = OPENSSL_VERSION_TEXT;
    const std::string_view running = OpenSSL_version(OPENSSL_VERSION);
    std::string text = fmt::format("built by {}\nbuilt with {}", compiler_text(), kBuiltWith);
    if (running != kBuiltWith) {
        text += fmt::format(" (running with {})", running);
    }
    text +=
        fmt::format("\nTLS SNI support enabled\nconfigure arguments: {}\n", configure_arguments());
    return text;
}

}  // namespace moongate::app
