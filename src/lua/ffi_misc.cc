// ngx.ctx, phases, parameters of set and body_filter, workers, processes, environment, ndk. What
// resty/core/ctx, phase, param, worker, misc, ndk and ngx/process bind.
#include <signal.h>
#include <unistd.h>

#include "engine/main_settings.h"
#include "engine/request.h"
#include "engine/snapshot.h"
#include "engine/worker_pid.h"
#include "engine/worker_state.h"
#include "lua/api.h"
#include "lua/context.h"
#include "lua/ffi.h"
#include "modules/set_function.h"

using namespace moongate::lua;

namespace moongate::lua {
void keep_ffi_misc() {}
}  // namespace moongate::lua

MOONGATE_FFI int ngx_http_lua_ffi_get_phase(Context* context, const char** error) {
    if (context == nullptr || context->run == nullptr) {
        if (error != nullptr) {
            *error = "no request context";
        }
        return kFfiError;
    }
    return static_cast<int>(context->phase());
}

MOONGATE_FFI int ngx_http_lua_ffi_get_ctx_ref(Context* context, int* in_ssl_phase,
                                              int* ssl_ctx_ref) {
    if (in_ssl_phase != nullptr) {
        *in_ssl_phase = 0;
    }
    if (ssl_ctx_ref != nullptr) {
        *ssl_ctx_ref = LUA_NOREF;
    }
    return context->ctx_epoch == context->vm.epoch() ? context->ctx_ref : LUA_NOREF;
}

MOONGATE_FFI int ngx_http_lua_ffi_set_ctx_ref(Context* context, int ref) {
    context->ctx_ref = ref;
    context->ctx_epoch = context->vm.epoch();
    return kFfiOk;
}

MOONGATE_FFI void ngx_http_lua_ffi_get_setby_param(Context* context, int index,
                                                   const unsigned char** data, std::size_t* size) {
    *size = 0;
    if (index >= 1 && static_cast<std::size_t>(index) <= context->set_arguments.size()) {
        const std::string_view text = context->set_arguments[static_cast<std::size_t>(index - 1)];
        *data = reinterpret_cast<const unsigned char*>(text.data());
        *size = text.size();
    }
}

MOONGATE_FFI int ngx_http_lua_ffi_get_body_filter_param_eof(Context* context) {
    return context->chunk_last ? 1 : 0;
}

MOONGATE_FFI int ngx_http_lua_ffi_get_body_filter_param_body(Context* context,
                                                             const unsigned char** data,
                                                             std::size_t* size) {
    *data = reinterpret_cast<const unsigned char*>(context->chunk.data());
    *size = context->chunk.size();
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_copy_body_filter_param_body(Context* context, unsigned char* to) {
    std::memcpy(to, context->chunk.data(), context->chunk.size());
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_worker_id() {
    return this_worker() == nullptr ? -1 : this_worker()->worker.id();
}

MOONGATE_FFI int ngx_http_lua_ffi_worker_count() {
    return this_worker() == nullptr ? 1 : this_worker()->worker.count();
}

MOONGATE_FFI int ngx_http_lua_ffi_worker_pid() {
    return this_worker() == nullptr ? ::getpid()
                                    : moongate::engine::worker_pid(this_worker()->worker);
}

MOONGATE_FFI int ngx_http_lua_ffi_worker_pids(int* pids, std::size_t* count) {
    const int known = moongate::lua::worker_pids(pids, 1024);
    *count = static_cast<std::size_t>(known);
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_worker_exiting() {
    return this_worker() != nullptr && this_worker()->exiting ? 1 : 0;
}

namespace {
bool has_master() {
    const Vm* vm = Vm::current();
    return vm == nullptr ||
           vm->snapshot().main().get<moongate::engine::MainSettings>().master_process;
}
}  // namespace

MOONGATE_FFI int ngx_http_lua_ffi_master_pid() {
    return has_master() ? ::getppid() : ::getpid();
}

MOONGATE_FFI int ngx_http_lua_ffi_get_process_type() {
    constexpr int kSingle = 0;
    constexpr int kMaster = 1;
    constexpr int kWorker = 3;
    if (!has_master()) {
        return kSingle;
    }
    // init_by_lua, which each worker runs for itself, is the master's in nginx.
    return Vm::current() != nullptr && !Vm::current()->initialised() ? kMaster : kWorker;
}

MOONGATE_FFI int ngx_http_lua_ffi_enable_privileged_agent(const char** error, unsigned) {
    *error = "workers are threads of one process: there is no privileged agent";
    return kFfiError;
}

MOONGATE_FFI void ngx_http_lua_ffi_process_signal_graceful_exit() {
    ::kill(::getpid(), SIGQUIT);
}

MOONGATE_FFI int ngx_http_lua_ffi_get_conf_env(const unsigned char* name, unsigned char** buffer,
                                               std::size_t* name_size) {
    // The application put the values of `env` directives into the environment already.
    const char* value = std::getenv(reinterpret_cast<const char*>(name));
    if (value == nullptr) {
        return kFfiDeclined;
    }
    const std::size_t size = std::strlen(reinterpret_cast<const char*>(name));
    thread_local std::string pair;
    pair.assign(reinterpret_cast<const char*>(name), size).append("=").append(value);
    *buffer = reinterpret_cast<unsigned char*>(pair.data());
    *name_size = size;
    return kFfiOk;
}

// ndk.set_var.NAME: the set functions of one value or none.
MOONGATE_FFI int ngx_http_lua_ffi_ndk_lookup_directive(const unsigned char* name, std::size_t size,
                                                       void** function) {
    const auto* found =
        moongate::modules::find_set_function({reinterpret_cast<const char*>(name), size});
    if (found == nullptr || found->values > 1) {
        return kFfiDeclined;
    }
    *function = const_cast<moongate::modules::SetFunction*>(found);
    return kFfiOk;
}

MOONGATE_FFI int ngx_http_lua_ffi_ndk_set_var_get(Context* context, void* function,
                                                  const unsigned char* argument, std::size_t size,
                                                  FfiStr* value) {
    if (context->request == nullptr) {
        return kFfiBadContext;
    }
    const std::string_view text(reinterpret_cast<const char*>(argument), size);
    const auto result = static_cast<const moongate::modules::SetFunction*>(function)->call(
        *context->request, {&text, 1}, nullptr);
    if (!result) {
        return kFfiError;
    }
    *value = {static_cast<int>(result->size()),
              reinterpret_cast<const unsigned char*>(result->data())};
    return kFfiOk;
}
