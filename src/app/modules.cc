#include "app/modules.h"

#include "engine/core_module.h"

namespace moongate::app {
namespace {

constexpr const engine::Module* kModules[] = {
    &engine::main_module,
    &engine::events_module,
    &engine::core_module,
};

}  // namespace

std::span<const engine::Module* const> modules() {
    return kModules;
}

}  // namespace moongate::app
