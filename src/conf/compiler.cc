#include "conf/compiler.h"

#include <fmt/format.h>

#include <algorithm>

namespace moongate::conf {
namespace {

bool takes(Arity arity, std::size_t count) {
    constexpr Arity kNumbers = 0xff;
    constexpr std::size_t kMostCounted = 7;
    if ((arity & kAnyNumber) != 0 || ((arity & kOneOrMore) != 0 && count >= 1) ||
        ((arity & kTwoOrMore) != 0 && count >= 2)) {
        return true;
    }
    const bool unstated = (arity & (kNumbers | kOneOrMore | kTwoOrMore)) == 0;
    const Arity numbers = unstated ? kNoArgs : arity & kNumbers;
    return count <= kMostCounted && (numbers & (Arity{1} << count)) != 0;
}

}  // namespace

struct Compiler::Scope {
    Level& level;
    Contexts context;
    const Statement* block;
    Object object;
    Scope* outer;
};

Compiler::Compiler(const Registry& registry, VariableTable& variables, CompilerOptions options)
    : registry_(registry), variables_(variables), options_(std::move(options)) {}

Compiler::~Compiler() = default;

Expected<SettingsRef> Compiler::compile(const std::vector<Statement>& statements) {
    Level root(registry_);
    Scope scope{root, kMain, nullptr, {typeid(void), nullptr}, nullptr};
    scope_ = &scope;
    auto done = apply_defaults(root);
    if (done) {
        done = walk_statements(statements, scope, nullptr);
    }
    if (done) {
        done = run_checks();
    }
    scope_ = nullptr;
    if (!done) {
        return std::unexpected(std::move(done.error()));
    }
    return root.freeze();
}

Applied Compiler::compile_below(const std::vector<Statement>& statements, Contexts context,
                                const SettingsRef& parent) {
    Level level(parent);
    Scope scope{level, context, nullptr, {typeid(void), nullptr}, nullptr};
    scope_ = &scope;
    auto done = walk_statements(statements, scope, nullptr);
    if (done) {
        done = run_checks();
    }
    scope_ = nullptr;
    return done;
}

std::unique_ptr<Level> Compiler::child_level() {
    return std::make_unique<Level>(scope_->level.freeze());
}

Applied Compiler::walk_body(const Statement& statement, Contexts context, Level& level,
                            Object object, const std::function<Applied()>* between) {
    Scope scope{level, context, &statement, object, scope_};
    scope_ = &scope;
    const Statement* outer = current_;
    auto done = walk_statements(statement.body, scope, between);
    current_ = outer;
    scope_ = scope.outer;
    return done;
}

Applied Compiler::walk_statements(const std::vector<Statement>& statements, Scope& scope,
                                  const std::function<Applied()>* between) {
    std::vector<Deferred> deferred;
    for (const Statement& statement : statements) {
        current_ = &statement;
        if (auto done = placed(apply_one(statement, deferred), statement); !done) {
            return done;
        }
    }
    current_ = scope.block;
    auto finished = finish_level(scope.level, scope.block == nullptr && scope.context == kMain);
    if (finished && between != nullptr) {
        finished = (*between)();
    }
    if (!finished) {
        if (scope.block != nullptr && !finished.error().positioned) {
            return std::unexpected(ConfError::unplaced(
                finished.error().message + place(scope.block->file, scope.block->block_end_line)));
        }
        finished.error().positioned = true;
        return finished;
    }
    for (const auto& [statement, row] : deferred) {
        current_ = statement;
        if (auto done = placed(row->enter(*this, *statement), *statement); !done) {
            return done;
        }
    }
    return {};
}

Applied Compiler::apply_one(const Statement& statement, std::vector<Deferred>& deferred) {
    auto row = choose(statement);
    if (!row) {
        return std::unexpected(std::move(row.error()));
    }
    const Directive& chosen = **row;
    if (chosen.deprecated) {
        warn(fmt::format("the \"{}\" directive is deprecated", chosen.name));
    }
    if ((chosen.arity & kFreeForm) != 0) {
        const auto nested = std::ranges::find(statement.body, true, &Statement::has_block);
        if (nested != statement.body.end()) {
            return placed(reject("unexpected \"{\""), *nested);
        }
    }
    if (chosen.apply != nullptr) {
        if (auto done = apply_row(statement, chosen); !done) {
            return done;
        }
    }
    if (chosen.enter == nullptr) {
        return {};
    }
    if (chosen.deferred) {
        deferred.push_back({&statement, &chosen});
        return {};
    }
    return chosen.enter(*this, statement);
}

Applied Compiler::apply_row(const Statement& statement, const Directive& row) {
    const void* key = registry_.level_key(row);
    if (row.merge == Merge::Inherit && !level().first(key)) {
        return reject_directive(row.name, "is duplicate");
    }
    if (row.settings == nullptr) {
        return row.apply(*this, statement, nullptr, row);
    }
    void* settings = level().edit(*row.settings);
    if (row.merge == Merge::ReplaceList && level().first(key) && row.clear != nullptr) {
        row.clear(settings);
    }
    return row.apply(*this, statement, settings, row);
}

Applied Compiler::apply_defaults(Level& level) {
    for (const ModuleDirectives& module : registry_.modules()) {
        for (const Directive& row : module.rows) {
            if (!row.apply_default || row.default_text.empty()) {
                continue;
            }
            const std::string text = fmt::format("{} {};", row.name, row.default_text);
            auto tree = parse_text(text, fmt::format("the default of {}", row.name), {});
            if (!tree) {
                return std::unexpected(std::move(tree.error()));
            }
            const Statement& statement = tree->statements.at(0);
            void* settings = row.settings == nullptr ? nullptr : level.edit(*row.settings);
            auto done = placed(row.apply(*this, statement, settings, row), statement);
            if (!done) {
                return done;
            }
        }
    }
    return {};
}

Applied Compiler::finish_level(Level& level, bool root) {
    for (std::size_t i = 0; i < registry_.modules().size(); ++i) {
        const ModuleDirectives& module = registry_.modules()[i];
        const bool concerned = root || std::ranges::any_of(registry_.settings_of(i),
                                                           [&level](const SettingsInfo* info) {
                                                               return level.changed(*info);
                                                           });
        if (module.finish != nullptr && concerned) {
            if (auto done = module.finish(*this, level); !done) {
                return done;
            }
        }
    }
    return {};
}

Applied Compiler::run_checks() {
    // A check may register another one.
    for (std::size_t i = 0; i < checks_.size(); ++i) {
        const EndCheck check = checks_[i];
        current_ = check.statement;
        auto done = check.run();
        if (done) {
            continue;
        }
        if (check.statement != nullptr) {
            return placed(std::move(done), *check.statement);
        }
        done.error().positioned = true;
        return done;
    }
    current_ = nullptr;
    checks_.clear();
    return variables_.check();
}

Expected<const Directive*> Compiler::choose(const Statement& statement) const {
    const auto rows = registry_.find(statement.name);
    const auto found = std::ranges::find_if(rows, [this](const RegisteredDirective& entry) {
        return (entry.row->contexts & context()) != 0;
    });
    if (rows.empty()) {
        return reject(fmt::format("unknown directive \"{}\"", statement.name));
    }
    if (found == rows.end()) {
        return reject_directive(statement.name, "is not allowed here");
    }
    const Directive& row = *found->row;
    const bool wants_block = (row.arity & (kBlock | kLuaBlock)) != 0;
    if (!wants_block && statement.has_block) {
        return reject(fmt::format("directive \"{}\" is not terminated by \";\"", statement.name));
    }
    if (wants_block && !statement.has_block) {
        return reject(fmt::format("directive \"{}\" has no opening \"{{\"", statement.name));
    }
    if (!takes(row.arity, statement.args.size())) {
        return reject(
            fmt::format("invalid number of arguments in \"{}\" directive", statement.name));
    }
    return &row;
}

Applied Compiler::placed(Applied result, const Statement& statement) const {
    if (!result && !result.error().positioned) {
        result.error().message += place(statement.file, statement.line);
        result.error().positioned = true;
    }
    return result;
}

Contexts Compiler::context() const {
    return scope_->context;
}

Level& Compiler::level() {
    return scope_->level;
}

const Statement* Compiler::enclosing() const {
    return scope_->block;
}

void* Compiler::find_object(std::type_index type) const {
    for (const Scope* scope = scope_; scope != nullptr; scope = scope->outer) {
        if (scope->object.type == type) {
            return scope->object.object;
        }
    }
    return nullptr;
}

void Compiler::at_end(std::function<Applied()> check) {
    checks_.push_back({std::move(check), current_});
}

std::string Compiler::full_path(std::string_view name) const {
    return name.starts_with('/') ? std::string(name) : options_.prefix + std::string(name);
}

std::string Compiler::full_conf_path(std::string_view name) const {
    return name.starts_with('/') ? std::string(name) : options_.conf_prefix + std::string(name);
}

Expected<CompiledString> Compiler::compile_string(std::string_view text, StringOptions options) {
    return CompiledString::compile(text, variables_, options);
}

Expected<BoundRegex> Compiler::compile_regex(std::string_view pattern, RegexFlags flags) {
    return BoundRegex::compile(pattern, flags, variables_);
}

void Compiler::warn(std::string_view message, LogLevel level) {
    if (options_.report) {
        const std::string where = current_ == nullptr ? "" : place(current_->file, current_->line);
        options_.report(level, std::string(message) + where);
    }
}

}  // namespace moongate::conf
