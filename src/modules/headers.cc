// See headers.h. A level with statements of its own inherits none of its parent's, unless
// add_header_inherit says otherwise; to know which are its own, a level's settings keep both lists
// until its statements are complete.
#include "modules/headers.h"

#include <array>
#include <vector>

#include "base/clock.h"
#include "conf/compiler.h"
#include "engine/builder.h"
#include "engine/core_settings.h"
#include "engine/request.h"
#include "modules/expires.h"

namespace moongate::modules {

namespace {

using conf::Applied;
using conf::Compiler;
using conf::Statement;
using http::HeaderId;

enum class Inherit : std::uint8_t { Off, On, Merge };

struct AddedHeader {
    std::string name;
    HeaderId id = HeaderId::Other;
    conf::CompiledString value;
    bool always = false;
};

struct HeaderRules {
    std::vector<AddedHeader> effective;  // what requests get
    std::vector<AddedHeader> inherited;  // of the parent level
    std::vector<AddedHeader> own;
    Inherit inherit = Inherit::On;

    void begin_level() {
        inherited = std::move(effective);
        own.clear();
        effective.clear();
    }
    void end_level() {
        effective = own;
        if (inherit == Inherit::Merge || (inherit == Inherit::On && own.empty())) {
            effective.insert(effective.end(), inherited.begin(), inherited.end());
        }
    }
};

struct HeadersSettings {
    HeaderRules headers;
    HeaderRules trailers;
    Expires expires;
    conf::CompiledString expires_text;  // unset: `expires` is final
    // The location whose statements made this struct; others inherited it as it is.
    const engine::Location* owner = nullptr;
};

constexpr char kLevelKey = 0;

// Before the first change that a level makes.
void begin_level(Compiler& compiler, HeadersSettings& settings) {
    if (compiler.level().first(&kLevelKey)) {
        settings.headers.begin_level();
        settings.trailers.begin_level();
        settings.owner = engine::current_location(compiler);
    }
}

Applied finish_level(Compiler& compiler, conf::Level& level) {
    auto& settings = level.edit<HeadersSettings>();
    if (!level.first(&kLevelKey)) {
        settings.headers.end_level();
        settings.trailers.end_level();
    }
    return {};
}

Applied apply_add(Compiler& compiler, const Statement& statement, HeadersSettings& settings) {
    begin_level(compiler, settings);
    AddedHeader added;
    added.name = statement.arg(1);
    added.id = http::header_id(added.name);
    auto value = compiler.compile_string(statement.arg(2));
    if (!value) {
        return std::unexpected(std::move(value.error()));
    }
    added.value = std::move(*value);
    if (statement.args.size() > 2) {
        if (statement.arg(3) != "always") {
            return conf::reject(fmt::format("invalid parameter \"{}\"", statement.arg(3)));
        }
        added.always = true;
    }
    auto& rules = statement.name == "add_trailer" ? settings.trailers : settings.headers;
    rules.own.push_back(std::move(added));
    return {};
}

Applied apply_inherit(Compiler& compiler, const Statement& statement, HeadersSettings& settings) {
    begin_level(compiler, settings);
    const std::string_view word = statement.arg(1);
    auto& rules = statement.name == "add_trailer_inherit" ? settings.trailers : settings.headers;
    if (word == "off") {
        rules.inherit = Inherit::Off;
    } else if (word == "on") {
        rules.inherit = Inherit::On;
    } else if (word == "merge") {
        rules.inherit = Inherit::Merge;
    } else {
        return conf::reject(fmt::format("invalid value \"{}\"", word));
    }
    return {};
}

Applied apply_expires(Compiler& compiler, const Statement& statement, HeadersSettings& settings) {
    begin_level(compiler, settings);
    const bool modified = statement.args.size() > 1;
    if (modified && statement.arg(1) != "modified") {
        return conf::reject_directive("expires", "invalid value");
    }
    const std::string_view text = statement.arg(modified ? 2 : 1);
    auto compiled = compiler.compile_string(text);
    if (!compiled) {
        return std::unexpected(std::move(compiled.error()));
    }
    if (!compiled->is_constant()) {
        settings.expires = {.kind = modified ? Expires::Kind::Modified : Expires::Kind::Access};
        settings.expires_text = std::move(*compiled);
        return {};
    }
    const auto expires = parse_expires(text, modified);
    if (!expires) {
        return conf::reject_directive("expires", expires.error());
    }
    settings.expires = *expires;
    settings.expires_text = {};
    return {};
}

bool is_safe_status(int status) {
    switch (status) {
        case 200:
        case 201:
        case 204:
        case 206:
        case 301:
        case 302:
        case 303:
        case 304:
        case 307:
        case 308:
            return true;
        default:
            return false;
    }
}

// Sets both fields, whatever they were.
void set_caching(engine::Request& request, std::string_view expires, std::string_view control) {
    request.response.headers.set(HeaderId::Expires, expires);
    request.response.headers.set(HeaderId::CacheControl, control);
}

void set_expires(engine::Request& request, const HeadersSettings& settings) {
    Expires expires = settings.expires;
    const std::int64_t configured_seconds = expires.seconds;
    if (settings.expires_text) {
        const auto parsed = parse_expires(settings.expires_text.evaluate(request),
                                          expires.kind == Expires::Kind::Modified);
        if (!parsed) {
            return;
        }
        expires = *parsed;
    }
    Arena& arena = request.arena();
    Clock& clock = Clock::current();
    const std::int64_t now = clock.unix_seconds();
    std::int64_t at = 0;
    std::int64_t age = 0;
    switch (expires.kind) {
        case Expires::Kind::Off:
            return;
        case Expires::Kind::Epoch:
            set_caching(request, "Thu, 01 Jan 1970 00:00:01 GMT", "no-cache");
            return;
        case Expires::Kind::Max:
            set_caching(request, "Thu, 31 Dec 2037 23:55:55 GMT", "max-age=315360000");
            return;
        case Expires::Kind::Daily:
            at = next_time_of_day(expires.seconds, now);
            age = at - now;
            break;
        case Expires::Kind::Access:
        case Expires::Kind::Modified:
            if (expires.seconds == 0) {
                set_caching(request, arena.copy(clock.http_date()), "max-age=0");
                return;
            }
            if (expires.kind == Expires::Kind::Access || request.response.last_modified < 0) {
                age = expires.seconds;
                at = now + age;
            } else {
                at = request.response.last_modified + expires.seconds;
                age = at - now;
            }
            break;
    }
    char* date = arena.allocate_chars(30);
    format_http_date(at, date);
    set_caching(request, {date, 29},
                configured_seconds < 0 || age < 0 ? std::string_view("no-cache")
                                                  : arena.copy(fmt::format("max-age={}", age)));
}

void set_last_modified(engine::Response& response, std::string_view name, std::string_view value) {
    response.headers.remove(HeaderId::LastModified);
    const std::int64_t time = value.empty() ? -1 : parse_http_date(value);
    response.last_modified = -1;
    if (time >= 0) {
        char date[32];
        format_http_date(time, date);
        if (value == std::string_view(date, 29)) {
            response.last_modified = time;
            return;
        }
    }
    if (!value.empty()) {
        response.headers.add(name, value);  // as written
    }
}

void add_header(engine::Request& request, const AddedHeader& added) {
    const std::string_view value = added.value.evaluate(request);
    engine::Response& response = request.response;
    switch (added.id) {
        case HeaderId::LastModified:
            set_last_modified(response, added.name, value);
            return;
        case HeaderId::ETag:
            response.headers.remove(HeaderId::ETag);
            break;
        default:
            break;
    }
    if (!value.empty()) {
        response.headers.add(added.name, value);
    }
}

// Trailers need a response of unknown length where HTTP/1.1 is to carry them.
void expect_trailers(engine::Request& request, const HeadersSettings& settings, bool safe) {
    engine::Response& response = request.response;
    bool any = false;
    for (const AddedHeader& added : settings.trailers.effective) {
        any = any || safe || added.always;
    }
    if (!any || request.header_only || response.status == 204 || response.status == 304) {
        return;
    }
    const http::RequestHead& head = request.exchange.head();
    if (head.major == 1) {
        if (head.minor == 0 ||
            !request.get<engine::CoreLocationSettings>().chunked_transfer_encoding) {
            return;
        }
        response.content_length = -1;
    }
    auto* trailers = request.arena().make<http::HeaderList>(request.arena());
    response.trailers = trailers;
}

Status adjust_head(engine::Request& request) {
    if (request.main != &request) {
        return {};
    }
    const auto& settings = request.get<HeadersSettings>();
    const bool safe = is_safe_status(request.response.status);
    if (safe && (settings.expires_text || settings.expires.kind != Expires::Kind::Off)) {
        set_expires(request, settings);
    }
    for (const AddedHeader& added : settings.headers.effective) {
        if (safe || added.always) {
            add_header(request, added);
        }
    }
    if (!settings.trailers.effective.empty()) {
        expect_trailers(request, settings, safe);
    }
    return {};
}

async::Task<Status> add_trailers(engine::Request& request, engine::BodyChunk chunk,
                                 engine::FilterPosition next) {
    if (chunk.flags.last && request.response.trailers != nullptr && request.main == &request) {
        // The list is this filter's: adjust_head() made it for this response.
        auto& trailers = const_cast<http::HeaderList&>(*request.response.trailers);
        const auto& settings = request.get<HeadersSettings>();
        const bool safe = is_safe_status(request.response.status);
        for (const AddedHeader& added : settings.trailers.effective) {
            if (!safe && !added.always) {
                continue;
            }
            if (const auto value = added.value.evaluate(request); !value.empty()) {
                trailers.add(added.name, value);
            }
        }
    }
    return engine::next_body(request, chunk, next);
}

constexpr engine::Filter kHeaders{.name = "headers", .adjust_head = &adjust_head};
constexpr engine::Filter kTrailers{
    .name = "headers", .adjust_head = &adjust_head, .body = &add_trailers};

void install(engine::Location& location) {
    const auto& settings = location.settings->get<HeadersSettings>();
    const bool foreign = settings.owner != &location;
    // `off` at an outer level keeps that level's own from everything inside it.
    const bool headers = !settings.headers.effective.empty() &&
                         !(foreign && settings.headers.inherit == Inherit::Off);
    const bool trailers = !settings.trailers.effective.empty() &&
                          !(foreign && settings.trailers.inherit == Inherit::Off);
    const bool expires = settings.expires_text || settings.expires.kind != Expires::Kind::Off;
    if (trailers) {
        location.filters.push_back(&kTrailers);
    } else if (headers || expires) {
        location.filters.push_back(&kHeaders);
    }
}

constexpr conf::Contexts kContexts = conf::kHttpLevels | conf::kLocationIf;

constexpr std::array kRows{
    conf::custom<apply_expires>("expires", kContexts, conf::kTake12, "off",
                                "Sets Expires and Cache-Control of successful responses.")
        .syntax("[modified] time | epoch | max | off")
        .merged(conf::Merge::Inherit),
    conf::custom<apply_add>("add_header", kContexts, conf::kTake23, "",
                            "Adds a field to successful responses; `always`: to all.")
        .syntax("name value [always]"),
    conf::custom<apply_add>("add_trailer", kContexts, conf::kTake23, "",
                            "Adds a field behind the body of successful responses.")
        .syntax("name value [always]"),
    conf::custom<apply_inherit>("add_header_inherit", kContexts, conf::kTake1, "on",
                                "Whether add_header of outer levels holds here: `off` never, `on` "
                                "where there is none here, `merge` always.")
        .syntax("on | off | merge")
        .merged(conf::Merge::Inherit),
    conf::custom<apply_inherit>("add_trailer_inherit", kContexts, conf::kTake1, "on",
                                "As add_header_inherit, for add_trailer.")
        .syntax("on | off | merge")
        .merged(conf::Merge::Inherit),
};

}  // namespace

const engine::Module headers_module{
    .directives = {.module = "headers", .rows = kRows, .finish = &finish_level},
    .install = &install,
};

}  // namespace moongate::modules
