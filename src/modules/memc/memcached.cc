// memcached_pass: the value under $memcached_key is the response.
#include "engine/request.h"
#include "engine/request_body.h"
#include "http/uri.h"
#include "modules/memc/memc.h"
#include "modules/memc/pass.h"
#include "modules/memc/protocol.h"
#include "upstream/proxy_settings.h"

namespace moongate::modules {

namespace {

using conf::Applied;
using conf::Compiler;
using conf::Statement;
using engine::Action;
using engine::Request;

struct MemcachedSettings {
    std::shared_ptr<MemcTarget> target;
    int key = -1;  // $memcached_key
    conf::CompiledString bind;
    bool bind_transparent = false;
    bool socket_keepalive = false;
    Milliseconds connect_timeout{60000};
    Milliseconds send_timeout{60000};
    Milliseconds read_timeout{60000};
    Milliseconds next_upstream_timeout{0};
    std::int64_t next_upstream_tries = 0;
    std::size_t buffer_size = 4096;
    std::uint32_t next_upstream = 0;
    std::uint32_t gzip_flag = 0;
    upstream::FlowOptions flow;  // from the above, once a level is complete
};

async::Task<Action> memcached_handler(Request& request) {
    if (request.method != http::Method::Get && request.method != http::Method::Head) {
        co_return Action::finish(405);
    }
    if (const Status read = co_await engine::discard_request_body(request); !read) {
        co_return Action::finish(read.error().code >= 400 ? read.error().code : 400);
    }
    const auto& settings = request.get<MemcachedSettings>();
    const std::string_view text = request.text(settings.key);
    if (text.empty()) {
        request.log_error(LogLevel::Error, "the \"$memcached_key\" variable is not set");
        co_return Action::finish(500);
    }
    int failure = 0;
    auto upstream = co_await memc_upstream(request, *settings.target, failure);
    if (upstream == nullptr) {
        co_return Action::finish(failure);
    }
    const std::string_view key =
        http::escape_uri(text, http::EscapeType::Memcached, request.arena());
    auto* protocol = request.arena().make<MemcProtocol>(
        request, MemcCommand::Get, request.arena().concat("get ", key, "\r\n"), key,
        MemcFlags{.variable = -1, .to_last_modified = false, .gzip = settings.gzip_flag});
    auto* flow = request.arena().make<upstream::UpstreamFlow>(request, settings.flow, *protocol,
                                                              std::move(upstream));
    flow->describe("memcached://", "");
    flow->set_location(&settings);
    co_return co_await flow->run();
}

void no_key(Request&, std::uintptr_t, conf::VariableValue& value) {
    value.set_missing();
}

constexpr conf::VariableRow kVariables[] = {
    {.name = "memcached_key",
     .get = &no_key,
     .flags = conf::VariableFlags::Changeable | conf::VariableFlags::Weak,
     .doc = "The key whose value memcached_pass responds with."},
};

Applied apply_pass(Compiler& compiler, const Statement& statement, MemcachedSettings& settings) {
    settings.key = compiler.variables().index("memcached_key");
    return set_memc_target(compiler, statement, settings.target);
}

Applied apply_bind(Compiler& compiler, const Statement& statement, MemcachedSettings& settings,
                   const conf::Directive& row) {
    return upstream::read_bind(compiler, statement, row, settings.bind, settings.bind_transparent);
}

Applied finish_level(Compiler&, conf::Level& level) {
    auto& settings = level.edit<MemcachedSettings>();
    derive_memc_flow(settings);
    settings.flow.bind = settings.bind;
    settings.flow.bind_transparent = settings.bind_transparent;
    settings.flow.socket_keepalive = settings.socket_keepalive;
    settings.flow.next_upstream_timeout = settings.next_upstream_timeout;
    settings.flow.next_upstream_tries = static_cast<std::uint64_t>(settings.next_upstream_tries);
    return {};
}

void install(engine::Location& location) {
    install_memc_pass(location, location.settings->get<MemcachedSettings>().target.get(),
                      {.name = "memcached_pass", .wait = &memcached_handler});
}

using S = MemcachedSettings;
constexpr conf::Contexts kLevels = conf::kHttpLevels;

constexpr std::array kRows{
    conf::custom<apply_pass>("memcached_pass", conf::kLocation | conf::kLocationIf, conf::kTake1,
                             "",
                             "Responds with the value of $memcached_key of the memcached server or "
                             "upstream named.")
        .syntax("address | upstream"),
    conf::custom<apply_bind>("memcached_bind", kLevels, conf::kTake12, "off",
                             "The local address of connections to servers.")
        .syntax("address [transparent] | off"),
    conf::flag<&S::socket_keepalive>("memcached_socket_keepalive", kLevels, "off",
                                     "TCP keepalive on connections to servers."),
    conf::msec<&S::connect_timeout>("memcached_connect_timeout", kLevels, "60s",
                                    "How long a connection may take to be made."),
    conf::msec<&S::send_timeout>("memcached_send_timeout", kLevels, "60s",
                                 "Between two writes to the server."),
    conf::size<&S::buffer_size>("memcached_buffer_size", kLevels, "4k",
                                "For the first line of an answer; a longer one is an error.")
        .within(128, 64 * 1024 * 1024),
    conf::msec<&S::read_timeout>("memcached_read_timeout", kLevels, "60s",
                                 "Between two reads from the server."),
    conf::bitmask<&S::next_upstream>("memcached_next_upstream", kLevels, kMemcNext, "error timeout",
                                     "When the next server is asked."),
    conf::number<&S::next_upstream_tries>("memcached_next_upstream_tries", kLevels, "0",
                                          "At most so many servers are asked; 0: all."),
    conf::msec<&S::next_upstream_timeout>("memcached_next_upstream_timeout", kLevels, "0",
                                          "No further server is asked after this time; 0: no "
                                          "limit."),
    conf::number<&S::gzip_flag>("memcached_gzip_flag", kLevels, "0",
                                "Bits of the flags that say that a value is compressed: the "
                                "response gets Content-Encoding."),
};

}  // namespace

const engine::Module memcached_module{
    .directives = {.module = "memcached", .rows = kRows, .finish = &finish_level},
    .variables = kVariables,
    .install = &install,
};

}  // namespace moongate::modules
