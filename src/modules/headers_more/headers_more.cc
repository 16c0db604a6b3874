#include "modules/headers_more/headers_more.h"

#include <array>

#include "conf/compiler.h"
#include "engine/location.h"
#include "engine/request.h"
#include "modules/headers_more/rules.h"

namespace moongate::modules {

namespace {

using conf::Applied;

struct HeadersMoreSettings {
    std::vector<HeadersRule> response;
    std::vector<HeadersRule> request;
};

template <auto Member>
Applied apply(conf::Compiler& compiler, const conf::Statement& statement,
              HeadersMoreSettings& settings) {
    auto rule = parse_headers_rule(compiler, statement);
    if (!rule) {
        return std::unexpected(std::move(rule.error()));
    }
    (settings.*Member).push_back(std::move(*rule));
    return {};
}

Status adjust_head(engine::Request& request) {
    for (const HeadersRule& rule : request.get<HeadersMoreSettings>().response) {
        if (Status changed = change_response(request, rule); !changed) {
            return changed;
        }
    }
    return {};
}

engine::Action change_request_headers(engine::Request& request) {
    if (request.exchange.head().major < 1) {
        return engine::Action::next();
    }
    for (const HeadersRule& rule : request.get<HeadersMoreSettings>().request) {
        if (!change_request(request, rule)) {
            return engine::Action::finish(400);
        }
    }
    return engine::Action::next();
}

constexpr engine::Filter kFilter{.name = "headers_more", .adjust_head = &adjust_head};

void install(engine::Location& location) {
    const auto& settings = location.settings->get<HeadersMoreSettings>();
    if (!settings.response.empty()) {
        location.filters.push_back(&kFilter);
    }
    if (!settings.request.empty()) {
        location.handlers.add(engine::Phase::Rewrite,
                              {.name = "headers_more", .run = &change_request_headers});
    }
}

constexpr conf::Contexts kContexts = conf::kHttpLevels | conf::kLocationIf;

constexpr std::array kRows{
    conf::custom<apply<&HeadersMoreSettings::response>>(
        "more_set_headers", kContexts, conf::kOneOrMore, "",
        "Sets fields of responses, -s of these statuses, -t of these types; an empty value takes "
        "a field away, -a adds to those that are there.")
        .syntax("[-t types] [-s statuses] [-a] 'name: value' ...")
        .merged(conf::Merge::Accumulate),
    conf::custom<apply<&HeadersMoreSettings::response>>(
        "more_clear_headers", kContexts, conf::kOneOrMore, "",
        "Takes fields of responses away; a `*` at the end of a name stands for any rest.")
        .syntax("[-t types] [-s statuses] name ...")
        .merged(conf::Merge::Accumulate),
    conf::custom<apply<&HeadersMoreSettings::request>>(
        "more_set_input_headers", kContexts, conf::kOneOrMore, "",
        "Sets fields of requests at the end of the rewrite phase, -t of these types, -r only "
        "where they are.")
        .syntax("[-r] [-t types] 'name: value' ...")
        .merged(conf::Merge::Accumulate),
    conf::custom<apply<&HeadersMoreSettings::request>>(
        "more_clear_input_headers", kContexts, conf::kOneOrMore, "",
        "Takes fields of requests away; a `*` at the end of a name stands for any rest.")
        .syntax("[-t types] name ...")
        .merged(conf::Merge::Accumulate),
};

}  // namespace

const engine::Module headers_more_module{
    .directives = {.module = "headers-more", .rows = kRows},
    .install = &install,
};

}  // namespace moongate::modules
