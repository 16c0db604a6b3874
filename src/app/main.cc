// The program's entry: the engine with its modules, and the sub-commands, given to the application.
#include "app/application.h"
#include "app/http_engine.h"
#include "app/lua_command.h"
#include "app/modules.h"
#include "conf/document.h"

namespace moongate::app {
namespace {

int print_directives(std::span<char* const> arguments);

constexpr Subcommand kSubcommands[] = {
    {"directives", "[--markdown]",
     "print every directive with its contexts, type, default and meaning", &print_directives},
    {"lua", "[OPTIONS] [FILE [ARGUMENTS]]",
     "run a Lua script with the whole of ngx.*; -h lists the options", &run_lua_command},
};

int print_directives(std::span<char* const> arguments) {
    const HttpEngine engine(modules());
    const bool markdown = !arguments.empty() && std::string_view(arguments[0]) == "--markdown";
    const std::string text = markdown ? conf::document_markdown(engine.registry())
                                      : conf::document_text(engine.registry());
    return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() ? 0 : 1;
}

}  // namespace
}  // namespace moongate::app

int main(int argc, char** argv) {
    using namespace moongate::app;
    HttpEngine engine(modules());
    return run_application({argv, static_cast<std::size_t>(argc)}, engine, kSubcommands);
}
