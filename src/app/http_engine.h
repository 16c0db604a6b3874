// HttpEngine: what the supervisor starts: loads configurations into snapshots and serves them with
// worker threads. load() also runs in the supervisor, which needs to know what to listen on and
// whether a file is in order.
#pragma once

#include <memory>

#include "app/engine_process.h"
#include "conf/registry.h"
#include "engine/module.h"

namespace moongate::lua {
struct Script;
}

namespace moongate::app {

class HttpEngine final : public Engine {
public:
    // The modules must outlive the engine.
    explicit HttpEngine(std::span<const engine::Module* const> modules);
    ~HttpEngine() override;

    LoadResult load(const LoadRequest& request) override;
    int run(const Configuration& configuration, EngineControl& control) override;
    // Runs the script on a worker that listens nowhere, without a supervisor; its exit code.
    int run_script(const Configuration& configuration, const lua::Script& script);

    const conf::Registry& registry() const { return registry_; }

private:
    class Loaded;
    class Serving;

    std::unique_ptr<Loaded> compile(const LoadRequest& request, LoadResult& result);
    bool try_out(const Loaded& loaded, LoadResult& result);

    std::span<const engine::Module* const> modules_;
    conf::Registry registry_;
    std::uint64_t version_ = 0;
};

}  // namespace moongate::app
