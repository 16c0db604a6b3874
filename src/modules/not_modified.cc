// See not_modified.h.
#include "modules/not_modified.h"

#include "base/clock.h"
#include "engine/core_settings.h"
#include "engine/location.h"
#include "engine/request.h"

namespace moongate::modules {

namespace {

using http::HeaderId;

constexpr Error kPreconditionFailed{ErrorKind::Denied, ErrorSide::Client, false, 412,
                                    "precondition failed"};

bool is_unmodified(const engine::Request& request, std::string_view since) {
    const std::int64_t modified = request.response.last_modified;
    return modified >= 0 && parse_http_date(since) >= modified;
}

bool is_modified(const engine::Request& request, std::string_view since) {
    const std::int64_t modified = request.response.last_modified;
    const auto rule = request.get<engine::CoreLocationSettings>().if_modified_since;
    if (modified < 0 || rule == engine::IfModifiedSince::Off) {
        return true;
    }
    const std::int64_t asked = parse_http_date(since);
    if (asked == modified) {
        return false;
    }
    return rule == engine::IfModifiedSince::Exact || asked < modified;
}

bool names_current(const engine::Request& request, std::string_view list, bool weak) {
    const http::Header* etag = request.response.headers.find(HeaderId::ETag);
    if (etag == nullptr) {
        return list == "*";
    }
    return etag_list_names(list, etag->value, weak);
}

Status adjust_head(engine::Request& request) {
    engine::Response& response = request.response;
    if (response.status != 200 || request.main != &request || response.ignores_conditions) {
        return {};
    }
    const http::HeaderList& asked = request.headers;
    if (const auto* since = asked.find(HeaderId::IfUnmodifiedSince);
        since != nullptr && !is_unmodified(request, since->value)) {
        return kPreconditionFailed;
    }
    if (const auto* list = asked.find(HeaderId::IfMatch);
        list != nullptr && !names_current(request, list->value, false)) {
        return kPreconditionFailed;
    }
    const auto* since = asked.find(HeaderId::IfModifiedSince);
    const auto* list = asked.find(HeaderId::IfNoneMatch);
    if ((since == nullptr && list == nullptr) ||
        (since != nullptr && is_modified(request, since->value)) ||
        (list != nullptr && !names_current(request, list->value, true))) {
        return {};
    }
    response.status = 304;
    response.status_text = {};
    response.content_type = {};
    response.charset = {};
    response.content_length = -1;
    response.allow_ranges = false;
    response.headers.remove(HeaderId::AcceptRanges);
    response.headers.remove(HeaderId::ContentEncoding);
    return {};
}

constexpr engine::Filter kFilter{.name = "not_modified", .adjust_head = &adjust_head};

void install(engine::Location& location) {
    location.filters.push_back(&kFilter);
}

std::string_view without_weak_mark(std::string_view etag) {
    return etag.size() > 2 && etag.starts_with("W/") ? etag.substr(2) : etag;
}

}  // namespace

bool etag_list_names(std::string_view list, std::string_view etag, bool weak) {
    if (list == "*") {
        return true;
    }
    if (weak) {
        etag = without_weak_mark(etag);
    }
    constexpr std::string_view kBlank = " \t";
    constexpr std::string_view kBetween = " \t,";
    while (!list.empty()) {
        if (weak) {
            list = without_weak_mark(list);
        }
        if (list.size() < etag.size()) {
            return false;
        }
        if (list.starts_with(etag)) {
            const std::size_t end = list.find_first_not_of(kBlank, etag.size());
            if (end == std::string_view::npos || list[end] == ',') {
                return true;
            }
        }
        const std::size_t comma = list.find(',');
        const std::size_t next = comma == std::string_view::npos
                                     ? std::string_view::npos
                                     : list.find_first_not_of(kBetween, comma);
        list = next == std::string_view::npos ? std::string_view() : list.substr(next);
    }
    return false;
}

const engine::Module not_modified_module{
    .directives = {.module = "not_modified"},
    .install = &install,
};

}  // namespace moongate::modules
