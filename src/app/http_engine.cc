#include "app/http_engine.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <future>

#include "app/engine_control.h"
#include "app/version.h"
#include "base/clock.h"
#include "conf/compiler.h"
#include "conf/syntax.h"
#include "engine/builder.h"
#include "engine/log_opener.h"
#include "engine/main_settings.h"
#include "engine/worker_state.h"
#include "engine/workers.h"
#include "lua/script.h"
#include "net/syslog_sink.h"

namespace moongate::app {
namespace {

using engine::LogOpener;
using engine::MainSettings;

// Reads what this process may read itself, and asks the supervisor for the rest.
class PrivilegedReader final : public conf::FileReader {
public:
    explicit PrivilegedReader(EngineControl* control)
        : control_(control), plain_(conf::make_file_reader()) {}

    std::expected<std::string, Failure> read(const std::string& path) override {
        auto text = plain_->read(path);
        if (text || control_ == nullptr ||
            (text.error().errno_value != EACCES && text.error().errno_value != EPERM)) {
            return text;
        }
        const Result<UniqueFd> file = control_->open(path, OpenMode::Read);
        if (!file) {
            return text;
        }
        std::string content;
        char block[16384];
        for (;;) {
            const ssize_t got = ::read(file->get(), block, sizeof block);
            if (got < 0) {
                return std::unexpected(Failure{errno, "read()"});
            }
            if (got == 0) {
                return content;
            }
            content.append(block, static_cast<std::size_t>(got));
        }
    }

    std::expected<std::vector<std::string>, Failure> glob(const std::string& pattern) override {
        return plain_->glob(pattern);
    }

private:
    EngineControl* control_;
    std::unique_ptr<conf::FileReader> plain_;
};

std::shared_ptr<LogOpener> make_log_opener(const LoadRequest& request) {
    auto opener = std::make_shared<LogOpener>();
    opener->has_default_path = true;
    opener->default_path = request.error_log;
    opener->open_syslog = [](std::string_view parameters) -> LogOpener::Opened {
        const auto settings = net::parse_syslog(parameters);
        if (!settings) {
            return conf::reject(settings.error());
        }
        auto sink = net::make_syslog_sink(*settings);
        if (!sink) {
            return conf::reject(sink.error());
        }
        return *sink;
    };
    if (request.purpose == LoadPurpose::Signal) {
        opener->open_file = [](const std::string&) -> LogOpener::Opened {
            return make_stderr_sink();
        };
    } else if (EngineControl* control = request.control; control != nullptr) {
        opener->open_file = [control](const std::string& path) -> LogOpener::Opened {
            Result<UniqueFd> file = control->open(path, OpenMode::Append);
            if (!file) {
                return conf::reject(
                    fmt::format("open() \"{}\" failed {}", path, errno_text(file.error().code)));
            }
            return make_file_sink(path, file->release());
        };
    }
    return opener;
}

ListenSpec listen_spec(const engine::ListenSocket& socket, unsigned workers) {
    const engine::ListenAddress& bound = *socket.bound;
    const engine::ListenOptions& options = bound.options;
    ListenSpec spec;
    spec.address = bound.address;
    spec.address_bytes = bound.address_size;
    spec.backlog = options.backlog;
    spec.receive_buffer_bytes = options.rcvbuf > 0 ? options.rcvbuf : -1;
    spec.send_buffer_bytes = options.sndbuf > 0 ? options.sndbuf : -1;
    spec.fastopen_queue = options.fastopen;
    spec.reuseport = options.reuseport;
    spec.sockets = options.reuseport ? workers : 1;
    spec.ipv6_only = options.ipv6only;
    spec.deferred = options.deferred;
    if (options.so_keepalive >= 0) {
        spec.keepalive = options.so_keepalive == 1;
        spec.keepalive_idle_seconds = options.keepalive_idle_s;
        spec.keepalive_interval_seconds = options.keepalive_interval_s;
        spec.keepalive_probes = options.keepalive_count;
    }
    return spec;
}

}  // namespace

// One accepted configuration.
class HttpEngine::Loaded final : public Configuration {
public:
    const ProcessConfig& process() const override { return process_; }
    std::vector<SourceFile> sources() const override {
        std::vector<SourceFile> files;
        for (const conf::SourceFile& file : tree_.files) {
            files.push_back({file.path, file.text});
        }
        return files;
    }

    // Fills process() from the snapshot.
    void describe() {
        const auto& main = snapshot_->main().get<MainSettings>();
        const auto workers = static_cast<unsigned>(main.worker_processes);
        for (const engine::ListenSocket& socket : snapshot_->sockets()) {
            process_.listen.push_back(listen_spec(socket, workers));
        }
        process_.pid_path = main.pid;
        process_.daemon = main.daemon;
        process_.master_process = main.master_process;
        if (main.has_account) {
            process_.account = {main.user, main.uid, main.gid};
        }
        process_.environment = main.environment;
        if (main.rlimit_nofile) {
            process_.open_files_limit = static_cast<std::uint64_t>(*main.rlimit_nofile);
        }
        if (main.rlimit_core) {
            process_.core_bytes_limit = static_cast<std::uint64_t>(*main.rlimit_core);
        }
        process_.priority = main.priority;
        process_.working_directory = main.working_directory;
        process_.workers = workers;
        for (unsigned n = 0; n < workers; ++n) {
            auto cpus = main.cpus_of_worker(n);
            if (!cpus.empty()) {
                process_.worker_cpus.push_back(std::move(cpus));
            }
        }
        if (main.shutdown_timeout > Milliseconds::zero()) {
            process_.shutdown_timeout = main.shutdown_timeout;
        }
        process_.log = *main.error_log;
        process_.stderr_path = main.stderr_path;
        process_.log_on_stderr = std::ranges::any_of(
            main.error_log->outputs(),
            [this](const Log::Output& output) { return output.sink == logs_->standard_error(); });
        for (const conf::SourceFile& file : tree_.files) {
            process_.files.push_back({file.path, OpenMode::Read});
        }
        for (const std::string& path : logs_->paths()) {
            process_.files.push_back({path, OpenMode::Append});
        }
    }

    ProcessConfig process_;
    conf::SyntaxTree tree_;
    std::shared_ptr<const engine::Snapshot> snapshot_;
    std::shared_ptr<LogOpener> logs_;
};

HttpEngine::HttpEngine(std::span<const engine::Module* const> modules)
    : modules_(modules), registry_([&] {
          std::vector<conf::ModuleDirectives> tables;
          for (const engine::Module* module : modules) {
              tables.push_back(module->directives);
          }
          return conf::Registry(tables);
      }()) {
    for (std::size_t i = 0; i < modules.size(); ++i) {
        if (modules[i]->context_slot != nullptr) {
            *modules[i]->context_slot = static_cast<int>(i);
        }
        if (modules[i]->worker_slot != nullptr) {
            *modules[i]->worker_slot = static_cast<int>(i);
        }
    }
}

HttpEngine::~HttpEngine() = default;

std::unique_ptr<HttpEngine::Loaded> HttpEngine::compile(const LoadRequest& request,
                                                        LoadResult& result) {
    const auto refuse = [&result](conf::ConfError error) {
        result.messages.push_back({LogLevel::Emerg, std::move(error.message)});
        return nullptr;
    };
    PrivilegedReader reader(request.control);
    const std::string conf_prefix =
        request.configuration_path.substr(0, request.configuration_path.rfind('/') + 1);
    conf::ParseOptions parsing;
    parsing.reader = &reader;
    parsing.conf_prefix = conf_prefix;
    parsing.is_lua_block = [this](std::string_view name) { return registry_.is_lua_block(name); };

    auto loaded = std::make_unique<Loaded>();
    std::vector<conf::Statement> first;
    if (!request.directives.empty()) {
        auto given = conf::parse_text(request.directives, "", parsing);
        if (!given) {
            return refuse(given.error());
        }
        first = std::move(given->statements);
    }
    auto tree = request.configuration_text ? conf::parse_text(*request.configuration_text,
                                                              request.configuration_path, parsing)
                                           : conf::parse_file(request.configuration_path, parsing);
    if (!tree) {
        return refuse(tree.error());
    }
    loaded->tree_ = std::move(*tree);
    std::vector<conf::Statement>& statements = loaded->tree_.statements;
    statements.insert(statements.begin(), std::make_move_iterator(first.begin()),
                      std::make_move_iterator(first.end()));

    conf::VariableTable variables;
    for (const engine::Module* module : modules_) {
        variables.add(module->variables);
    }
    conf::CompilerOptions options;
    options.prefix = request.prefix;
    options.conf_prefix = conf_prefix;
    options.reader = &reader;
    options.report = [&result](LogLevel level, std::string_view text) {
        result.messages.push_back({level, std::string(text)});
    };
    conf::Compiler compiler(registry_, variables, std::move(options));
    loaded->logs_ = make_log_opener(request);
    compiler.set_extension(loaded->logs_);
    auto& builder = compiler.extension<engine::SnapshotBuilder>();
    builder.modules = modules_;
    builder.configure_arguments = configure_arguments();
    auto main = compiler.compile(statements);
    if (!main) {
        return refuse(main.error());
    }
    auto snapshot = builder.build(++version_, compiler, std::move(*main), std::move(variables));
    if (!snapshot) {
        return refuse(snapshot.error());
    }
    for (const engine::ListenSocket& socket : (*snapshot)->sockets()) {
        if (socket.bound->options.proxy_protocol) {
            return refuse(conf::ConfError::unplaced(
                fmt::format("the \"proxy_protocol\" parameter of \"listen {}\" is not built yet",
                            socket.bound->text)));
        }
    }
    loaded->snapshot_ = std::move(*snapshot);
    loaded->describe();
    return loaded;
}

// What only runs when a worker starts (init_by_lua) may fail too: `-t` says so.
bool HttpEngine::try_out(const Loaded& loaded, LoadResult& result) {
    async::Worker thread(0, static_cast<int>(loaded.process_.workers));
    engine::WorkerState worker(thread);
    worker.prepare(modules_.size());
    worker.begin(loaded.snapshot_);
    for (const engine::Module* module : modules_) {
        if (module->try_configuration == nullptr) {
            continue;
        }
        if (auto tried = module->try_configuration(worker); !tried) {
            result.messages.push_back({LogLevel::Error, std::move(tried.error().message)});
            return false;
        }
    }
    return true;
}

LoadResult HttpEngine::load(const LoadRequest& request) {
    LoadResult result;
    auto loaded = compile(request, result);
    if (loaded != nullptr && request.purpose == LoadPurpose::Test && !try_out(*loaded, result)) {
        return result;
    }
    result.syntax_ok = loaded != nullptr;
    result.configuration = std::move(loaded);
    return result;
}

// The engine process's main thread: commands in, workers below.
class HttpEngine::Serving {
public:
    Serving(HttpEngine& engine, const Loaded& first, EngineControl& control)
        : engine_(engine),
          control_(control),
          snapshot_(first.snapshot_),
          logs_(first.logs_),
          shutdown_timeout_(first.process_.shutdown_timeout.value_or(Milliseconds(0))),
          finished_(eventfd(0, EFD_CLOEXEC)),
          workers_(options(first)) {}
    ~Serving() { ::close(finished_); }

    static engine::WorkersOptions options(const Loaded& first) {
        const auto& main = first.snapshot_->main().get<MainSettings>();
        engine::WorkersOptions options;
        options.count = static_cast<int>(first.process_.workers);
        options.cpus = first.process_.worker_cpus;
        options.max_connections = static_cast<std::size_t>(
            first.snapshot_->main().get<engine::EventSettings>().worker_connections);
        options.log = *main.error_log;
        return options;
    }

    int run() {
        if (Status started = workers_.start(snapshot_, sockets()); !started) {
            snapshot_->main().get<MainSettings>().error_log->print(LogLevel::Emerg, 0, "{}",
                                                                   started.error().detail);
            return 2;
        }
        snapshot_.reset();
        control_.ready();
        for (;;) {
            pollfd list[] = {{control_.fd(), POLLIN, 0}, {finished_, POLLIN, 0}};
            if (::poll(list, 2, -1) < 0 && errno != EINTR) {
                return 1;
            }
            Clock::current().update();
            while (const std::optional<Command> command = control_.receive()) {
                if (command->kind == CommandKind::Stop) {
                    workers_.stop();
                    return 0;
                }
                obey(*command);
            }
            if ((list[1].revents & POLLIN) != 0) {
                workers_.stop();
                return 0;
            }
        }
    }

private:
    std::vector<engine::AcceptSocket> sockets() const {
        std::vector<engine::AcceptSocket> sockets;
        const auto& listeners = control_.listeners();
        for (const ListenSocket& listener : listeners) {
            const bool several = std::ranges::any_of(listeners, [&](const ListenSocket& other) {
                return other.name == listener.name && other.copy > 0;
            });
            sockets.push_back(
                {listener.name, listener.fd, several ? static_cast<int>(listener.copy) : -1});
        }
        return sockets;
    }

    void obey(const Command& command) {
        switch (command.kind) {
            case CommandKind::Quit:
                workers_.quit(shutdown_timeout_, [fd = finished_] {
                    const std::uint64_t one = 1;
                    [[maybe_unused]] const ssize_t written = ::write(fd, &one, sizeof one);
                });
                control_.close_listeners();
                break;
            case CommandKind::Reopen:
                logs_->reopen();
                break;
            case CommandKind::Reload:
                reload(command);
                break;
            case CommandKind::Stop:
                break;
        }
    }

    void reload(const Command& command) {
        LoadRequest request = control_.load_request();
        request.control = &control_;
        LoadResult result;
        const std::unique_ptr<Loaded> loaded = engine_.compile(request, result);
        if (loaded == nullptr) {
            control_.reload_failed(command, result.messages);
            return;
        }
        logs_ = loaded->logs_;
        shutdown_timeout_ = loaded->process_.shutdown_timeout.value_or(Milliseconds(0));
        workers_.serve(loaded->snapshot_, sockets());
        control_.reloaded(command, loaded->process_.log);
    }

    HttpEngine& engine_;
    EngineControl& control_;
    std::shared_ptr<const engine::Snapshot> snapshot_;
    std::shared_ptr<LogOpener> logs_;
    Milliseconds shutdown_timeout_;
    int finished_;
    engine::Workers workers_;
};

int HttpEngine::run(const Configuration& configuration, EngineControl& control) {
    // The only Configuration there is comes from load().
    return Serving(*this, static_cast<const Loaded&>(configuration), control).run();
}

int HttpEngine::run_script(const Configuration& configuration, const lua::Script& script) {
    const auto& loaded = static_cast<const Loaded&>(configuration);
    engine::Workers workers(Serving::options(loaded));
    if (const Status started = workers.start(loaded.snapshot_, {}); !started) {
        return 1;
    }
    std::promise<int> ended;
    workers.on_each([&](engine::WorkerState& worker) {
        lua::start_script(worker, script, [&ended](int code) { ended.set_value(code); });
    });
    const int code = ended.get_future().get();
    workers.stop();
    return code;
}

}  // namespace moongate::app
