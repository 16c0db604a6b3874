// The `index` content handler: for a URI that ends in '/', an internal redirect to the first index
// file that exists. See static_files.h.
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <vector>

#include "conf/compiler.h"
#include "engine/core_settings.h"
#include "engine/location.h"
#include "engine/paths.h"
#include "engine/request.h"
#include "modules/static_files.h"

namespace moongate::modules {

namespace {

using conf::Applied;
using engine::Action;

struct IndexSettings {
    std::vector<conf::CompiledString> names;
};

Applied apply_index(conf::Compiler& compiler, const conf::Statement& statement,
                    IndexSettings& settings) {
    for (const std::string& name : statement.args) {
        if (name.empty()) {
            return conf::reject("index \"\" in \"index\" directive is invalid");
        }
        if (name[0] == '/' && &name != &statement.args.back()) {
            compiler.warn("only the last index in \"index\" directive should be absolute");
        }
        auto compiled = compiler.compile_string(name, {.captures = true});
        if (!compiled) {
            return std::unexpected(std::move(compiled.error()));
        }
        settings.names.push_back(std::move(*compiled));
    }
    return {};
}

Action index_error(engine::Request& request, const char* path, int error) {
    if (error == EACCES) {
        request.log_error(LogLevel::Error, "\"{}\" is forbidden {}", path, errno_text(error));
        return Action::finish(403);
    }
    if (request.get<engine::CoreLocationSettings>().log_not_found) {
        request.log_error(LogLevel::Error, "\"{}\" is not found {}", path, errno_text(error));
    }
    return Action::finish(404);
}

// Whether the directory itself is there. Next: it is.
Action test_directory(engine::Request& request, const engine::MappedPath& directory,
                      const char* file) {
    std::string name(directory.text());
    if (name.size() > 1 && name.back() == '/') {
        name.pop_back();
    }
    struct stat info{};
    if (::stat(name.c_str(), &info) != 0) {
        const int error = errno;
        if (error == ELOOP) {
            return Action::finish(403);
        }
        if (error == ENOENT) {
            return index_error(request, file, ENOENT);
        }
        if (error == EACCES) {
            return Action::next();  // it may be searched all the same: a name in it was looked up
        }
        request.log_error(LogLevel::Crit, "stat() \"{}\" failed {}", name, errno_text(error));
        return Action::finish(500);
    }
    if (S_ISDIR(info.st_mode)) {
        return Action::next();
    }
    request.log_error(LogLevel::Alert, "\"{}\" is not a directory", name);
    return Action::finish(500);
}

Action go_to(engine::Request& request, std::string_view uri) {
    request.set_internal_uri(uri, request.args);
    return Action::redirect();
}

Action find_index(engine::Request& request) {
    if (!request.uri.ends_with('/')) {
        return Action::next();
    }
    if (request.method != http::Method::Get && request.method != http::Method::Head &&
        request.method != http::Method::Post) {
        return Action::next();
    }
    const auto directory = engine::map_uri_to_path(request);
    if (!directory.has_value()) {
        return Action::finish(500);
    }
    bool tested = false;
    for (const conf::CompiledString& index : request.get<IndexSettings>().names) {
        const std::string_view name = index.evaluate(request);
        if (name.starts_with('/')) {
            return go_to(request, name);
        }
        const std::string_view path = request.arena().concat(directory->text(), name);
        struct stat info{};
        if (path.find('\0') == std::string_view::npos && ::stat(path.data(), &info) == 0) {
            return go_to(request, request.arena().concat(request.uri, name));
        }
        const int error = path.find('\0') == std::string_view::npos ? errno : ENOENT;
        if (error == ELOOP || error == EMLINK) {
            return Action::finish(403);
        }
        if (error == ENOTDIR || error == ENAMETOOLONG || error == EACCES) {
            return index_error(request, path.data(), error);
        }
        if (!tested) {
            const Action there = test_directory(request, *directory, path.data());
            if (there.kind != Action::Kind::Next) {
                return there;
            }
            tested = true;
        }
        if (error != ENOENT) {
            request.log_error(LogLevel::Crit, "stat() \"{}\" failed {}", path, errno_text(error));
            return Action::finish(500);
        }
    }
    return Action::next();
}

void install(engine::Location& location) {
    location.handlers.add(engine::Phase::Content, {.name = "index", .run = &find_index});
}

constexpr std::array kRows{
    conf::custom<apply_index>("index", conf::kHttpLevels, conf::kOneOrMore, "index.html",
                              "Files that stand for a directory, tried in this order.")
        .syntax("file ...")
        .clears<&IndexSettings::names>()
        .with_default_applied(),
};

}  // namespace

const engine::Module index_module{
    .directives = {.module = "index", .rows = kRows},
    .install = &install,
};

}  // namespace moongate::modules
