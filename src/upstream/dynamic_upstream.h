// The upstream that a target with variables comes to for one request: a block of that name, an
// address, or a name that the resolver knows. One worker.
#pragma once

#include <memory>
#include <string_view>

#include "async/task.h"
#include "net/host_url.h"
#include "upstream/upstream.h"

namespace moongate::engine {
class Request;
}

namespace moongate::upstream {

// `url` and `name`, the upstream's in log lines, must live as long as the task. Null: there is none
// (logged).
async::Task<std::shared_ptr<const Upstream>> dynamic_upstream(engine::Request& request,
                                                              const net::HostUrl& url,
                                                              std::string_view name);

}  // namespace moongate::upstream
