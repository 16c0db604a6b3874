// Walks a syntax tree against the directive table and builds the levels' settings. Each level is
// compiled in two passes: first its plain statements in file order and the modules' finish hooks,
// then its deferred blocks, so that children inherit everything whatever the order in the file.
// What the settings become (servers, locations, upstreams) is the engine's: block rows' enter
// functions and the typed extension() bag hold it. One thread; a compiler is used for one
// configuration, or for one live change, and thrown away.
#pragma once

#include <any>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <typeindex>
#include <unordered_map>
#include <vector>

#include "base/log.h"
#include "conf/compiled_string.h"
#include "conf/directive.h"
#include "conf/level.h"
#include "conf/regex.h"
#include "conf/registry.h"
#include "conf/syntax.h"
#include "conf/variables.h"

namespace moongate::conf {

struct CompilerOptions {
    std::string prefix;       // what relative paths are relative to; ends in '/'
    std::string conf_prefix;  // the configuration file's directory; ends in '/'
    FileReader* reader = nullptr;
    // Receives warnings with their position in them; null drops them.
    std::function<void(LogLevel level, std::string_view text)> report;
};

class Compiler {
public:
    Compiler(const Registry& registry, VariableTable& variables, CompilerOptions options);
    Compiler(const Compiler&) = delete;
    Compiler& operator=(const Compiler&) = delete;
    ~Compiler();

    // --- whole compilations
    // ------------------------------------------------------------------------------------- The
    // main level: defaults, then all statements, then VariableTable::check(). On an error the
    // message is complete (`MESSAGE in FILE:LINE`) and nothing outside the compiler and its bag has
    // changed.
    Expected<SettingsRef> compile(const std::vector<Statement>& statements);
    // One or more statements below a level that exists: what a live change compiles. `context` is
    // the level's.
    Applied compile_below(const std::vector<Statement>& statements, Contexts context,
                          const SettingsRef& parent);

    // --- for block rows' enter functions
    // ------------------------------------------------------------------------ A level that
    // inherits from the current one.
    std::unique_ptr<Level> child_level();
    // Compiles the body of `statement`, both passes. `object` is what scope_object<T>() finds in
    // there.
    template <class T>
    Applied walk(const Statement& statement, Contexts context, Level& level, T* object) {
        return walk_body(statement, context, level, {std::type_index(typeid(T)), object});
    }
    Applied walk(const Statement& statement, Contexts context, Level& level) {
        return walk_body(statement, context, level, {std::type_index(typeid(void)), nullptr});
    }
    // As walk(), and calls `between` after pass 1 and the finish hooks, when the level's own
    // settings are complete and no child has been compiled.
    Applied walk(const Statement& statement, Contexts context, Level& level, std::type_index type,
                 void* object, const std::function<Applied()>& between) {
        return walk_body(statement, context, level, {type, object}, &between);
    }

    // --- where we are
    // ------------------------------------------------------------------------------------------
    Contexts context() const;            // of the block that holds the current statement
    Level& level();                      // its settings under construction
    const Statement* enclosing() const;  // the block's own statement; null at the top
    // The object of the nearest enclosing walk() with a T; null if none.
    template <class T>
    T* scope_object() const {
        return static_cast<T*>(find_object(std::type_index(typeid(T))));
    }
    // The builder of type T that lives as long as the compiler; made at first use.
    template <class T>
    T& extension() {
        std::any& slot = extensions_[std::type_index(typeid(T))];
        if (!slot.has_value()) {
            slot.emplace<std::shared_ptr<T>>(std::make_shared<T>());
        }
        return **std::any_cast<std::shared_ptr<T>>(&slot);
    }
    // Puts an existing builder into the bag.
    template <class T>
    void set_extension(std::shared_ptr<T> value) {
        extensions_[std::type_index(typeid(T))] = std::move(value);
    }
    // Runs when the whole tree has been compiled without an error, in order of registration; such
    // as resolving what was named before it was defined. The position of an error is the statement
    // that registered it.
    void at_end(std::function<Applied()> check);

    // --- services
    // ----------------------------------------------------------------------------------------------
    const Registry& registry() const { return registry_; }
    VariableTable& variables() { return variables_; }
    FileReader* reader() const { return options_.reader; }
    const std::string& prefix() const { return options_.prefix; }
    const std::string& conf_prefix() const { return options_.conf_prefix; }
    // `name` made absolute with the prefix, or with the configuration file's directory.
    std::string full_path(std::string_view name) const;
    std::string full_conf_path(std::string_view name) const;
    Expected<CompiledString> compile_string(std::string_view text, StringOptions options = {});
    Expected<BoundRegex> compile_regex(std::string_view pattern,
                                       RegexFlags flags = RegexFlags::None);
    // A warning at the current statement, or a message of another level.
    void warn(std::string_view message, LogLevel level = LogLevel::Warn);

private:
    struct Object {
        std::type_index type;
        void* object;
    };
    struct Scope;
    struct Deferred {
        const Statement* statement;
        const Directive* row;
    };

    Applied walk_body(const Statement& statement, Contexts context, Level& level, Object object,
                      const std::function<Applied()>* between = nullptr);
    Applied walk_statements(const std::vector<Statement>& statements, Scope& scope,
                            const std::function<Applied()>* between);
    Applied apply_one(const Statement& statement, std::vector<Deferred>& deferred);
    Applied apply_row(const Statement& statement, const Directive& row);
    Applied apply_defaults(Level& level);
    Applied finish_level(Level& level, bool root);
    Applied run_checks();
    Expected<const Directive*> choose(const Statement& statement) const;
    void* find_object(std::type_index type) const;
    Applied placed(Applied result, const Statement& statement) const;

    struct EndCheck {
        std::function<Applied()> run;
        const Statement* statement;
    };

    const Registry& registry_;
    VariableTable& variables_;
    CompilerOptions options_;
    Scope* scope_ = nullptr;
    const Statement* current_ = nullptr;
    std::unordered_map<std::type_index, std::any> extensions_;
    std::vector<EndCheck> checks_;
};

}  // namespace moongate::conf
