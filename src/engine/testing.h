// For unit tests: a snapshot from configuration text, with its warnings or its error. Not part of
// the product.
#pragma once

#include <unistd.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "conf/compiler.h"
#include "conf/registry.h"
#include "engine/builder.h"
#include "engine/core_module.h"
#include "engine/log_opener.h"
#include "engine/module.h"
#include "engine/snapshot.h"

namespace moongate::engine::testing {

struct Compiled {
    std::shared_ptr<Snapshot> snapshot;  // null: refused
    std::string error;
    std::vector<std::string> warnings;
};

inline const std::vector<const Module*>& core_modules() {
    static const std::vector<const Module*> modules{&main_module, &events_module, &core_module};
    return modules;
}

// Compiles `text` as the file "test.conf" with the modules given, which must outlive the snapshot;
// errors are logged to standard error.
inline Compiled compile(std::string_view text,
                        const std::vector<const Module*>& modules = core_modules()) {
    Compiled result;
    std::vector<conf::ModuleDirectives> directives;
    conf::VariableTable variables;
    for (const Module* module : modules) {
        directives.push_back(module->directives);
        variables.add(module->variables);
    }
    // Rows and slots are looked up while the snapshot lives.
    static std::vector<std::unique_ptr<conf::Registry>> registries;
    const conf::Registry& registry =
        *registries.emplace_back(std::make_unique<conf::Registry>(directives));
    conf::ParseOptions parse;
    parse.is_lua_block = [&registry](std::string_view name) { return registry.is_lua_block(name); };
    auto tree = conf::parse_text(text, "test.conf", parse);
    if (!tree) {
        result.error = tree.error().message;
        return result;
    }
    conf::CompilerOptions options;
    options.prefix = "/prefix/";
    options.conf_prefix = "/prefix/conf/";
    options.report = [&result](LogLevel, std::string_view warning) {
        result.warnings.emplace_back(warning);
    };
    conf::Compiler compiler(registry, variables, options);
    compiler.extension<LogOpener>().has_default_path = true;
    auto& builder = compiler.extension<SnapshotBuilder>();
    builder.modules = modules;
    auto main = compiler.compile(tree->statements);
    if (!main) {
        result.error = main.error().message;
        return result;
    }
    auto snapshot = builder.build(1, compiler, *main, std::move(variables));
    if (!snapshot) {
        result.error = snapshot.error().message;
        return result;
    }
    result.snapshot = std::move(*snapshot);
    return result;
}

// `events {} http { TEXT }`.
inline Compiled compile_http(std::string_view text) {
    return compile("events {} http {" + std::string(text) + "}");
}
// In one server that listens on port 8080.
inline Compiled compile_server(std::string_view text) {
    return compile_http("server { listen 8080;" + std::string(text) + "}");
}

// What regular expressions store their captures in where there is no request.
struct Source final : conf::VariableSource {
    explicit Source(const conf::VariableTable& table)
        : conf::VariableSource(memory, table, nullptr) {}
    Arena memory;
};

}  // namespace moongate::engine::testing
