#include "modules/memc/pass.h"

#include "engine/request.h"
#include "engine/snapshot.h"
#include "upstream/dynamic_upstream.h"
#include "upstream/upstream_module.h"

namespace moongate::modules {

conf::Applied set_memc_target(conf::Compiler& compiler, const conf::Statement& statement,
                              std::shared_ptr<MemcTarget>& place) {
    auto* location = compiler.scope_object<engine::Location>();
    if (place != nullptr && place->owner == location) {
        return conf::reject_directive(statement.name, "is duplicate");
    }
    auto target = std::make_shared<MemcTarget>();
    target->owner = location;
    place = target;
    const std::string_view text = statement.arg(1);
    if (conf::has_variables(text)) {
        auto dynamic = compiler.compile_string(text);
        if (!dynamic) {
            return std::unexpected(std::move(dynamic.error()));
        }
        target->dynamic = std::move(*dynamic);
        return {};
    }
    const auto url = net::parse_host_url(text, {.default_port = 0, .allow_uri = false});
    if (!url) {
        return conf::reject(fmt::format("{} in upstream \"{}\"", url.error(), text));
    }
    return compiler.extension<upstream::UpstreamSet>().refer(
        compiler, *url, [target](std::shared_ptr<const upstream::Upstream> upstream) {
            target->upstream = std::move(upstream);
        });
}

void install_memc_pass(engine::Location& location, const MemcTarget* target,
                       engine::Handler handler) {
    if (target == nullptr) {
        return;
    }
    // A target is not inherited but by `if` and `limit_except`.
    const engine::Location* owner = &location;
    while (owner != nullptr && owner != target->owner &&
           (owner->kind == engine::LocationKind::If ||
            owner->kind == engine::LocationKind::LimitExcept)) {
        owner = owner->parent;
    }
    if (owner != target->owner) {
        return;
    }
    if (!location.content) {
        location.content = handler;
    }
    const bool by_name = location.kind == engine::LocationKind::Prefix ||
                         location.kind == engine::LocationKind::PrefixNoRegex ||
                         location.kind == engine::LocationKind::Exact;
    if (by_name && location.name.ends_with('/')) {
        location.auto_redirect = true;
    }
}

async::Task<std::shared_ptr<const upstream::Upstream>> memc_upstream(engine::Request& request,
                                                                     const MemcTarget& target,
                                                                     int& status) {
    status = 500;
    if (!target.dynamic) {
        co_return target.upstream;
    }
    const std::string_view text = target.dynamic.evaluate(request);
    if (text.empty()) {
        request.log_error(LogLevel::Error, "memc: handler: empty \"memc_pass\" target");
        co_return nullptr;
    }
    const auto url = net::parse_host_url(text, {.default_port = 0, .allow_uri = false});
    if (!url) {
        request.log_error(LogLevel::Error, "{} in upstream \"{}\"", url.error(), text);
        co_return nullptr;
    }
    if (url->no_port && !url->is_unix) {
        // Nothing but an upstream's name has no port.
        const auto* table = request.snapshot.get<upstream::UpstreamTable>();
        const auto* named = table != nullptr ? table->find(url->host) : nullptr;
        if (named == nullptr) {
            request.log_error(LogLevel::Error, "memc: upstream \"{}\" not found", text);
            co_return nullptr;
        }
        co_return *named;
    }
    status = 502;
    co_return co_await upstream::dynamic_upstream(request, *url, text);
}

}  // namespace moongate::modules
