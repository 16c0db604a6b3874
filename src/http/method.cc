#include "http/method.h"

namespace moongate::http {
namespace {

constexpr std::string_view kNames[kMethodCount] = {
    "",        "GET",      "HEAD",      "POST", "PUT",    "DELETE", "MKCOL", "COPY",   "MOVE",
    "OPTIONS", "PROPFIND", "PROPPATCH", "LOCK", "UNLOCK", "PATCH",  "TRACE", "CONNECT"};

}  // namespace

Method parse_method(std::string_view text) {
    // Most requests are GET: tried before the loop.
    if (text == "GET") {
        return Method::Get;
    }
    for (int i = 2; i < kMethodCount; ++i) {
        if (text == kNames[i]) {
            return static_cast<Method>(i);
        }
    }
    return Method::Other;
}

std::string_view method_name(Method method) {
    return kNames[static_cast<std::size_t>(method)];
}

}  // namespace moongate::http
