// What handlers of this folder share: the Action that follows a sent response, and the media type
// that `types` and `default_type` give a request. On the request's worker.
#pragma once

#include <string_view>

#include "base/result.h"
#include "engine/action.h"

namespace moongate::engine {
class Request;
}

namespace moongate::modules {

// After send_head(), send_body() or send(): done, or the status with which a filter refused the
// response (412, 416), or 499 where the client is gone.
engine::Action after_send(const Status& sent);

// By the URI's extension, in any case; `default_type` where that is not known. Lives as long as the
// snapshot.
std::string_view media_type(engine::Request& request);

}  // namespace moongate::modules
