// The core module: its table from the parts, and what holds for a level as a whole.
#include "engine/core_module.h"

#include <vector>

#include "conf/compiler.h"
#include "engine/core_directives.h"
#include "engine/core_settings.h"
#include "engine/core_variables.h"
#include "engine/main_settings.h"

namespace moongate::engine {
namespace {

// The parts are constant; only the arrays that hold them all are made at the program's start.
const std::vector<conf::Directive>& all_rows() {
    static const std::vector<conf::Directive> rows = [] {
        std::vector<conf::Directive> all;
        for (const auto part :
             {core_block_rows(), core_request_rows(), core_response_rows(), core_file_rows()}) {
            all.insert(all.end(), part.begin(), part.end());
        }
        return all;
    }();
    return rows;
}

const std::vector<conf::VariableRow>& all_variables() {
    static const std::vector<conf::VariableRow> rows = [] {
        std::vector<conf::VariableRow> all;
        for (const auto part :
             {request_variable_rows(), connection_variable_rows(), response_variable_rows()}) {
            all.insert(all.end(), part.begin(), part.end());
        }
        return all;
    }();
    return rows;
}

std::shared_ptr<const TypesMap> default_types() {
    static const auto types = std::make_shared<const TypesMap>(
        TypesMap{{"html", "text/html"}, {"gif", "image/gif"}, {"jpg", "image/jpeg"}});
    return types;
}

conf::Applied finish_core(conf::Compiler&, conf::Level& level) {
    const auto& core = level.get<CoreLocationSettings>();
    if (core.types == nullptr) {
        level.edit<CoreLocationSettings>().types = default_types();
    }
    if (core.error_log == nullptr) {
        level.edit<CoreLocationSettings>().error_log = level.get<MainSettings>().error_log;
    }
    const auto& server = level.get<CoreServerSettings>();
    if (server.large_client_header_buffers.size < server.connection_pool_size) {
        return conf::reject(
            "the \"large_client_header_buffers\" size must be equal to or greater than "
            "\"connection_pool_size\"");
    }
    const conf::Buffers& large = server.large_client_header_buffers;
    http::HeadPolicy policy;
    policy.header_buffer_size = server.client_header_buffer_size;
    policy.header_timeout = server.client_header_timeout;
    policy.large_buffers_bytes = large.count * large.size;
    policy.limits = {.max_request_line = large.size,
                     .max_header_line = large.size,
                     .max_head = policy.large_buffers_bytes,
                     .max_headers = static_cast<std::uint32_t>(server.max_headers),
                     .ignore_invalid_headers = server.ignore_invalid_headers,
                     .underscores_in_headers = server.underscores_in_headers};
    if (policy != server.head_policy) {
        level.edit<CoreServerSettings>().head_policy = policy;
    }
    return {};
}

}  // namespace

const Module core_module{
    .directives = {.module = "http_core", .rows = all_rows(), .finish = &finish_core},
    .variables = all_variables(),
};

}  // namespace moongate::engine
