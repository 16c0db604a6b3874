// What Moongate says it is: its own version, the nginx version whose meaning it follows (tools and
// tests read that), the build and the features in the spelling of nginx's configure script. The
// only place for each.
#pragma once

#include <string>
#include <string_view>

// Set by the build; the place that relative paths start from unless -p is given.
#ifndef MOONGATE_PREFIX
#define MOONGATE_PREFIX "/etc/moongate/"
#endif

namespace moongate::app {

inline constexpr std::string_view kNginxVersion = "nginx/1.31.5";
inline constexpr std::string_view kVersion = "moongate/0.1.0";
inline constexpr std::string_view kDefaultPrefix = MOONGATE_PREFIX;
inline constexpr std::string_view kDefaultConfiguration = "conf/nginx.conf";
inline constexpr std::string_view kDefaultErrorLog = "logs/error.log";
inline constexpr std::string_view kDefaultPid = "logs/nginx.pid";

// "clang 19.1.7 (…)".
std::string_view compiler_text();
// The two lines of -v.
std::string version_text();
// "--prefix=… --with-pcre …", as -V shows them and ngx.config.nginx_configure() returns them.
std::string configure_arguments();
// What -V adds: compiler, OpenSSL, configure arguments.
std::string build_text();

}  // namespace moongate::app
