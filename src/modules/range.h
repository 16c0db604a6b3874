// The range filters: the head's half (Accept-Ranges, 206, 416) stands last among the filters, since
// it needs the final length; the body's half stands behind not_modified, before filters that change
// bytes. Source: RFC 9110 §14, nginx's ngx_http_range_filter_module.
#pragma once

#include "engine/module.h"

namespace moongate::modules {

extern const engine::Module range_body_module;
extern const engine::Module range_header_module;

}  // namespace moongate::modules
