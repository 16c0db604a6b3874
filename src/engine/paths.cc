#include "engine/paths.h"

#include <fmt/format.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "engine/core_settings.h"
#include "engine/main_settings.h"
#include "engine/request.h"
#include "engine/snapshot.h"

namespace moongate::engine {
namespace {

// `root` as the configuration or its variables say, absolute: what a variable gave may be relative
// to the prefix.
std::string_view absolute_root(Request& request, const CoreLocationSettings& core) {
    const std::string_view root = core.root.evaluate(request);
    if (core.root.is_constant() || root.starts_with('/')) {
        return root;
    }
    return request.arena().concat(request.snapshot.main().get<MainSettings>().prefix, root);
}

}  // namespace

std::optional<MappedPath> map_uri_to_path(Request& request, std::size_t reserved) {
    const auto& core = request.get<CoreLocationSettings>();
    std::size_t cut = core.alias_prefix;
    if (cut != 0 && !request.valid_location) {
        request.log_error(LogLevel::Alert,
                          "\"alias\" cannot be used in location \"{}\" where URI was rewritten",
                          request.location->name);
        return std::nullopt;
    }
    const std::string_view root = absolute_root(request, core);
    std::string_view rest = request.uri;
    if (cut == CoreLocationSettings::kWholeUri) {
        rest = request.add_uri_to_alias ? rest : std::string_view();
    } else {
        // The URI may have become shorter than the location's name by other means than rewrite.
        rest.remove_prefix(std::min(cut, rest.size()));
    }
    const std::size_t size = root.size() + rest.size();
    char* path = request.arena().allocate_chars(size + 1 + reserved);
    char* at = path;
    if (!root.empty()) {
        std::memcpy(at, root.data(), root.size());
        at += root.size();
    }
    if (!rest.empty()) {
        std::memcpy(at, rest.data(), rest.size());
        at += rest.size();
    }
    *at = '\0';
    return MappedPath{path, size, root.size()};
}

std::string_view document_root(Request& request) {
    return absolute_root(request, request.get<CoreLocationSettings>());
}

std::optional<std::string_view> realpath_root(Request& request) {
    const std::string_view root = request.arena().copy(document_root(request));
    char resolved[PATH_MAX];
    if (::realpath(root.data(), resolved) == nullptr) {
        request.log_error(LogLevel::Crit, "realpath() \"{}\" failed {}", root, errno_text(errno));
        return std::nullopt;
    }
    return request.arena().copy(resolved);
}

}  // namespace moongate::engine
