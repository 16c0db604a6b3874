// The way of a request: from its head through the phases to its log line.
#pragma once

#include "async/task.h"
#include "http/exchange.h"

namespace moongate::engine {

class Request;

// Runs the request whole. The response has been handed to the exchange when the task ends. With a
// `failure` no phase but the log's runs: the client gets its status.
async::Task<void> run(Request& request, http::HeadFailure failure);
// The same, but begins before the task is awaited: a request that has nothing to wait for is behind
// when this returns.
async::Task<void> run_now(Request& request, http::HeadFailure failure);

}  // namespace moongate::engine
