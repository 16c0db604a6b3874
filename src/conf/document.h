// The directive table as text: for `moongate directives` and for docs/directives.md, which is
// generated and checked in. Any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "conf/registry.h"

namespace moongate::conf {

// `http, server, location, if in location`, as the documentation lists contexts.
std::string contexts_text(Contexts contexts);
// The values after the name: `on | off`, `size`, `code ... uri`; with the braces of a block.
std::string syntax_text(const Directive& row);
std::string_view type_text(ValueType type);

// One line a row: name, syntax, default, contexts, module. `filter` keeps names that contain it.
std::string document_text(const Registry& registry, std::string_view filter = {});
// A page with a section a module.
std::string document_markdown(const Registry& registry);
// What is wrong with rows: no doc, no context, a missing or malformed default, an ambiguous name.
// Empty: all is well.
std::vector<std::string> document_faults(const Registry& registry);

}  // namespace moongate::conf
