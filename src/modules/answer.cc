// See answer.h. Source: nginx's documentation of `types` and `default_type`.
#include "modules/answer.h"

#include <algorithm>

#include "base/strings.h"
#include "engine/core_settings.h"
#include "engine/request.h"

namespace moongate::modules {

engine::Action after_send(const Status& sent) {
    if (sent.has_value()) [[likely]] {
        return engine::Action::done();
    }
    const Error& error = sent.error();
    // A filter's refusal. Smaller codes are errno's.
    if (error.code >= 300 && error.code < 600) {
        return engine::Action::finish(error.code);
    }
    return engine::Action::finish(error.side == ErrorSide::Client ? engine::kClientClosedRequest
                                                                  : 500);
}

std::string_view media_type(engine::Request& request) {
    const auto& settings = request.get<engine::CoreLocationSettings>();
    std::string_view extension = request.extension;
    if (extension.empty() || settings.types == nullptr) {
        return settings.default_type;
    }
    if (std::ranges::any_of(extension, [](char c) { return c != ascii_lower(c); })) {
        char* lower = request.arena().allocate_chars(extension.size());
        std::ranges::transform(extension, lower, ascii_lower);
        extension = {lower, extension.size()};
    }
    const auto found = settings.types->find(extension);
    return found == settings.types->end() ? std::string_view(settings.default_type)
                                          : std::string_view(found->second);
}

}  // namespace moongate::modules
