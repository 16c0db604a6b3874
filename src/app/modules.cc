#include "app/modules.h"

#include "engine/core_module.h"
#include "lua/module.h"
#include "modules/access.h"
#include "modules/array_var/array_var.h"
#include "modules/echo/echo.h"
#include "modules/encrypted_session/encrypted_session.h"
#include "modules/form_input/form_input.h"
#include "modules/headers.h"
#include "modules/headers_more/headers_more.h"
#include "modules/log/log.h"
#include "modules/map.h"
#include "modules/memc/memc.h"
#include "modules/not_modified.h"
#include "modules/range.h"
#include "modules/rewrite/rewrite.h"
#include "modules/set_misc/set_misc.h"
#include "modules/static_files.h"
#include "upstream/proxy_module.h"
#include "upstream/upstream_module.h"

namespace moongate::app {
namespace {

// Handlers of one phase run in this order: rewrite directives before rewrite_by_lua, allow and deny
// before access_by_lua, log_by_lua before access_log. Response filters likewise: conditions and
// ranges see a file's response first, Lua sees what more_set_headers left and add_header has not
// touched yet, as in OpenResty.
constexpr const engine::Module* kModules[] = {
    &engine::main_module,
    &engine::events_module,
    &engine::core_module,
    &upstream::upstream_module,
    &upstream::proxy_module,
    &modules::memc_module,
    &modules::memcached_module,
    &modules::map_module,
    &modules::rewrite_module,
    &modules::set_misc_module,
    &modules::array_var_module,
    &modules::form_input_module,
    &modules::encrypted_session_module,
    &modules::access_module,
    &modules::try_files_module,
    &modules::index_module,
    &modules::static_module,
    &modules::not_modified_module,
    &modules::range_body_module,
    &modules::headers_more_module,
    &lua::lua_module,
    &modules::echo_module,
    &modules::headers_module,
    &modules::range_header_module,
    &modules::log_module,
};

}  // namespace

std::span<const engine::Module* const> modules() {
    return kModules;
}

}  // namespace moongate::app
