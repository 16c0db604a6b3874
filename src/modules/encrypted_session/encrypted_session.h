// encrypted-session: set_encrypt_session and set_decrypt_session, values that only the holder of
// the key can make or read, with an expiry inside. Source: the documentation of OpenResty's
// encrypted-session-nginx-module; sessions of either are read by the other.
#pragma once

#include "engine/module.h"

namespace moongate::modules {

extern const engine::Module encrypted_session_module;

}  // namespace moongate::modules
