// URI normalisation against its reference model, and the round trips of escaping.
#include <cstdlib>
#include <string>

#include "http/test_reference.h"
#include "http/uri.h"

namespace {

void require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace moongate::http;
    if (size == 0) {
        return 0;
    }
    moongate::Arena arena;
    const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
    const bool merge = (data[0] & 1) != 0;

    const auto uri = normalize_uri(text, merge, arena);
    if (text != "*") {
        const auto model = reference::normalize_path(text, merge);
        require(uri.has_value() == model.has_value());
        require(!uri || uri->path == *model);
    }
    if (uri && text != "*") {
        require(uri->path.starts_with('/') && uri->args.find('#') == std::string_view::npos);
        require(uri->changed || text.starts_with(uri->path));
        // Normalising is idempotent on its escaped result.
        const std::string again = escape_uri(uri->path, EscapeType::Uri);
        const auto second = normalize_uri(again, merge, arena);
        require(second && second->path == uri->path && second->extension == uri->extension);
    }
    for (auto type : {EscapeType::Uri, EscapeType::UriComponent, EscapeType::Memcached}) {
        const std::string escaped = escape_uri(text, type);
        require(escaped.size() == escaped_size(text, type));
        require(unescape_uri(escaped, UnescapeType::All, arena) == text);
    }
    require(unescape_form(escape_uri(text, EscapeType::UriComponent)) == text);
    for (auto type : {UnescapeType::All, UnescapeType::Uri, UnescapeType::Redirect}) {
        require(unescape_uri(text, type, arena).size() <= text.size());
    }
    if (const auto safe = parse_unsafe_uri(text, arena)) {
        require(safe->path.find("/../") == std::string_view::npos && !safe->path.ends_with("/..") &&
                !safe->path.starts_with("../") && safe->path.find('\0') == std::string_view::npos);
    }
    const auto html = escape_html(text, arena);
    require(html.find_first_of("<>\"") == std::string_view::npos);
    if (const auto arg = find_arg(text, "a")) {
        require(arg->find('&') == std::string_view::npos);
    }
    return 0;
}
