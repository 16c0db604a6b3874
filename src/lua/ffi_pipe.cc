// ngx.pipe: what ngx/pipe.lua of lua-resty-core binds. A call that need not wait answers at once;
// otherwise it starts an op and Lua yields by itself, then asks for the result. Waiting works in
// every phase. Source: the ngx.pipe page of lua-resty-core's documentation.
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "lua/context.h"
#include "lua/ffi.h"
#include "lua/pipe_process.h"

namespace moongate::lua {
void keep_ffi_pipe() {}

namespace {

int fail(unsigned char* error, std::size_t* size, std::string_view text) {
    *size = std::min(*size, text.size());
    std::memcpy(error, text.data(), *size);
    return kFfiError;
}

Milliseconds time_limit(std::uintptr_t milliseconds) {
    return milliseconds == 0 ? async::kNoDeadline
                             : Milliseconds(static_cast<std::int64_t>(milliseconds));
}

// Marks an end as waited for, and closes it where it was shut down meanwhile.
struct Busy {
    PipeEnd& end;
    explicit Busy(PipeEnd& used) : end(used) { end.busy = true; }
    ~Busy() {
        end.busy = false;
        if (end.io.is_open()) {
            end.io.registration().on_readable = nullptr;
            end.io.registration().on_writable = nullptr;
        }
    }
};

Op transfer_op(Coroutine&, std::shared_ptr<Process> process, PipeEnd& end, bool write,
               Milliseconds limit) {
    const Busy busy(end);
    for (;;) {
        end.arm(write);
        const bool in_time = co_await end.ready.wait(limit);
        if (end.error == PipeError::Aborted) {
            end.io.close();
            break;
        }
        if (!in_time) {
            end.error = PipeError::Timeout;
            break;
        }
        const PipeError before = end.error;
        if (write ? process->write_some(end) : process->read_some(end)) {
            if (before == PipeError::Closed) {
                end.error = before;
            }
            break;
        }
        if (before == PipeError::Closed) {
            break;
        }
    }
    if (process->closed) {
        end.io.close();
    }
    co_return 0;
}

// 0 while the coroutine may wait.
int check_waiting(const Context* context, unsigned char* error, std::size_t* size) {
    if (context->run == nullptr || context->run->current() == nullptr) {
        fail(error, size, "API disabled in the current context");
        return kFfiBadContext;
    }
    return kFfiOk;
}

void begin_transfer(Context& context, Process& process, PipeEnd& end, bool write,
                    std::uintptr_t limit) {
    int results = 0;
    static_cast<void>(start_wait(context,
                                 transfer_op(*context.run->current(), process.shared_from_this(),
                                             end, write, time_limit(limit)),
                                 results));
}

// A result that does not fit stays where it is until Lua comes with a larger buffer.
int give(PipeEnd& end, unsigned char** buffer, std::size_t* room, unsigned char* error,
         std::size_t* size) {
    if (*room < end.data.size()) {
        *buffer = nullptr;
        *room = end.data.size();
    } else {
        *room = end.data.size();
        std::memcpy(*buffer, end.data.data(), end.data.size());
        end.data = {};
    }
    if (end.error == PipeError::None) {
        return kFfiOk;
    }
    fail(error, size, end.error_text());
    return kFfiDeclined;
}

int shut(PipeHandle* handle, PipeEnd Process::* end, unsigned char* error, std::size_t* size) {
    Process* process = handle->process;
    if (process == nullptr || process->closed) {
        return fail(error, size, "closed");
    }
    if (end == &Process::err && process->merge_stderr) {
        return fail(error, size, "merged to stdout");
    }
    (process->*end)
        .shut(process->reason == Process::Reason::Running ? PipeError::Aborted : PipeError::Closed);
    return kFfiOk;
}

const char* reason_text(const Process& process) {
    return process.reason == Process::Reason::Exit     ? "exit"
           : process.reason == Process::Reason::Signal ? "signal"
                                                       : "unknown";
}

Op wait_op(Coroutine& waiting, std::shared_ptr<Process> process, Milliseconds limit) {
    struct Waiting {
        Process& process;
        explicit Waiting(Process& waited) : process(waited) { process.waiting = true; }
        ~Waiting() { process.waiting = false; }
    };
    bool in_time = false;
    {
        const Waiting mark(*process);
        in_time = co_await process->exited.wait(limit);
    }
    if (!in_time) {
        lua_pushnil(waiting.L);
        lua_pushliteral(waiting.L, "timeout");
        co_return 2;
    }
    process->close();
    lua_pushboolean(waiting.L, process->status == 0 ? 1 : 0);
    lua_pushstring(waiting.L, reason_text(*process));
    lua_pushinteger(waiting.L, process->status);
    co_return 3;
}

}  // namespace
}  // namespace moongate::lua

using namespace moongate::lua;

MOONGATE_FFI int ngx_http_lua_ffi_pipe_spawn(Context* context, PipeHandle* handle, const char* file,
                                             const char** arguments, int merge_stderr,
                                             std::size_t buffer_size, const char** environment,
                                             unsigned char* error, std::size_t* size) {
    if (context == nullptr) {
        return fail(error, size, "no request found");
    }
    const std::string problem =
        Process::spawn(*context, *handle,
                       {.file = file,
                        .arguments = const_cast<char* const*>(arguments),
                        .environment = const_cast<char* const*>(environment),
                        .merge_stderr = merge_stderr != 0,
                        .buffer_size = buffer_size});
    return problem.empty() ? kFfiOk : fail(error, size, problem);
}

MOONGATE_FFI int ngx_http_lua_ffi_pipe_proc_read(Context* context, PipeHandle* handle,
                                                 int from_stderr, int mode, std::size_t length,
                                                 unsigned char** buffer, std::size_t* room,
                                                 unsigned char* error, std::size_t* size) {
    if (const int problem = check_waiting(context, error, size); problem != kFfiOk) {
        return problem;
    }
    Process* process = handle->process;
    if (process == nullptr || process->closed) {
        return fail(error, size, "closed");
    }
    if (process->merge_stderr && from_stderr != 0) {
        return fail(error, size, "merged to stdout");
    }
    PipeEnd& end = from_stderr != 0 ? process->err : process->out;
    if (!end.io.is_open()) {
        return fail(error, size, "closed");
    }
    if (end.busy) {
        return fail(error, size, "pipe busy reading");
    }
    end.error = PipeError::None;
    end.mode = static_cast<PipeRead>(mode);
    end.rest = length;
    if (process->read_some(end)) {
        return give(end, buffer, room, error, size);
    }
    begin_transfer(*context, *process, end, false,
                   from_stderr != 0 ? handle->stderr_read_timeout : handle->stdout_read_timeout);
    return kFfiAgain;
}

MOONGATE_FFI int ngx_http_lua_ffi_pipe_get_read_result(Context*, PipeHandle* handle,
                                                       int from_stderr, unsigned char** buffer,
                                                       std::size_t* room, unsigned char* error,
                                                       std::size_t* size) {
    Process* process = handle->process;
    if (process == nullptr) {
        return fail(error, size, "closed");
    }
    return give(from_stderr != 0 ? process->err : process->out, buffer, room, error, size);
}

MOONGATE_FFI ssize_t ngx_http_lua_ffi_pipe_proc_write(Context* context, PipeHandle* handle,
                                                      const unsigned char* data, std::size_t length,
                                                      unsigned char* error, std::size_t* size) {
    if (const int problem = check_waiting(context, error, size); problem != kFfiOk) {
        return problem;
    }
    Process* process = handle->process;
    if (process == nullptr || process->closed || !process->in.io.is_open()) {
        return fail(error, size, "closed");
    }
    PipeEnd& end = process->in;
    if (end.busy) {
        return fail(error, size, "pipe busy writing");
    }
    end.error = PipeError::None;
    end.data.assign(reinterpret_cast<const char*>(data), length);
    end.written = 0;
    if (!process->write_some(end)) {
        begin_transfer(*context, *process, end, true, handle->write_timeout);
        return kFfiAgain;
    }
    end.data = {};
    return end.error == PipeError::None ? static_cast<ssize_t>(length)
                                        : fail(error, size, end.error_text());
}

MOONGATE_FFI ssize_t ngx_http_lua_ffi_pipe_get_write_result(Context*, PipeHandle* handle,
                                                            unsigned char* error,
                                                            std::size_t* size) {
    Process* process = handle->process;
    if (process == nullptr) {
        return fail(error, size, "closed");
    }
    const auto length = static_cast<ssize_t>(process->in.data.size());
    process->in.data = {};
    return process->in.error == PipeError::None ? length
                                                : fail(error, size, process->in.error_text());
}

MOONGATE_FFI int ngx_http_lua_ffi_pipe_proc_shutdown_stdin(PipeHandle* handle, unsigned char* error,
                                                           std::size_t* size) {
    return shut(handle, &Process::in, error, size);
}
MOONGATE_FFI int ngx_http_lua_ffi_pipe_proc_shutdown_stdout(PipeHandle* handle,
                                                            unsigned char* error,
                                                            std::size_t* size) {
    return shut(handle, &Process::out, error, size);
}
MOONGATE_FFI int ngx_http_lua_ffi_pipe_proc_shutdown_stderr(PipeHandle* handle,
                                                            unsigned char* error,
                                                            std::size_t* size) {
    return shut(handle, &Process::err, error, size);
}

MOONGATE_FFI int ngx_http_lua_ffi_pipe_proc_wait(Context* context, PipeHandle* handle,
                                                 const char** reason, int* status,
                                                 unsigned char* error, std::size_t* size) {
    if (const int problem = check_waiting(context, error, size); problem != kFfiOk) {
        return problem;
    }
    Process* process = handle->process;
    if (process == nullptr || process->closed) {
        return fail(error, size, "exited");
    }
    if (process->waiting) {
        return fail(error, size, "pipe busy waiting");
    }
    if (process->reason == Process::Reason::Running) {
        int results = 0;
        static_cast<void>(start_wait(*context,
                                     wait_op(*context->run->current(), process->shared_from_this(),
                                             time_limit(handle->wait_timeout)),
                                     results));
        return kFfiAgain;
    }
    *status = process->status;
    *reason = reason_text(*process);
    process->close();
    return *status == 0 ? kFfiOk : kFfiDeclined;
}

MOONGATE_FFI int ngx_http_lua_ffi_pipe_proc_kill(PipeHandle* handle, int signal,
                                                 unsigned char* error, std::size_t* size) {
    const Process* process = handle->process;
    if (process == nullptr || process->reason != Process::Reason::Running) {
        return fail(error, size, "exited");
    }
    if (::kill(process->pid, signal) == 0) {
        return kFfiOk;
    }
    return fail(error, size,
                errno == EINVAL  ? "invalid signal"
                : errno == ESRCH ? "exited"
                                 : std::strerror(errno));
}

MOONGATE_FFI void ngx_http_lua_ffi_pipe_proc_destroy(PipeHandle* handle) {
    if (handle->process != nullptr) {
        handle->process->abandon();
    }
}
