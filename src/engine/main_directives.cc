// The directives of the main level (nginx's ngx_core_module, its thread pools and error_log).
#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "conf/compiler.h"
#include "conf/directive.h"
#include "engine/builder.h"
#include "engine/core_module.h"
#include "engine/error_log_directive.h"
#include "engine/main_settings.h"

namespace moongate::engine {
namespace {

using conf::Applied;
using conf::Compiler;
using conf::reject;
using conf::reject_directive;
using conf::Statement;

Applied lookup_user(MainSettings& settings, const std::string& user) {
    errno = 0;
    const passwd* account = getpwnam(user.c_str());
    if (account == nullptr) {
        return reject(fmt::format("getpwnam(\"{}\") failed{}", user,
                                  errno == 0 ? "" : " " + errno_text(errno)));
    }
    settings.user = user;
    settings.uid = account->pw_uid;
    return {};
}

Applied lookup_group(MainSettings& settings, const std::string& name) {
    errno = 0;
    const group* found = getgrnam(name.c_str());
    if (found == nullptr) {
        return reject(fmt::format("getgrnam(\"{}\") failed{}", name,
                                  errno == 0 ? "" : " " + errno_text(errno)));
    }
    settings.gid = found->gr_gid;
    return {};
}

Applied apply_user(Compiler& compiler, const Statement& statement, MainSettings& settings) {
    if (geteuid() != 0) {
        compiler.warn(
            "the \"user\" directive makes sense only if the master process runs with super-user "
            "privileges, ignored");
        return {};
    }
    if (auto done = lookup_user(settings, statement.args.front()); !done) {
        return done;
    }
    if (auto done = lookup_group(settings, statement.args.back()); !done) {
        return done;
    }
    settings.has_account = true;
    return {};
}

Applied apply_worker_processes(Compiler&, const Statement& statement, MainSettings& settings) {
    if (statement.arg(1) == "auto") {
        settings.worker_processes = std::max(1L, sysconf(_SC_NPROCESSORS_ONLN));
        return {};
    }
    constexpr std::int64_t kMostWorkers = 1024;
    const auto number = conf::parse_integer(statement.arg(1));
    if (!number || *number < 1 || *number > kMostWorkers) {
        return reject_directive("worker_processes", "invalid value");
    }
    settings.worker_processes = *number;
    return {};
}

Applied apply_worker_priority(Compiler&, const Statement& statement, MainSettings& settings) {
    std::string_view text = statement.arg(1);
    const bool minus = text.starts_with('-');
    if (minus || text.starts_with('+')) {
        text.remove_prefix(1);
    }
    const auto number = conf::parse_integer(text);
    if (!number || *number > 1000) {
        return reject_directive("worker_priority", "invalid number");
    }
    settings.priority = static_cast<int>(minus ? -*number : *number);
    return {};
}

conf::Expected<CpuMask> parse_mask(std::string_view text) {
    if (text.size() > CPU_SETSIZE) {
        return reject(
            fmt::format("\"worker_cpu_affinity\" supports up to {} CPUs only", CPU_SETSIZE));
    }
    CpuMask mask;
    unsigned cpu = 0;
    for (auto at = text.rbegin(); at != text.rend(); ++at) {
        if (*at == ' ') {
            continue;
        }
        if (*at != '0' && *at != '1') {
            return reject(fmt::format("invalid character \"{}\" in \"worker_cpu_affinity\"", *at));
        }
        if (*at == '1') {
            mask.push_back(cpu);
        }
        ++cpu;
    }
    return mask;
}

Applied apply_cpu_affinity(Compiler&, const Statement& statement, MainSettings& settings) {
    std::size_t n = 1;
    if (statement.arg(1) == "auto") {
        if (statement.args.size() > 2) {
            return reject("invalid number of arguments in \"worker_cpu_affinity\" directive");
        }
        settings.cpu_affinity_auto = true;
        n = 2;
        if (statement.args.size() == 1) {
            CpuMask all;
            const long count = std::clamp(sysconf(_SC_NPROCESSORS_ONLN), 1L, long{CPU_SETSIZE});
            for (long cpu = 0; cpu < count; ++cpu) {
                all.push_back(static_cast<unsigned>(cpu));
            }
            settings.cpu_affinity.push_back(std::move(all));
        }
    }
    for (; n <= statement.args.size(); ++n) {
        auto mask = parse_mask(statement.arg(n));
        if (!mask) {
            return std::unexpected(std::move(mask.error()));
        }
        settings.cpu_affinity.push_back(std::move(*mask));
    }
    return {};
}

Applied apply_env(Compiler&, const Statement& statement, MainSettings& settings) {
    settings.environment.emplace_back(statement.arg(1));
    return {};
}

// The modules that exist as files for nginx and are part of this executable.
constexpr std::array kBuiltIn{
    std::string_view("ndk_http_module.so"),
    std::string_view("ngx_http_lua_module.so"),
};

Applied apply_load_module(Compiler& compiler, const Statement& statement) {
    if (compiler.extension<SnapshotBuilder>().has_http ||
        compiler.level().get<EventSettings>().seen) {
        return reject_directive("load_module", "is specified too late");
    }
    const std::string_view path = statement.arg(1);
    const std::string_view file = path.substr(path.rfind('/') + 1);
    if (std::ranges::find(kBuiltIn, file) != kBuiltIn.end()) {
        compiler.warn(fmt::format("module \"{}\" is built in, \"load_module\" is not needed", file),
                      LogLevel::Notice);
    } else {
        compiler.warn(
            fmt::format("\"load_module\" cannot load \"{}\": modules are built in, ignored", path));
    }
    return {};
}

Applied apply_thread_pool(Compiler&, const Statement& statement, MainSettings& settings) {
    ThreadPool pool;
    pool.name = statement.arg(1);
    for (const ThreadPool& other : settings.thread_pools) {
        if (other.name == pool.name) {
            return reject(fmt::format("duplicate thread pool \"{}\"", pool.name));
        }
    }
    const auto parse = [](std::string_view text) -> std::optional<unsigned> {
        const auto number = conf::parse_integer(text);
        if (!number || *number > std::numeric_limits<int>::max()) {
            return std::nullopt;
        }
        return static_cast<unsigned>(*number);
    };
    for (std::size_t n = 2; n <= statement.args.size(); ++n) {
        const std::string_view parameter = statement.arg(n);
        if (parameter.starts_with("threads=")) {
            const auto threads = parse(parameter.substr(8));
            if (!threads || *threads == 0) {
                return reject(fmt::format("invalid threads value \"{}\"", parameter));
            }
            pool.threads = *threads;
        } else if (parameter.starts_with("max_queue=")) {
            const auto queue = parse(parameter.substr(10));
            if (!queue) {
                return reject(fmt::format("invalid max_queue value \"{}\"", parameter));
            }
            pool.max_queue = *queue;
        }
    }
    if (pool.threads == 0) {
        return reject("\"thread_pool\" must have \"threads\" parameter");
    }
    settings.thread_pools.push_back(std::move(pool));
    return {};
}

Applied apply_error_log(Compiler& compiler, const Statement& statement, MainSettings& settings) {
    std::string file;
    auto done = add_error_log(compiler, statement, settings.error_log, &file);
    if (done && settings.stderr_path.empty()) {
        settings.stderr_path = file;
    }
    return done;
}

Applied finish_main(Compiler& compiler, conf::Level& level) {
    if (compiler.enclosing() != nullptr) {
        return {};
    }
    auto& settings = level.edit<MainSettings>();
    settings.prefix = compiler.prefix();
    if (settings.error_log == nullptr) {
        auto log = default_error_log(compiler, &settings.stderr_path);
        if (!log) {
            return std::unexpected(std::move(log.error()));
        }
        settings.error_log = std::move(*log);
    }
    const auto masks = static_cast<std::int64_t>(settings.cpu_affinity.size());
    if (!settings.cpu_affinity_auto && masks > 1 && masks != settings.worker_processes) {
        compiler.warn(
            "the number of \"worker_processes\" is not equal to the number of "
            "\"worker_cpu_affinity\" masks, using last mask for remaining worker processes");
    }
    if (!settings.has_account && geteuid() == 0) {
        if (auto done = lookup_user(settings, "nobody"); !done) {
            return done;
        }
        if (!lookup_group(settings, "nobody")) {
            if (auto done = lookup_group(settings, "nogroup"); !done) {
                return done;
            }
        }
        settings.has_account = true;
    }
    return {};
}

constexpr conf::EnumValue kDebugPoints[] = {{"stop", 1}, {"abort", 2}};

constexpr conf::Directive kRows[] = {
    conf::flag<&MainSettings::daemon>("daemon", conf::kMain, "on",
                                      "Whether the process goes into the background."),
    conf::flag<&MainSettings::master_process>(
        "master_process", conf::kMain, "on",
        "Whether a supervisor process watches the one that serves; off is for debugging."),
    conf::msec<&MainSettings::timer_resolution>(
        "timer_resolution", conf::kMain, "0",
        "Accepted for compatibility: the clock is read once a turn of the event loop."),
    conf::path<&MainSettings::pid>("pid", conf::kMain, "logs/nginx.pid",
                                   "The file that holds the supervisor's process number."),
    conf::path<&MainSettings::lock_file>("lock_file", conf::kMain, "logs/nginx.lock",
                                         "Accepted for compatibility: no lock file is needed."),
    conf::custom<apply_worker_processes>("worker_processes", conf::kMain, conf::kTake1, "1",
                                         "How many worker threads serve requests.")
        .syntax("number | auto")
        .merged(conf::Merge::Inherit),
    conf::enumeration<&MainSettings::debug_points>("debug_points", conf::kMain, kDebugPoints, "",
                                                   "Accepted for compatibility, without effect."),
    conf::custom<apply_user>("user", conf::kMain, conf::kTake12, "nobody",
                             "The account, and the group if it differs, that requests are served "
                             "under.")
        .syntax("user [group]")
        .merged(conf::Merge::Inherit),
    conf::custom<apply_worker_priority>("worker_priority", conf::kMain, conf::kTake1, "0",
                                        "The scheduling priority of the engine, as of nice.")
        .syntax("number")
        .merged(conf::Merge::Inherit),
    conf::custom<apply_cpu_affinity>("worker_cpu_affinity", conf::kMain, conf::kOneOrMore, "",
                                     "The CPUs that each worker may run on.")
        .syntax("auto [mask] | mask ...")
        .merged(conf::Merge::Inherit),
    conf::number<&MainSettings::rlimit_nofile>("worker_rlimit_nofile", conf::kMain, "",
                                               "The limit of open files."),
    conf::offset<&MainSettings::rlimit_core>("worker_rlimit_core", conf::kMain, "",
                                             "The largest size of a core file."),
    conf::msec<&MainSettings::shutdown_timeout>(
        "worker_shutdown_timeout", conf::kMain, "0",
        "How long a graceful end waits for open requests; 0: without limit."),
    conf::path<&MainSettings::working_directory>("working_directory", conf::kMain, "",
                                                 "The working directory, where core files go."),
    conf::custom<apply_env>("env", conf::kMain, conf::kTake1, "",
                            "An environment variable that is kept, or set with NAME=VALUE.")
        .syntax("variable[=value]"),
    conf::custom<apply_load_module>(
        "load_module", conf::kMain, conf::kTake1, "",
        "Accepted for compatibility: modules are built in; a note tells so.")
        .syntax("file"),
    conf::custom<apply_thread_pool>("thread_pool", conf::kMain, conf::kTake23, "",
                                    "Threads for ngx.run_worker_thread(); file reads use none.")
        .syntax("name threads=number [max_queue=number]"),
    conf::flag<&MainSettings::pcre_jit>(
        "pcre_jit", conf::kMain, "off",
        "Accepted for compatibility: regular expressions are always compiled to machine code."),
    conf::string<&MainSettings::ssl_engine>("ssl_engine", conf::kMain, "",
                                            "Accepted for compatibility, without effect."),
    conf::flag<&MainSettings::ssl_object_cache_inheritable>(
        "ssl_object_cache_inheritable", conf::kMain, "on",
        "Accepted for compatibility, without effect."),
    conf::flag<&MainSettings::quic_bpf>("quic_bpf", conf::kMain, "off",
                                        "Accepted for compatibility, without effect."),
    conf::custom<apply_error_log>("error_log", conf::kMain, conf::kOneOrMore,
                                  "logs/error.log error",
                                  "Where errors go, and from which level on.")
        .syntax("file | stderr | syslog:server=address[,parameter=value] [level]"),
};

}  // namespace

CpuMask MainSettings::cpus_of_worker(unsigned n) const {
    if (cpu_affinity.empty()) {
        return {};
    }
    if (cpu_affinity_auto) {
        const CpuMask& mask = cpu_affinity.back();
        return mask.empty() ? CpuMask{} : CpuMask{mask[n % mask.size()]};
    }
    return n < cpu_affinity.size() ? cpu_affinity[n] : cpu_affinity.back();
}

const Module main_module{
    .directives = {.module = "core", .rows = kRows, .finish = &finish_main},
};

}  // namespace moongate::engine
