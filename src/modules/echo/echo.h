// echo_module: echo-nginx-module's directives and $echo_* variables. The directives of a location
// form a list of commands that its content handler carries out in order; echo_before_body and
// echo_after_body are a response filter. Source: the documentation of echo-nginx-module 0.63.
#pragma once

#include "engine/module.h"

namespace moongate::modules {

extern const engine::Module echo_module;

}  // namespace moongate::modules
