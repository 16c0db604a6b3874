// The seam between the process side (supervisor, command line, signals) and the engine that serves
// requests. The supervisor knows a configuration only as the ProcessConfig below, and the engine
// only as load() and run(). load() is called in the supervisor (with its privileges, before any
// fork: it must not start threads) and again in the engine process when a reload is announced.
// run() is called once in the forked engine process, or on a thread of the only process where
// `master_process off`. Meaning of the values: nginx's ngx_core_module documentation.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"

namespace moongate::app {

class EngineControl;

// One address of the configuration's `listen` directives with its socket options. -1: leave the
// system's default.
struct ListenSpec {
    sockaddr_storage address{};
    socklen_t address_bytes = 0;
    int type = SOCK_STREAM;
    int protocol = 0;
    int backlog = 511;
    int receive_buffer_bytes = -1;
    int send_buffer_bytes = -1;
    int fastopen_queue = -1;
    bool reuseport = false;
    // With reuseport: one socket a worker thread. Otherwise 1.
    unsigned sockets = 1;
    bool ipv6_only = true;
    bool deferred = false;
    // so_keepalive: unset, off or on; seconds and probes are 0 where the directive leaves them out.
    std::optional<bool> keepalive;
    int keepalive_idle_seconds = 0;
    int keepalive_interval_seconds = 0;
    int keepalive_probes = 0;
};

// An open listening socket as the engine sees it. `name` is the address as messages show it:
// "0.0.0.0:80",
// "[::1]:80" or "unix:/path". `copy` counts the sockets of one address (reuseport) from 0.
struct ListenSocket {
    std::string name;
    int type = SOCK_STREAM;
    unsigned copy = 0;
    int fd = -1;
};

// Whom the engine runs as. Used only where the supervisor is root.
struct Account {
    std::string user;
    uid_t uid = 0;
    gid_t gid = 0;
    bool operator==(const Account&) const = default;
};

enum class OpenMode : std::uint8_t { Read, Append };

// A file that the configuration names: a certificate or included file (Read), a log (Append). The
// supervisor opens these, and only these, for an engine that lacks the privilege; on USR1 it hands
// the logs to the account.
struct NamedFile {
    std::string path;  // absolute
    OpenMode mode = OpenMode::Read;
    bool operator==(const NamedFile&) const = default;
};

struct ProcessConfig {
    std::vector<ListenSpec> listen;
    std::string pid_path;  // absolute
    bool daemon = true;
    bool master_process = true;
    Account account;
    std::vector<std::string> environment;  // of `env`: NAME keeps the variable, NAME=VALUE sets it
    std::optional<std::uint64_t> open_files_limit;
    std::optional<std::uint64_t> core_bytes_limit;
    int priority = 0;
    std::string working_directory;  // empty: unchanged
    // What the worker threads are: a running engine cannot change their number or their CPUs.
    unsigned workers = 1;
    std::vector<std::vector<unsigned>> worker_cpus;  // empty: no affinity
    std::optional<std::chrono::milliseconds> shutdown_timeout;
    Log log;  // the main context's error_log, already open
    // One of the main error logs is standard error: nothing is echoed there a second time.
    bool log_on_stderr = false;
    // Otherwise, the first file among them: standard error is pointed at it once the server runs.
    // Empty: none.
    std::string stderr_path;
    std::vector<NamedFile> files;
};

struct Message {
    LogLevel level = LogLevel::Emerg;
    std::string text;
};

// One file of the configuration as it was read: what -T prints.
struct SourceFile {
    std::string path;
    std::string text;
};

class Configuration {
public:
    virtual ~Configuration() = default;
    virtual const ProcessConfig& process() const = 0;
    virtual std::vector<SourceFile> sources() const = 0;
};

enum class LoadPurpose : std::uint8_t {
    Serve,
    Test,    // -t: everything is checked, nothing is kept
    Signal,  // -s: only the pid path is wanted; files need not be opened
};

struct LoadRequest {
    LoadPurpose purpose = LoadPurpose::Serve;
    std::string prefix;              // ends in '/'
    std::string configuration_path;  // absolute
    // Stands for the file's content; the path is its name then, and says what includes are relative
    // to.
    std::optional<std::string> configuration_text;
    std::string directives;  // of -g
    std::string error_log;   // where the configuration has no error_log; empty: stderr
    // Set in the engine process: opens with the supervisor's privileges what this process may not
    // open itself.
    EngineControl* control = nullptr;
};

struct LoadResult {
    std::unique_ptr<Configuration> configuration;  // null: refused, the messages say why
    bool syntax_ok = false;         // false with a null configuration: the text itself is wrong
    std::vector<Message> messages;  // with nginx's wording and file:line, also warnings
};

class Engine {
public:
    virtual ~Engine() = default;
    virtual LoadResult load(const LoadRequest& request) = 0;
    // Serves until control.receive() yields Stop, or until it yields Quit and the last request has
    // ended. Returns the exit code: 0, or 2 where starting again would not help (as nginx's fatal
    // code).
    virtual int run(const Configuration& configuration, EngineControl& control) = 0;
};

}  // namespace moongate::app
