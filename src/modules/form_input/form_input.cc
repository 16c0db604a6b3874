#include "modules/form_input/form_input.h"

#include <array>

#include "base/strings.h"
#include "conf/compiler.h"
#include "engine/request.h"
#include "engine/request_body.h"
#include "modules/array_var/array_value.h"
#include "modules/rewrite/rewrite.h"

namespace moongate::modules {

namespace {

using conf::Applied;

constexpr std::string_view kFormType = "application/x-www-form-urlencoded";

struct FormField {
    conf::CompiledString name;
    bool multi = false;
};

bool is_form(const engine::Request& request) {
    return (request.method == http::Method::Post || request.method == http::Method::Put) &&
           starts_with_ignore_case(request.headers.value(http::HeaderId::ContentType), kFormType);
}

// The value of the next "name=value" at or behind the start of `form`, which is moved behind it;
// still encoded. Names ignore case.
std::optional<std::string_view> take_field(std::string_view& form, std::string_view name) {
    while (!form.empty()) {
        const std::size_t end = std::min(form.find('&'), form.size());
        const std::string_view pair = form.substr(0, end);
        form.remove_prefix(std::min(end + 1, form.size()));
        if (pair.size() > name.size() && pair[name.size()] == '=' &&
            starts_with_ignore_case(pair, name)) {
            return pair.substr(name.size() + 1);
        }
    }
    return std::nullopt;
}

std::string_view form_of(engine::Request& request) {
    if (request.body->file >= 0) {
        request.log_error(LogLevel::Error,
                          "form-input: in-file buffer found. aborted. consider increasing your "
                          "client_body_buffer_size setting");
        return {};
    }
    return request.body->memory;
}

std::string_view find(engine::Request& request, const FormField& field) {
    const std::string_view name = field.name.evaluate(request);
    std::string_view form = form_of(request);
    if (!field.multi) {
        return take_field(form, name).value_or("");
    }
    std::vector<std::string_view> found;
    while (const auto value = take_field(form, name)) {
        found.push_back(*value);
    }
    return write_array(request.arena(), found);
}

async::Task<Result<std::string_view>> read_and_find(engine::Request& request,
                                                    const FormField& field) {
    if (const Status read = co_await engine::read_request_body(request); !read) {
        co_return read.error();
    }
    co_return find(request, field);
}

async::Task<Result<std::string_view>> form_input(engine::Request& request, void* data) {
    using Answer = async::Task<Result<std::string_view>>;
    const auto& field = *static_cast<const FormField*>(data);
    if (!is_form(request)) {
        return Answer::ready(std::string_view(""));
    }
    return request.body != nullptr ? Answer::ready(find(request, field))
                                   : read_and_find(request, field);
}

// set_form_input $variable [name]; without a name, the variable's is the field's.
Applied apply(conf::Compiler& compiler, const conf::Statement& statement) {
    auto variable = rewrite_define(compiler, statement.arg(1));
    if (!variable) {
        return std::unexpected(std::move(variable.error()));
    }
    auto field = std::make_shared<FormField>();
    field->multi = statement.name == "set_form_input_multi";
    auto name = compiler.compile_string(statement.args.size() > 1 ? statement.arg(2)
                                                                  : statement.arg(1).substr(1));
    if (!name) {
        return std::unexpected(std::move(name.error()));
    }
    field->name = std::move(*name);
    return rewrite_append_set(compiler, *variable, {.wait = &form_input, .data = std::move(field)});
}

constexpr std::array kRows{
    conf::custom<apply>("set_form_input", conf::kHttpLevels, conf::kTake12, "",
                        "A field of an urlencoded request body, still encoded.")
        .syntax("$target [name]"),
    conf::custom<apply>("set_form_input_multi", conf::kHttpLevels, conf::kTake12, "",
                        "All fields of a name of an urlencoded request body, as an array.")
        .syntax("$target [name]"),
};

}  // namespace

const engine::Module form_input_module{
    .directives = {.module = "form-input", .rows = kRows},
};

}  // namespace moongate::modules
