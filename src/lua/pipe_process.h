// Process: a child process of ngx.pipe: its three pipes (non-blocking, in the worker's epoll set),
// its end, which a pidfd tells, and what the last read or write of each pipe gave. It belongs to
// the request (timer, …) that spawned it and is killed with it; its object lives on until the
// system has handed over the exit status. Lua sees it through ngx_http_lua_ffi_pipe_proc_t. One
// thread. Source: the ngx.pipe page of lua-resty-core's documentation.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "async/event.h"
#include "async/io.h"
#include "base/log.h"

namespace moongate::lua {

struct Context;
struct PipeHandle;

enum class PipeError : std::uint8_t { None, Closed, Aborted, Timeout, System };
enum class PipeRead : std::uint8_t { All, Bytes, Line, Any };

// One end of a pipe that the server holds.
struct PipeEnd {
    explicit PipeEnd(async::Reactor& reactor) : ready(reactor) {}

    async::Io io;  // not open: shut down
    async::Event ready;
    bool busy = false;  // a coroutine waits for it
    bool ended = false;
    PipeError error = PipeError::None;
    int error_number = 0;
    std::string input;  // read from the pipe, not yet given out
    std::size_t input_at = 0;
    std::string data;  // the result of a read; or what is to be written
    std::size_t written = 0;
    std::size_t rest = 0;  // bytes to read, or at most
    PipeRead mode = PipeRead::All;

    // What stands in the way: "closed", "timeout", …
    std::string_view error_text() const;
    // Closes it; a coroutine that waits for it is told `why`.
    void shut(PipeError why);
    // Waits (through `ready`) for the next edge of the descriptor.
    void arm(bool write);
};

class Process : public std::enable_shared_from_this<Process> {
public:
    enum class Reason : std::uint8_t { Running, Exit, Signal, Unknown };

    struct Command {
        const char* file;
        char* const* arguments;
        char* const* environment;  // null: the server's
        bool merge_stderr;
        std::size_t buffer_size;
    };
    // Starts `command` for `context`, and fills `handle`. The error's text otherwise.
    static std::string spawn(Context& context, PipeHandle& handle, const Command& command);

    Process(async::Reactor& reactor, Log log);
    ~Process();
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    // Lua's object goes, or the request ends: kills it where it still runs and lets go of the
    // handle.
    void abandon();
    // Its exit status was given out: closes what is left.
    void close();
    // Tries once; true when the read has its result (or its error).
    bool read_some(PipeEnd& end);
    bool write_some(PipeEnd& end);

    PipeEnd in;
    PipeEnd out;
    PipeEnd err;
    async::Event exited;
    pid_t pid = -1;
    bool merge_stderr = false;
    bool closed = false;   // nothing may be done with it any more
    bool waiting = false;  // a coroutine waits for its end
    Reason reason = Reason::Running;
    int status = 0;

private:
    static void on_pidfd(void* self);
    void reap();
    void unlink();

    const Log log_;  // a copy: the VM may be gone before the child
    std::size_t buffer_size_ = 4096;
    async::Io pidfd_;
    std::shared_ptr<Process> self_;  // until it is reaped and abandoned
    PipeHandle* handle_ = nullptr;
    Context* context_ = nullptr;
    Process* previous_ = nullptr;  // among the context's
    Process* next_ = nullptr;
};

// ngx_http_lua_ffi_pipe_proc_t, as ngx/pipe.lua declares it.
struct PipeHandle {
    int pid;
    std::uintptr_t write_timeout;  // milliseconds; 0: none
    std::uintptr_t stdout_read_timeout;
    std::uintptr_t stderr_read_timeout;
    std::uintptr_t wait_timeout;
    Process* process;
};

}  // namespace moongate::lua
