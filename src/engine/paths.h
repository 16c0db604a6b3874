// From URIs to file names: `root` and `alias` (nginx's ngx_http_map_uri_to_path), and the document
// root as $document_root and $realpath_root show it. Called on the request's worker; results live
// in its arena.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace moongate::engine {

class Request;

struct MappedPath {
    char* path;               // NUL-terminated, with `reserved` writable bytes behind the NUL
    std::size_t size;         // without the NUL
    std::size_t root_length;  // bytes of `path` that come from root or alias
    std::string_view text() const { return {path, size}; }
};

// The file that request.uri stands for in request.location. Nothing where there can be none:
// `alias` in a location whose URI was rewritten (logged, alert). `reserved` bytes are left free at
// the end for an index file's name and the like.
std::optional<MappedPath> map_uri_to_path(Request& request, std::size_t reserved = 0);

// root or alias of request.location, absolute, without a '/' at its end for `root`.
std::string_view document_root(Request& request);
// As document_root() with symbolic links resolved. Nothing where that fails (logged, crit).
std::optional<std::string_view> realpath_root(Request& request);

}  // namespace moongate::engine
