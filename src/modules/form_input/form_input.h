// form-input: set_form_input and set_form_input_multi take fields of urlencoded request bodies.
// Source: the documentation of form-input-nginx-module. The body is read where the first of them
// stands in the script; the request waits for it there.
#pragma once

#include "engine/module.h"

namespace moongate::modules {

extern const engine::Module form_input_module;

}  // namespace moongate::modules
