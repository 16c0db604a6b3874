#include "conf/document.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "conf/compiler.h"

namespace moongate::conf {
namespace {

struct ContextName {
    Contexts bit;
    std::string_view name;
};
constexpr ContextName kContextNames[] = {
    {kMain, "main"},
    {kEvents, "events"},
    {kHttp, "http"},
    {kUpstream, "upstream"},
    {kServer, "server"},
    {kServerIf, "if in server"},
    {kLocation, "location"},
    {kLocationIf, "if in location"},
    {kLimitExcept, "limit_except"},
    {kModuleBlock1, "a module's block"},
    {kModuleBlock2, "a module's inner block"},
};

std::string join(std::span<const EnumValue> values) {
    std::string text;
    for (const EnumValue& value : values) {
        text += text.empty() ? "" : " | ";
        text += value.name;
    }
    return text;
}

// `value`, `value [value]`, `value ...` for rows that do not say it better.
std::string arity_text(Arity arity) {
    if ((arity & kAnyNumber) != 0) {
        return "[value ...]";
    }
    if ((arity & kOneOrMore) != 0) {
        return "value ...";
    }
    if ((arity & kTwoOrMore) != 0) {
        return "value value ...";
    }
    constexpr unsigned kMostCounted = 7;
    std::string text;
    bool all_optional = (arity & kNoArgs) != 0;
    unsigned most = 0;
    unsigned least = kMostCounted;
    for (unsigned n = 0; n <= kMostCounted; ++n) {
        if ((arity & (Arity{1} << n)) != 0) {
            most = std::max(most, n);
            least = std::min(least, n);
        }
    }
    for (unsigned n = 1; n <= most; ++n) {
        text += n == 1 ? "" : " ";
        text += all_optional || n > least ? "[value]" : "value";
    }
    return text;
}

std::string value_text(const Directive& row) {
    switch (row.type) {
        case ValueType::Flag:
            return "on | off";
        case ValueType::Size:
        case ValueType::Offset:
            return "size";
        case ValueType::Number:
            return "number";
        case ValueType::Msec:
        case ValueType::Seconds:
            return "time";
        case ValueType::String:
        case ValueType::StringList:
            return "text";
        case ValueType::Complex:
            return "text with variables";
        case ValueType::Path:
            return "path";
        case ValueType::Enumeration:
            return join(row.values);
        case ValueType::Bitmask:
            return join(row.values) + " ...";
        case ValueType::KeyValues:
            return "name value";
        case ValueType::Buffers:
            return "number size";
        case ValueType::Block:
        case ValueType::LuaBlock:
        case ValueType::Custom:
            return arity_text(row.arity);
    }
    return {};
}

std::string default_or_dash(const Directive& row) {
    return row.default_text.empty() ? "—" : std::string(row.default_text);
}

std::string bounds_text(const Directive& row) {
    const bool numeric = row.type == ValueType::Size || row.type == ValueType::Offset ||
                         row.type == ValueType::Number || row.type == ValueType::Msec ||
                         row.type == ValueType::Seconds || row.type == ValueType::Buffers;
    if (!numeric) {
        return {};
    }
    // Bounds that only say what the member can hold are no news to a reader.
    constexpr std::int64_t kNatural = std::numeric_limits<std::int32_t>::max();
    if (row.maximum < kNatural) {
        return fmt::format("{} to {}", row.minimum, row.maximum);
    }
    return row.minimum > 0 ? fmt::format("at least {}", row.minimum) : std::string();
}

void markdown_row(const Directive& row, std::string& out) {
    fmt::format_to(std::back_inserter(out), "### {}\n\n", row.name);
    fmt::format_to(std::back_inserter(out), "* Syntax: `{}`\n", syntax_text(row));
    fmt::format_to(std::back_inserter(out), "* Default: {}\n",
                   row.default_text.empty() ? std::string("—")
                                            : fmt::format("`{} {};`", row.name, row.default_text));
    fmt::format_to(std::back_inserter(out), "* Context: {}\n", contexts_text(row.contexts));
    fmt::format_to(std::back_inserter(out), "* Type: {}\n", type_text(row.type));
    if (const std::string bounds = bounds_text(row); !bounds.empty()) {
        fmt::format_to(std::back_inserter(out), "* Bounds: {}\n", bounds);
    }
    fmt::format_to(std::back_inserter(out), "\n{}\n\n", row.doc);
}

// Applies the row's default to a root level, alone.
std::string default_fault(const Directive& row) {
    const ModuleDirectives module{"", std::span(&row, 1)};
    const Registry registry(std::span(&module, 1));
    VariableTable variables;
    Compiler compiler(registry, variables, {.prefix = "/", .conf_prefix = "/"});
    auto done = compiler.compile({});
    // Its variables belong to other modules.
    if (done || done.error().message.starts_with("unknown \"")) {
        return {};
    }
    return done.error().message;
}

}  // namespace

std::string contexts_text(Contexts contexts) {
    if (contexts == kAnyContext) {
        return "any";
    }
    std::string text;
    for (const ContextName& context : kContextNames) {
        if ((contexts & context.bit) != 0) {
            text += text.empty() ? "" : ", ";
            text += context.name;
        }
    }
    return text;
}

std::string syntax_text(const Directive& row) {
    std::string text(row.name);
    const std::string values =
        row.syntax_text.empty() ? value_text(row) : std::string(row.syntax_text);
    if (!values.empty()) {
        text += ' ';
        text += values;
    }
    text += (row.arity & kLuaBlock) != 0 ? " { Lua }"
            : (row.arity & kBlock) != 0  ? " { ... }"
                                         : ";";
    return text;
}

std::string_view type_text(ValueType type) {
    static constexpr std::string_view kNames[] = {
        "flag",    "size",    "offset",      "number",    "milliseconds", "seconds",
        "text",    "path",    "enumeration", "bit mask",  "list",         "name and value",
        "buffers", "complex", "block",       "Lua block", "custom",
    };
    static_assert(std::size(kNames) == static_cast<std::size_t>(ValueType::Custom) + 1);
    return kNames[static_cast<std::size_t>(type)];
}

std::string document_text(const Registry& registry, std::string_view filter) {
    std::string out;
    for (const ModuleDirectives& module : registry.modules()) {
        for (const Directive& row : module.rows) {
            if (row.name.find(filter) != std::string_view::npos) {
                fmt::format_to(std::back_inserter(out), "{}\t{}\tdefault {}\tin {}\t{}\n", row.name,
                               syntax_text(row), default_or_dash(row), contexts_text(row.contexts),
                               module.module);
            }
        }
    }
    return out;
}

std::string document_markdown(const Registry& registry) {
    std::string out =
        "# Directives\n\nGenerated by `moongate directives --markdown` from the directive "
        "table.\n\n";
    for (const ModuleDirectives& module : registry.modules()) {
        if (module.rows.empty()) {
            continue;
        }
        fmt::format_to(std::back_inserter(out), "## {}\n\n", module.module);
        for (const Directive& row : module.rows) {
            markdown_row(row, out);
        }
    }
    return out;
}

std::vector<std::string> document_faults(const Registry& registry) {
    std::vector<std::string> faults;
    std::set<std::pair<std::string_view, Contexts>> taken;
    const auto fault = [&faults](const Directive& row, std::string_view what) {
        faults.push_back(fmt::format("{}: {}", row.name, what));
    };
    for (const ModuleDirectives& module : registry.modules()) {
        for (const Directive& row : module.rows) {
            if (row.doc.empty()) {
                fault(row, "no doc");
            }
            if (row.contexts == 0) {
                fault(row, "no context");
            }
            if (row.apply == nullptr && row.enter == nullptr) {
                fault(row, "does nothing");
            }
            if (row.default_needed && row.default_text.empty()) {
                fault(row, "no default");
            }
            if (row.minimum > row.maximum) {
                fault(row, "bounds that no value meets");
            }
            if ((row.type == ValueType::Enumeration || row.type == ValueType::Bitmask) &&
                row.values.empty()) {
                fault(row, "no values");
            }
            if (const std::string wrong = default_fault(row); row.apply_default && !wrong.empty()) {
                fault(row, wrong);
            }
            for (Contexts bit = 1; bit <= kAnyContext; bit <<= 1) {
                if ((row.contexts & bit) != 0 && !taken.emplace(row.name, bit).second) {
                    fault(row, fmt::format("two rows in {}", contexts_text(bit)));
                }
            }
        }
    }
    return faults;
}

}  // namespace moongate::conf
