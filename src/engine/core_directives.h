// The parts of the core directives' table, put together in core_module.cc: rows by file, so that
// none grows long. Compile time only.
#pragma once

#include <span>

#include "conf/directive.h"

namespace moongate::engine {

std::span<const conf::Directive> core_block_rows();     // http, server, location, limit_except …
std::span<const conf::Directive> core_request_rows();   // client_*, time-outs, keep-alive, limits
std::span<const conf::Directive> core_response_rows();  // root, types, error pages, redirects
std::span<const conf::Directive> core_file_rows();      // files, gzip's conditions, resolver

}  // namespace moongate::engine
