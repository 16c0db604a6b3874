// The filter of conditional requests: If-Modified-Since, If-None-Match (304), If-Unmodified-Since
// and If-Match (412), for responses with status 200. It stands first among the filters. Source:
// RFC 9110 §13 as nginx's ngx_http_not_modified_filter_module reads it.
#pragma once

#include "engine/module.h"

namespace moongate::modules {

extern const engine::Module not_modified_module;

// Whether `list` of If-Match or If-None-Match names `etag`; "*" names any. Weak: "W/" is passed
// over on both sides.
bool etag_list_names(std::string_view list, std::string_view etag, bool weak);

}  // namespace moongate::modules
