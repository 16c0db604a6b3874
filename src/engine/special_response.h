// Responses that no handler made: error pages, redirects without a body, and the statuses that only
// close the connection. Source: nginx's error_page documentation.
#pragma once

#include "async/task.h"
#include "engine/action.h"

namespace moongate::engine {

class Request;

// Ends the request with `status` (nginx's ngx_http_finalize_request with a special status):
// Redirect when an error_page leads elsewhere; Done when the response was sent or none is due.
async::Task<Action> finish_with_status(Request& request, int status);

}  // namespace moongate::engine
