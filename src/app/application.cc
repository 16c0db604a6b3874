#include "app/application.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "app/command_line.h"
#include "app/daemon.h"
#include "app/early_log.h"
#include "app/listeners.h"
#include "app/pid_file.h"
#include "app/process_title.h"
#include "app/signals.h"
#include "app/supervisor.h"
#include "app/upgrade.h"
#include "app/version.h"
#include "base/clock.h"
#include "base/log_hooks.h"

namespace moongate::app {
namespace {

void write_to(std::FILE* stream, std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stream);
    std::fflush(stream);
}

void show_version(const CommandLine& options) {
    write_to(stderr, version_text());
    if (options.show_help) {
        write_to(stderr, usage_text());
    }
    if (options.show_configure) {
        write_to(stderr, build_text());
    }
}

// Relative paths would change their meaning with working_directory.
std::string absolute(std::string path) {
    char here[4096];
    if (path.starts_with('/') || path.empty() || ::getcwd(here, sizeof here) == nullptr) {
        return path;
    }
    return fmt::format("{}/{}", here, path);
}

LoadRequest make_load_request(const CommandLine& options, const Paths& paths) {
    LoadRequest request;
    request.purpose = options.test              ? LoadPurpose::Test
                      : !options.signal.empty() ? LoadPurpose::Signal
                                                : LoadPurpose::Serve;
    request.prefix = absolute(paths.prefix);
    request.configuration_path = absolute(paths.configuration);
    request.directives = options.directives;
    request.error_log = absolute(paths.error_log);
    return request;
}

void dump_sources(const Configuration& configuration) {
    for (const SourceFile& file : configuration.sources()) {
        write_to(stdout, fmt::format("# configuration file {}:\n", file.path));
        write_to(stdout, file.text);
        write_to(stdout, "\n");
    }
}

// -t and -T.
int test_configuration(const CommandLine& options, const std::string& path,
                       const LoadResult& loaded, const Log& log) {
    if (!options.quiet && (loaded.syntax_ok || loaded.configuration != nullptr)) {
        print_stderr(fmt::format("the configuration file {} syntax is ok", path));
    }
    const Configuration* configuration = loaded.configuration.get();
    if (configuration == nullptr || !test_pid_file(configuration->process().pid_path, log) ||
        !test_listeners(configuration->process().listen, log)) {
        print_stderr(fmt::format("configuration file {} test failed", path));
        return 1;
    }
    if (!options.quiet) {
        print_stderr(fmt::format("configuration file {} test is successful", path));
    }
    if (options.dump) {
        dump_sources(*configuration);
    }
    return 0;
}

void log_system(const Log& log) {
    log.write(LogLevel::Notice, 0, "using the \"epoll\" event method");
    log.write(LogLevel::Notice, 0, kNginxVersion);
    log.print(LogLevel::Notice, 0, "built by {}", compiler_text());
    utsname system{};
    if (::uname(&system) == 0) {
        log.print(LogLevel::Notice, 0, "OS: {} {}", system.sysname, system.release);
    }
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
        log.print(LogLevel::Notice, 0, "getrlimit(RLIMIT_NOFILE): {}:{}", files.rlim_cur,
                  files.rlim_max);
    }
}

struct Inherited {
    ListenerSet listeners;
    bool present = false;
};

Inherited take_inherited(const Log& log) {
    const char* variable = ::getenv(kInheritVariable);
    if (variable == nullptr) {
        return {};
    }
    Inherited inherited{inherit_listeners(variable, log), true};
    // Neither an engine nor what it executes has a use for it.
    ::unsetenv(kInheritVariable);
    return inherited;
}

int serve(std::span<char* const> arguments, Engine& engine, LoadRequest request,
          std::unique_ptr<Configuration> configuration, Inherited inherited) {
    const ProcessConfig& config = configuration->process();
    const Log log = config.log_on_stderr ? config.log : with_stderr_echo(config.log);
    // Before the first client can see an open port: a HUP sent on that sign waits for the
    // supervisor instead of ending the program.
    block_supervisor_signals();
    auto listeners = open_listeners(config.listen, inherited.listeners, log);
    Clock::current().update();
    if (!listeners) {
        return 1;
    }
    inherited.listeners = {};  // closes those that this configuration does not name
    configure_listeners(*listeners, config.listen, log);
    log_system(config.log);

    const pid_t parent = ::getppid();
    const bool detach = config.daemon && !inherited.present;
    UniqueFd readiness;
    if (detach) {
        auto daemon = become_daemon(log);
        if (!daemon) {
            return 1;
        }
        readiness = std::move(*daemon);
    }
    if (!write_pid_file(config.pid_path, ::getpid(), log)) {
        return 1;
    }
    if (!config.log_on_stderr && !inherited.present) {
        start_log_echo(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    }
    redirect_stderr(config);

    Supervisor::Setup setup{.engine = engine,
                            .load = std::move(request),
                            .arguments = {arguments.begin(), arguments.end()},
                            .executable = executable_path(arguments.front()),
                            .configuration = std::move(configuration),
                            .listeners = std::move(*listeners),
                            .background = detach || inherited.present,
                            .upgraded_from = inherited.present ? parent : 0,
                            .readiness = std::move(readiness)};
    prepare_process_title(arguments);
    return Supervisor(std::move(setup)).run();
}

}  // namespace

int run_application(std::span<char* const> arguments, Engine& engine,
                    std::span<const Subcommand> subcommands) {
    if (const auto code = run_subcommand(subcommands, arguments)) {
        return *code;
    }
    const auto options = parse_command_line(arguments);
    if (!options) {
        print_stderr(options.error());
        return 1;
    }
    if (options->show_version) {
        show_version(*options);
        if (!options->test) {
            return 0;
        }
    }
    Clock::current().update();
    const LoadRequest request = make_load_request(*options, resolve_paths(*options));
    const Log early =
        make_early_log(request.error_log, options->test ? LogLevel::Info : LogLevel::Notice);
    Inherited inherited = take_inherited(early);

    LoadResult loaded = engine.load(request);
    Clock::current().update();
    for (const Message& message : loaded.messages) {
        early.write(message.level, 0, message.text);
    }
    if (options->test) {
        return test_configuration(*options, request.configuration_path, loaded, early);
    }
    if (loaded.configuration == nullptr) {
        return 1;
    }
    if (!options->signal.empty()) {
        return signal_process(loaded.configuration->process().pid_path, options->signal, early);
    }
    return serve(arguments, engine, request, std::move(loaded.configuration), std::move(inherited));
}

}  // namespace moongate::app
