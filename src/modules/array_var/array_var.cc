#include "modules/array_var/array_var.h"

#include <array>
#include <memory>

#include "base/strings.h"
#include "conf/compiler.h"
#include "engine/request.h"
#include "modules/array_var/array_value.h"
#include "modules/set_function.h"

namespace moongate::modules {

namespace {

using conf::Applied;
using conf::Compiler;
using conf::Statement;
using Values = std::span<const std::string_view>;

constexpr std::string_view kTo = "to=";

// --- what runs for requests

// values: the separator, the text and perhaps the most elements; 0 is no bound.
Result<std::string_view> split(engine::Request& request, Values values, const void*) {
    std::size_t most = 0;
    if (values.size() > 2) {
        const auto number = parse_number<std::uint32_t>(values[2]);
        if (!number) {
            request.log_error(LogLevel::Error, "array_split: invalid max items: \"{}\"", values[2]);
            return set_failure();
        }
        most = *number;
    }
    const std::string_view separator = values[0];
    std::string_view rest = values[1];
    std::vector<std::string_view> elements;
    while (elements.size() + 1 != most) {
        const std::size_t at = separator.empty() ? 1 : rest.find(separator);
        if (at == std::string_view::npos || (separator.empty() && rest.size() < 2)) {
            break;
        }
        elements.push_back(rest.substr(0, at));
        rest.remove_prefix(at + separator.size());
    }
    elements.push_back(rest);
    return write_array(request.arena(), elements);
}

std::optional<std::vector<std::string_view>> array_of(engine::Request& request,
                                                      std::string_view directive,
                                                      std::string_view text) {
    auto elements = read_array(text);
    if (!elements) {
        request.log_error(LogLevel::Error,
                          "{}: invalid array variable value in the 2nd argument: \"{}\"", directive,
                          text);
    }
    return elements;
}

// values: the separator, the array.
Result<std::string_view> join(engine::Request& request, Values values, const void*) {
    const auto elements = array_of(request, "array_join", values[1]);
    if (!elements) {
        return set_failure();
    }
    std::size_t size = 0;
    for (const std::string_view element : *elements) {
        size += element.size() + values[0].size();
    }
    char* const start = request.arena().allocate_chars(size + 1);
    char* to = start;
    for (std::size_t i = 0; i < elements->size(); ++i) {
        for (const std::string_view piece :
             {i == 0 ? std::string_view() : values[0], (*elements)[i]}) {
            if (!piece.empty()) {
                std::memcpy(to, piece.data(), piece.size());
                to += piece.size();
            }
        }
    }
    return std::string_view(start, static_cast<std::size_t>(to - start));
}

struct MapTemplate {
    conf::CompiledString text;
    int element = -1;  // $array_it
};

// values: the array. While an element is being mapped, $array_it is it.
Result<std::string_view> map_template(engine::Request& request, Values values, const void* data) {
    const auto& by = *static_cast<const MapTemplate*>(data);
    auto elements = array_of(request, "array_map", values[0]);
    if (!elements) {
        return set_failure();
    }
    for (std::string_view& element : *elements) {
        request.store(by.element, element);
        element = by.text.evaluate(request);
    }
    request.forget(by.element);
    return write_array(request.arena(), *elements);
}

// values: the name of a set directive, the array.
Result<std::string_view> map_function(engine::Request& request, Values values, const void*) {
    const SetFunction* function = find_set_function(values[0]);
    if (function == nullptr || function->values > 1) {
        request.log_error(LogLevel::Error,
                          "array_map_op: directive \"{}\" not found or does not use "
                          "ndk_set_var_value",
                          values[0]);
        return set_failure();
    }
    auto elements = array_of(request, "array_map_op", values[1]);
    if (!elements) {
        return set_failure();
    }
    for (std::string_view& element : *elements) {
        const std::string_view argument = element;
        const auto result = function->call(request, {&argument, 1}, nullptr);
        if (!result) {
            return result;
        }
        element = *result;
    }
    return write_array(request.arena(), *elements);
}

// --- the directives

// The value of "to=$variable" in argument `n`; nothing where that is something else.
std::optional<std::string_view> target_in(const Statement& statement, std::size_t n) {
    const std::string_view word = statement.arg(n);
    if (!word.starts_with(kTo)) {
        return std::nullopt;
    }
    return word.substr(kTo.size());
}

Applied unexpected_argument(const Statement& statement, std::size_t n) {
    return conf::reject(
        fmt::format("{}: unexpected argument \"{}\"", statement.name, statement.arg(n)));
}

// separator subject [max] [to=$target]
Applied apply_split(Compiler& compiler, const Statement& statement) {
    const std::size_t count = statement.args.size();
    std::string_view target = statement.arg(2);
    std::size_t values = 2;
    if (count > 2) {
        if (const auto named = target_in(statement, 3)) {
            if (count > 3) {
                return unexpected_argument(statement, 4);
            }
            target = *named;
        } else {
            values = 3;
            if (count > 4) {
                return unexpected_argument(statement, 5);
            }
            if (count == 4) {
                const auto fourth = target_in(statement, 4);
                if (!fourth) {
                    return conf::reject(
                        fmt::format("{}: expecting the \"to\" option at the 4th argument: \"{}\"",
                                    statement.name, statement.arg(4)));
                }
                target = *fourth;
            }
        }
    }
    const std::string_view texts[] = {statement.arg(1), statement.arg(2), statement.arg(3)};
    return rewrite_append_call(compiler, target, {texts, values}, &split);
}

// what array [to=$target]
Applied apply_with_target(Compiler& compiler, const Statement& statement, Values texts,
                          SetCall call, std::shared_ptr<const void> data = nullptr) {
    std::string_view target = statement.arg(2);
    if (statement.args.size() > 2) {
        const auto named = target_in(statement, 3);
        if (!named) {
            return statement.name == "array_map"
                       ? conf::reject(fmt::format("{}: expecting the \"to\" option at the 3rd "
                                                  "argument: \"{}\"",
                                                  statement.name, statement.arg(3)))
                       : unexpected_argument(statement, 3);
        }
        target = *named;
    }
    return rewrite_append_call(compiler, target, texts, call, std::move(data));
}

Applied apply_join(Compiler& compiler, const Statement& statement) {
    const std::string_view texts[] = {statement.arg(1), statement.arg(2)};
    return apply_with_target(compiler, statement, texts, &join);
}

Applied apply_map_op(Compiler& compiler, const Statement& statement) {
    const std::string_view texts[] = {statement.arg(1), statement.arg(2)};
    return apply_with_target(compiler, statement, texts, &map_function);
}

Applied apply_map(Compiler& compiler, const Statement& statement) {
    auto by = std::make_shared<MapTemplate>();
    by->element = compiler.variables().index("array_it");
    auto text = compiler.compile_string(statement.arg(1));
    if (!text) {
        return std::unexpected(std::move(text.error()));
    }
    by->text = std::move(*text);
    const std::string_view texts[] = {statement.arg(2)};
    return apply_with_target(compiler, statement, texts, &map_template, std::move(by));
}

void no_element(engine::Request&, std::uintptr_t, conf::VariableValue& value) {
    value.set_missing();
}

constexpr conf::VariableRow kVariables[] = {
    {.name = "array_it",
     .get = &no_element,
     .flags = conf::VariableFlags::Changeable | conf::VariableFlags::NoHash,
     .doc = "The element that array_map is at."},
};

constexpr std::array kRows{
    conf::custom<apply_split>("array_split", kSetContexts, conf::kTwoOrMore, "",
                              "Splits a text into an array; an empty separator makes every byte an "
                              "element.")
        .syntax("separator text [max] [to=$target]"),
    conf::custom<apply_join>("array_join", kSetContexts, conf::kTake23, "",
                             "Joins the elements of an array.")
        .syntax("separator $array [to=$target]"),
    conf::custom<apply_map>("array_map", kSetContexts, conf::kTake23, "",
                            "Replaces each element by a text, in which it is $array_it.")
        .syntax("template $array [to=$target]"),
    conf::custom<apply_map_op>("array_map_op", kSetContexts, conf::kTake23, "",
                               "Replaces each element by what a set directive makes of it.")
        .syntax("directive $array [to=$target]"),
};

}  // namespace

const engine::Module array_var_module{
    .directives = {.module = "array-var", .rows = kRows},
    .variables = kVariables,
};

}  // namespace moongate::modules
