// `try_files`: the first of several names that exists becomes the URI; the last one is where the
// request goes otherwise. See static_files.h.
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <vector>

#include "base/strings.h"
#include "conf/compiler.h"
#include "engine/builder.h"
#include "engine/core_settings.h"
#include "engine/paths.h"
#include "engine/request.h"
#include "modules/static_files.h"

namespace moongate::modules {

namespace {

using conf::Applied;
using engine::Action;

struct TryFilesSettings {
    struct Name {
        conf::CompiledString text;
        bool directory = false;
    };
    std::vector<Name> names;
    conf::CompiledString fallback;
    int code = -1;                            // `=code`
    const engine::Location* owner = nullptr;  // it is not inherited
};

Applied apply_try_files(conf::Compiler& compiler, const conf::Statement& statement,
                        TryFilesSettings& settings) {
    settings = {};
    settings.owner = engine::current_location(compiler);
    for (const std::string& argument : statement.args) {
        const bool last = &argument == &statement.args.back();
        std::string_view name = argument;
        if (last && name.starts_with('=')) {
            const auto code = parse_number<int>(name.substr(1));
            if (!code.has_value() || *code > 999) {
                return conf::reject(fmt::format("invalid code \"{}\"", name));
            }
            settings.code = *code;
            break;
        }
        const bool directory = !last && name.ends_with('/');
        if (directory) {
            name.remove_suffix(1);
        }
        auto text = compiler.compile_string(name);
        if (!text) {
            return std::unexpected(std::move(text.error()));
        }
        if (last) {
            settings.fallback = std::move(*text);
        } else {
            settings.names.push_back({std::move(*text), directory});
        }
    }
    return {};
}

// The URI under `alias`: the part that the alias stands for goes before the name.
std::string_view found_uri(engine::Request& request, const engine::CoreLocationSettings& core,
                           std::string_view name) {
    if (core.root_is_alias && core.alias_prefix <= request.uri.size()) {
        return request.arena().concat(request.uri.substr(0, core.alias_prefix), name);
    }
    return name;
}

Action fall_back(engine::Request& request, const TryFilesSettings& settings) {
    if (settings.code >= 0) {
        return Action::finish(settings.code);
    }
    const std::string_view target = settings.fallback.evaluate(request);
    if (target.starts_with('@')) {
        request.named_location = target;
        return Action::redirect();
    }
    const std::size_t mark = target.find('?');
    if (mark == std::string_view::npos) {
        request.set_internal_uri(target, {});
    } else {
        request.set_internal_uri(target.substr(0, mark), target.substr(mark + 1));
    }
    return Action::redirect();
}

Action try_files(engine::Request& request) {
    const auto& settings = request.get<TryFilesSettings>();
    const auto& core = request.get<engine::CoreLocationSettings>();
    const std::string_view root = engine::document_root(request);
    for (const TryFilesSettings::Name& name : settings.names) {
        std::string_view text = name.text.evaluate(request);
        if (core.root_is_alias && !name.text.is_constant() &&
            core.alias_prefix <= request.uri.size() &&
            text.starts_with(request.uri.substr(0, core.alias_prefix))) {
            text.remove_prefix(core.alias_prefix);
        }
        const std::string_view path = request.arena().concat(root, text);
        if (path.find('\0') != std::string_view::npos) {
            continue;
        }
        struct stat info{};
        if (::stat(path.data(), &info) != 0) {
            const int error = errno;
            if (error != ENOENT && error != ENOTDIR && error != ENAMETOOLONG) {
                request.log_error(LogLevel::Crit, "stat() \"{}\" failed {}", path,
                                  errno_text(error));
            }
            continue;
        }
        if (S_ISDIR(info.st_mode) != name.directory) {
            continue;
        }
        request.uri = found_uri(request, core, text);
        request.set_extension();
        return Action::next();
    }
    return fall_back(request, settings);
}

void install(engine::Location& location) {
    if (location.settings->get<TryFilesSettings>().owner == &location) {
        location.handlers.add(engine::Phase::Precontent, {.name = "try_files", .run = &try_files});
    }
}

constexpr std::array kRows{
    conf::custom<apply_try_files>("try_files", conf::kServer | conf::kLocation, conf::kTwoOrMore,
                                  "",
                                  "Serves the first file that exists, else goes to the last "
                                  "parameter.")
        .syntax("file ... uri | file ... =code")
        .merged(conf::Merge::Inherit),
};

}  // namespace

const engine::Module try_files_module{
    .directives = {.module = "try_files", .rows = kRows},
    .install = &install,
};

}  // namespace moongate::modules
