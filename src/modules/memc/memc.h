// memc_pass and memcached_pass: locations that are memcached commands, or read values from
// memcached. Source: the documentation of OpenResty's memc-nginx-module and of nginx's
// ngx_http_memcached_module. Compiling thread; requests go through upstream::UpstreamFlow.
#pragma once

#include "engine/module.h"

namespace moongate::modules {

extern const engine::Module memc_module;
extern const engine::Module memcached_module;

}  // namespace moongate::modules
