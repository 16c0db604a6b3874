#include "lua/balancer.h"

#include "engine/request.h"
#include "lua/context.h"
#include "lua/ffi.h"
#include "upstream/balancers.h"
#include "upstream/upstream.h"

namespace moongate::lua {
namespace {

// Holds for the code's run, also one that is cancelled.
class Choosing {
public:
    Choosing(Context& context, BalancerRun& run)
        : context_(context), outer_(std::exchange(context.balancer, &run)) {}
    Choosing(const Choosing&) = delete;
    ~Choosing() { context_.balancer = outer_; }

private:
    Context& context_;
    BalancerRun* outer_;
};

Error refused(int status) {
    return {ErrorKind::Denied, ErrorSide::Internal, false, status, "balancer_by_lua"};
}

}  // namespace

LuaBalancer::LuaBalancer(CodeRef code)
    : code_(std::move(code)), fallback_(upstream::make_round_robin()) {}

bool LuaBalancer::choose(upstream::Selection& selection) const {
    return fallback_->choose(selection);
}

async::Task<Result<bool>> LuaBalancer::choose_later(upstream::Selection& selection) const {
    Context* context = context_of(*selection.request);
    if (context == nullptr) {
        co_return refused(500);
    }
    ++selection.choices;
    selection.peer = nullptr;
    selection.address.reset();
    selection.terms.identity = {};
    selection.terms.keepalive.reset();
    selection.terms.local.reset();
    BalancerRun choice{selection, selection.set->upstream().pool_connections};
    {
        const Choosing choosing(*context, choice);
        Run run(*context, Phase::Balancer);
        if (!run.load(*code_)) {
            co_return refused(500);
        }
        while (!run.progress()) {
            co_await run.wakeup();
        }
        if (run.end() == Run::End::Error) {
            co_return refused(500);
        }
        if (run.exited() && run.code() != kFfiOk) {
            if (run.code() == kFfiBusy || run.code() == kFfiDeclined) {
                co_return false;
            }
            co_return refused(run.code() >= 300 ? run.code() : 500);
        }
    }
    if (!choice.peer_set) {
        co_return choose(selection);
    }
    selection.tries_left += static_cast<std::uint32_t>(choice.more_tries);
    co_return true;
}

}  // namespace moongate::lua
