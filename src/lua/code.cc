// The configuration's Lua code, each distinct piece once (settings.h). The table holds weak
// references: code that no snapshot uses any more is forgotten. Any thread.
#include <mutex>

#include "base/strings.h"
#include "lua/settings.h"

namespace moongate::lua {
namespace {

struct CodeTable {
    std::mutex mutex;
    std::unordered_map<std::string, std::weak_ptr<const LuaCode>, StringHash, std::equal_to<>> all;
    std::uint32_t next_number = 0;
};

CodeTable& code_table() {
    static CodeTable table;
    return table;
}

}  // namespace

CodeRef intern_code(std::string_view text, std::string_view chunk_name, bool is_file) {
    CodeTable& table = code_table();
    std::string key;
    key.reserve(text.size() + chunk_name.size() + 2);
    key.append(is_file ? "f" : "i").append(chunk_name).append("\n").append(text);
    const std::lock_guard lock(table.mutex);
    if (const auto found = table.all.find(key); found != table.all.end()) {
        if (CodeRef code = found->second.lock()) {
            return code;
        }
    }
    auto code = std::make_shared<LuaCode>();
    code->number = ++table.next_number;
    code->text = text;
    code->chunk_name = chunk_name;
    code->is_file = is_file;
    if (table.all.size() > 1024 && table.next_number % 256 == 0) {
        std::erase_if(table.all, [](const auto& entry) { return entry.second.expired(); });
    }
    table.all[std::move(key)] = code;
    return code;
}

}  // namespace moongate::lua
