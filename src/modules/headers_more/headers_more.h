// headers-more: more_set_headers and its relatives change any field of responses and requests.
// Source: the documentation of OpenResty's headers-more-nginx-module. Levels add to what they
// inherit, outer statements run first. Compiling thread; the changes run on a request's worker.
#pragma once

#include "engine/module.h"

namespace moongate::modules {

extern const engine::Module headers_more_module;

}  // namespace moongate::modules
