#include "lua/directives_code.h"

#include "conf/values.h"
#include "engine/builder.h"
#include "lua/balancer.h"
#include "lua/phases.h"
#include "modules/rewrite/rewrite.h"
#include "upstream/upstream_module.h"

namespace moongate::lua {
namespace {

// What fits of a chunk's name into messages (LUA_IDSIZE less the punctuation).
constexpr std::size_t kChunkNameBytes = 56;

// "=content_by_lua(nginx.conf:12)": the directive, the file below the configuration's directory,
// and the line.
std::string chunk_name(const Compiler& compiler, const Statement& statement) {
    std::string_view tag = statement.name;
    if (tag.ends_with("_block")) {
        tag.remove_suffix(6);
    }
    const std::string line = std::to_string(statement.line);
    std::string_view file = statement.file != nullptr ? std::string_view(*statement.file) : "";
    const std::size_t reserved = tag.size() + line.size();
    std::string_view dots;
    if (file.ends_with("/nginx.conf")) {
        file = "nginx.conf";
    } else {
        const std::string_view whole = file;
        if (file.starts_with(compiler.conf_prefix())) {
            file.remove_prefix(compiler.conf_prefix().size());
        }
        if (file.size() + reserved > kChunkNameBytes) {
            const std::size_t kept =
                reserved + 3 < kChunkNameBytes ? kChunkNameBytes - reserved - 3 : 0;
            file = whole.substr(whole.size() - std::min(kept, whole.size()));
            dots = "...";
        }
    }
    return fmt::format("={}({}{}:{})", tag, dots, file, line);
}

}  // namespace

conf::Expected<CodeRef> read_code(Compiler& compiler, const Statement& statement,
                                  std::size_t argument, bool may_have_variables) {
    if (statement.is_lua_block) {
        return intern_code(statement.lua_block, chunk_name(compiler, statement), false);
    }
    const std::string_view text = statement.arg(argument);
    if (!statement.name.ends_with("_file")) {
        if (text.empty()) {
            return conf::reject("invalid location config: no runnable Lua code");
        }
        return intern_code(text, chunk_name(compiler, statement), false);
    }
    if (text.empty()) {
        return conf::reject("invalid location config: no runnable Lua code");
    }
    if (may_have_variables && conf::has_variables(text)) {
        auto path = compiler.compile_string(text);
        if (!path) {
            return std::unexpected(std::move(path.error()));
        }
        auto code = std::make_shared<LuaCode>();
        code->is_file = true;
        code->path = std::move(*path);
        code->prefix = compiler.prefix();
        return CodeRef(std::move(code));
    }
    const std::string path = compiler.full_path(text);
    return intern_code(path, "@" + path, true);
}

Applied apply_content(Compiler& compiler, const Statement& statement, LuaSettings& settings) {
    if (Applied applied =
            apply_code<LuaSettings, &LuaSettings::content>(compiler, statement, settings);
        !applied) {
        return applied;
    }
    if (engine::Location* location = engine::current_location(compiler)) {
        location->content = engine::Handler{"content_by_lua", nullptr, content_by_lua};
    }
    return {};
}

Applied apply_balancer(Compiler& compiler, const Statement& statement) {
    static const char key = 0;
    if (!compiler.level().first(&key)) {
        return conf::reject("is duplicate");
    }
    auto code = read_code(compiler, statement, 1, false);
    if (!code) {
        return std::unexpected(std::move(code.error()));
    }
    auto& builder = *compiler.scope_object<upstream::UpstreamBuilder>();
    if (builder.has_method) {
        compiler.warn("load balancing method redefined");
    }
    builder.has_method = true;
    builder.supports_backup = false;
    builder.upstream->balancer = std::make_shared<LuaBalancer>(std::move(*code));
    return {};
}

Applied apply_balancer_keepalive(Compiler& compiler, const Statement& statement) {
    static const char key = 0;
    if (!compiler.level().first(&key)) {
        return conf::reject("is duplicate");
    }
    const auto count = conf::parse_integer(statement.arg(1));
    if (!count || *count == 0) {
        return conf::reject(fmt::format("invalid value \"{}\" in \"{}\" directive",
                                        statement.arg(1), statement.name));
    }
    compiler.scope_object<upstream::UpstreamBuilder>()->upstream->pool_connections =
        static_cast<std::size_t>(*count);
    return {};
}

// set_by_lua $res CODE [$arg…], set_by_lua_file $res PATH [$arg…], set_by_lua_block $res { … }.
Applied apply_set(Compiler& compiler, const Statement& statement) {
    auto variable = modules::rewrite_define(compiler, statement.arg(1));
    if (!variable) {
        return std::unexpected(std::move(variable.error()));
    }
    auto code = read_code(compiler, statement, 2, true);
    if (!code) {
        return std::unexpected(std::move(code.error()));
    }
    auto set = std::make_shared<SetCode>();
    set->code = std::move(*code);
    if (!statement.is_lua_block) {
        for (std::size_t i = 3; i <= statement.args.size(); ++i) {
            auto argument = compiler.compile_string(statement.arg(i));
            if (!argument) {
                return std::unexpected(std::move(argument.error()));
            }
            set->arguments.push_back(std::move(*argument));
        }
    }
    modules::ValueOp op;
    op.wait = set_by_lua;
    op.data = std::move(set);
    return modules::rewrite_append_set(compiler, *variable, std::move(op));
}

}  // namespace moongate::lua
