// See log.h. A level's logs replace those of its parent; without any the server writes
// logs/access.log in the combined format. The handler runs in the log phase on the request's
// worker.
#include "modules/log/log.h"

#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <unordered_map>
#include <vector>

#include "conf/compiler.h"
#include "engine/location.h"
#include "engine/log_opener.h"
#include "engine/paths.h"
#include "engine/request.h"
#include "engine/worker_state.h"
#include "modules/log/log_file.h"
#include "modules/log/log_format.h"

namespace moongate::modules {

namespace {

using conf::Applied;
using conf::Compiler;
using conf::Statement;

int worker_slot = -1;

struct NamedFormat {
    std::string name;
    std::shared_ptr<const LogFormat> format;
};

struct AccessLog {
    std::shared_ptr<AccessLogFile> file;  // null: `path` has variables
    conf::CompiledString path;
    std::shared_ptr<const LogFormat> format;
    conf::CompiledString condition;
};

struct LogSettings {
    std::vector<NamedFormat> formats;
    std::vector<std::shared_ptr<AccessLog>> logs;
    bool off = false;
    LogFileCache cache;
};

// What one compilation has opened so far, so that a path has one AccessLogFile.
struct LogFiles {
    std::unordered_map<std::string, std::shared_ptr<AccessLogFile>> files;
    std::shared_ptr<const LogFormat> combined;
};

constexpr char kLogsKey = 0;
constexpr std::string_view kDefaultPath = "logs/access.log";

conf::Expected<std::shared_ptr<const LogFormat>> combined_format(Compiler& compiler) {
    auto& files = compiler.extension<LogFiles>();
    if (files.combined == nullptr) {
        auto format = LogFormat::combined(compiler.variables());
        if (!format) {
            return std::unexpected(std::move(format.error()));
        }
        files.combined = std::make_shared<const LogFormat>(std::move(*format));
    }
    return files.combined;
}

// The file of that name, opened when the configuration has been read to its end.
std::shared_ptr<AccessLogFile> named_file(Compiler& compiler, const std::string& path) {
    auto& file = compiler.extension<LogFiles>().files[path];
    if (file == nullptr) {
        file = std::make_shared<AccessLogFile>();
        file->path = path;
        compiler.at_end(
            [file, &compiler] { return file->wanted ? file->open(compiler) : Applied(); });
    }
    return file;
}

Applied apply_log_format(Compiler& compiler, const Statement& statement, LogSettings& settings) {
    const std::string_view name = statement.arg(1);
    bool taken = name == "combined";
    for (const NamedFormat& known : settings.formats) {
        taken = taken || known.name == name;
    }
    if (taken) {
        return conf::reject(fmt::format("duplicate \"log_format\" name \"{}\"", name));
    }
    std::span<const std::string> parts(statement.args);
    parts = parts.subspan(1);
    LogEscape escape = LogEscape::Default;
    constexpr std::string_view kEscape = "escape=";
    if (parts.front().starts_with(kEscape)) {
        const std::string_view word = std::string_view(parts.front()).substr(kEscape.size());
        if (word == "json") {
            escape = LogEscape::Json;
        } else if (word == "none") {
            escape = LogEscape::None;
        } else if (word != "default") {
            return conf::reject(fmt::format("unknown log format escaping \"{}\"", word));
        }
        parts = parts.subspan(1);
    }
    auto format = LogFormat::compile(parts, escape, compiler.variables());
    if (!format) {
        return std::unexpected(std::move(format.error()));
    }
    settings.formats.push_back(
        {std::string(name), std::make_shared<const LogFormat>(std::move(*format))});
    return {};
}

Applied set_destination(Compiler& compiler, std::string_view target, AccessLog& log) {
    constexpr std::string_view kSyslog = "syslog:";
    if (target.starts_with(kSyslog)) {
        auto sink = compiler.extension<engine::LogOpener>().syslog(target.substr(kSyslog.size()));
        if (!sink) {
            return std::unexpected(std::move(sink.error()));
        }
        log.file = std::make_shared<AccessLogFile>();
        log.file->path = target;
        log.file->sink = *sink;
        log.file->syslog = std::dynamic_pointer_cast<net::SyslogSink>(*sink);
        return {};
    }
    const std::string path = compiler.full_path(target);
    if (!conf::has_variables(target)) {
        log.file = named_file(compiler, path);
        log.file->wanted = true;
        return {};
    }
    auto compiled = compiler.compile_string(path);
    if (!compiled) {
        return std::unexpected(std::move(compiled.error()));
    }
    log.path = std::move(*compiled);
    return {};
}

Applied set_format(Compiler& compiler, std::string_view name, const LogSettings& settings,
                   AccessLog& log) {
    if (equals_ignore_case(name, "combined")) {
        auto combined = combined_format(compiler);
        if (!combined) {
            return std::unexpected(std::move(combined.error()));
        }
        log.format = std::move(*combined);
        return {};
    }
    for (const NamedFormat& known : settings.formats) {
        if (equals_ignore_case(known.name, name)) {
            log.format = known.format;
            return {};
        }
    }
    return conf::reject(fmt::format("unknown log format \"{}\"", name));
}

struct BufferOptions {
    std::int64_t bytes = 0;
    std::int64_t flush_ms = 0;
};

Applied read_option(Compiler& compiler, std::string_view option, AccessLog& log,
                    BufferOptions& buffer) {
    if (option.starts_with("buffer=")) {
        const std::string_view text = option.substr(7);
        buffer.bytes = conf::parse_size(text).value_or(0);
        if (buffer.bytes == 0) {
            return conf::reject(fmt::format("invalid buffer size \"{}\"", text));
        }
        return {};
    }
    if (option.starts_with("flush=")) {
        const std::string_view text = option.substr(6);
        buffer.flush_ms = conf::parse_msec(text).value_or(0);
        if (buffer.flush_ms == 0) {
            return conf::reject(fmt::format("invalid flush time \"{}\"", text));
        }
        return {};
    }
    if (option == "gzip" || option.starts_with("gzip=")) {
        return conf::reject(
            "\"gzip\" of access_log is not supported; rotate and compress the file");
    }
    if (option.starts_with("if=")) {
        auto condition = compiler.compile_string(option.substr(3));
        if (!condition) {
            return std::unexpected(std::move(condition.error()));
        }
        log.condition = std::move(*condition);
        return {};
    }
    return conf::reject(fmt::format("invalid parameter \"{}\"", option));
}

Applied set_buffer(std::string_view target, const BufferOptions& buffer, AccessLog& log) {
    if (buffer.bytes == 0) {
        if (buffer.flush_ms != 0) {
            return conf::reject(fmt::format("no buffer is defined for access_log \"{}\"", target));
        }
        return {};
    }
    if (log.file == nullptr) {
        return conf::reject("buffered logs cannot have variables in name");
    }
    if (log.file->syslog != nullptr) {
        return conf::reject("logs to syslog cannot be buffered");
    }
    AccessLogFile& file = *log.file;
    const auto bytes = static_cast<std::size_t>(buffer.bytes);
    if (file.buffer_bytes != 0 &&
        (file.buffer_bytes != bytes || file.flush != Milliseconds(buffer.flush_ms))) {
        return conf::reject(
            fmt::format("access_log \"{}\" already defined with conflicting parameters", target));
    }
    file.buffer_bytes = bytes;
    file.flush = Milliseconds(buffer.flush_ms);
    return {};
}

Applied apply_access_log(Compiler& compiler, const Statement& statement, LogSettings& settings) {
    if (compiler.level().first(&kLogsKey)) {
        settings.logs.clear();
        settings.off = false;
    }
    const std::string_view target = statement.arg(1);
    if (target == "off") {
        if (statement.args.size() > 1) {
            return conf::reject(fmt::format("invalid parameter \"{}\"", statement.arg(2)));
        }
        settings.off = true;
        return {};
    }
    auto log = std::make_shared<AccessLog>();
    if (Applied set = set_destination(compiler, target, *log); !set) {
        return set;
    }
    const std::string_view format =
        statement.args.size() > 1 ? statement.arg(2) : std::string_view("combined");
    if (Applied set = set_format(compiler, format, settings, *log); !set) {
        return set;
    }
    BufferOptions buffer;
    for (std::size_t n = 3; n <= statement.args.size(); ++n) {
        if (Applied read = read_option(compiler, statement.arg(n), *log, buffer); !read) {
            return read;
        }
    }
    if (Applied set = set_buffer(target, buffer, *log); !set) {
        return set;
    }
    settings.logs.push_back(std::move(log));
    return {};
}

Applied apply_cache(Compiler&, const Statement& statement, LogSettings& settings) {
    LogFileCache cache;
    for (const std::string& argument : statement.args) {
        const std::string_view option = argument;
        const std::string_view value = option.substr(std::min(option.find('=') + 1, option.size()));
        bool good = true;
        if (option.starts_with("max=")) {
            const auto max = conf::parse_integer(value);
            good = max.has_value();
            cache.max = static_cast<std::size_t>(max.value_or(0));
        } else if (option.starts_with("inactive=") || option.starts_with("valid=")) {
            const auto seconds = conf::parse_seconds(value);
            good = seconds.has_value();
            auto& member = option[0] == 'i' ? cache.inactive : cache.valid;
            member = std::chrono::seconds(seconds.value_or(0));
        } else if (option.starts_with("min_uses=")) {
            good = conf::parse_integer(value).has_value();
        } else if (option == "off") {
            settings.cache = {};
            return {};
        } else {
            good = false;
        }
        if (!good) {
            return conf::reject(
                fmt::format("invalid \"open_log_file_cache\" parameter \"{}\"", option));
        }
    }
    if (cache.max == 0) {
        return conf::reject("\"open_log_file_cache\" must have \"max\" parameter");
    }
    settings.cache = cache;
    return {};
}

// The root gets the log that holds where no level names any. It is opened only if a location ends
// up with it.
Applied finish_level(Compiler& compiler, conf::Level& level) {
    auto& settings = level.edit<LogSettings>();
    if (!settings.logs.empty() || settings.off || compiler.context() != conf::kMain) {
        return {};
    }
    auto log = std::make_shared<AccessLog>();
    log->file = std::make_shared<AccessLogFile>();
    log->file->path = compiler.full_path(kDefaultPath);
    compiler.at_end([log, &compiler]() -> Applied {
        if (!log->file->wanted) {
            return {};
        }
        auto format = combined_format(compiler);
        if (!format) {
            return std::unexpected(std::move(format.error()));
        }
        log->format = std::move(*format);
        return log->file->open(compiler);
    });
    settings.logs.push_back(std::move(log));
    return {};
}

// Whether a file with a computed name may be made: only below a document root that exists.
bool root_exists(engine::Request& request) {
    const std::string root(engine::document_root(request));
    struct stat info{};
    const int error = ::stat(root.c_str(), &info) != 0 ? errno
                      : S_ISDIR(info.st_mode)          ? 0
                                                       : ENOTDIR;
    if (error != 0) {
        request.log_error(LogLevel::Error, "testing \"{}\" existence failed {}", root,
                          errno_text(error));
    }
    return error == 0;
}

void write_computed(engine::Request& request, LogBuffers& buffers, const AccessLog& log,
                    std::string_view line) {
    if (!root_exists(request)) {
        return;
    }
    const std::string_view path = log.path.evaluate(request);
    const bool has_nul = path.find('\0') != std::string_view::npos;
    const auto sink = has_nul ? nullptr : buffers.open(path, request.get<LogSettings>().cache);
    if (sink == nullptr) {
        request.log_error(LogLevel::Crit, "open() \"{}\" failed {}", path,
                          errno_text(has_nul ? EINVAL : errno));
        return;
    }
    sink->write(LogLevel::Info, line);
}

engine::Action write_logs(engine::Request& request) {
    auto& buffers = *request.worker.get<LogBuffers>(worker_slot);
    thread_local std::string line;
    for (const auto& log : request.get<LogSettings>().logs) {
        if (log->condition) {
            const std::string_view value = log->condition.evaluate(request);
            if (value.empty() || value == "0") {
                continue;
            }
        }
        if (log->format == nullptr) {
            continue;
        }
        line.clear();
        log->format->append(request, line);
        line.push_back('\n');
        if (log->file != nullptr) {
            buffers.write(*log->file, line);
        } else {
            write_computed(request, buffers, *log, line);
        }
    }
    return engine::Action::next();
}

void install(engine::Location& location) {
    const auto& settings = location.settings->get<LogSettings>();
    if (settings.off || settings.logs.empty()) {
        return;
    }
    for (const auto& log : settings.logs) {
        if (log->file != nullptr) {
            log->file->wanted = true;
        }
    }
    location.handlers.add(engine::Phase::Log, {.name = "log", .run = &write_logs});
}

Status start_worker(engine::WorkerState& worker) {
    worker.put(worker_slot, std::make_unique<LogBuffers>(worker.reactor()));
    return {};
}

async::Task<void> stop_worker(engine::WorkerState& worker) {
    flush_access_logs(worker);
    co_return;
}

constexpr std::array kRows{
    conf::custom<apply_log_format>("log_format", conf::kHttp, conf::kTwoOrMore, "combined \"...\"",
                                   "Names the form of access logs' lines.")
        .syntax("name [escape=default | json | none] string ..."),
    conf::custom<apply_access_log>(
        "access_log", conf::kHttpLevels | conf::kLocationIf | conf::kLimitExcept, conf::kOneOrMore,
        "logs/access.log combined", "Where requests are logged, and how.")
        .syntax("path [format [buffer=size] [flush=time] [if=condition]] | off"),
    conf::custom<apply_cache>("open_log_file_cache", conf::kHttpLevels, conf::kTake1234, "off",
                              "How many logs with variables in their names stay open.")
        .syntax("max=N [inactive=time] [min_uses=N] [valid=time] | off")
        .merged(conf::Merge::Inherit),
};

}  // namespace

void flush_access_logs(engine::WorkerState& worker) {
    if (auto* buffers = worker.get<LogBuffers>(worker_slot); buffers != nullptr) {
        buffers->flush();
    }
}

const engine::Module log_module{
    .directives = {.module = "log", .rows = kRows, .finish = &finish_level},
    .worker_slot = &worker_slot,
    .install = &install,
    .start_worker = &start_worker,
    .serve = [](engine::WorkerState& worker,
                const engine::Snapshot&) { flush_access_logs(worker); },
    .stop_worker = &stop_worker,
};

}  // namespace moongate::modules
