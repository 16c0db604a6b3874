#include "http/header_id.h"

#include <array>

#include "base/strings.h"

namespace moongate::http {
namespace {

constexpr std::string_view kNames[kHeaderIdCount] = {"",
#define MOONGATE_TEXT(id, text) text,
                                                     MOONGATE_HEADER_NAMES(MOONGATE_TEXT)
#undef MOONGATE_TEXT
};

constexpr std::uint32_t slot_of(std::string_view name) {
    return static_cast<std::uint32_t>(header_hash(name) * detail::kHeaderTableFactor) >>
           (32 - detail::kHeaderTableBits);
}

consteval bool slots_differ() {
    bool used[detail::kHeaderTableSize] = {};
    for (std::size_t i = 1; i < kHeaderIdCount; ++i) {
        bool& slot = used[slot_of(kNames[i])];
        if (slot) {
            return false;
        }
        slot = true;
    }
    return true;
}
static_assert(slots_differ(), "choose another kHeaderTableFactor");

}  // namespace

namespace detail {

constexpr std::array<KnownName, kHeaderIdCount> kKnownNames = [] {
    std::array<KnownName, kHeaderIdCount> rows{};
    for (std::size_t id = 1; id < kHeaderIdCount; ++id) {
        rows[id].size = static_cast<std::uint8_t>(kNames[id].size());
        for (std::size_t i = 0; i < kNames[id].size(); ++i) {
            rows[id].lower[i] = ascii_lower(kNames[id][i]);
        }
    }
    return rows;
}();

constexpr std::array<ShortName, kHeaderIdCount> kShortNames = [] {
    std::array<ShortName, kHeaderIdCount> rows{};
    for (std::size_t id = 1; id < kHeaderIdCount; ++id) {
        const std::string_view name = kNames[id];
        for (std::size_t i = 0; name.size() < 16 && i < name.size(); ++i) {
            rows[id].lower[i] = ascii_lower(name[i]);
            rows[id].letters[i] = is_alpha(name[i]) ? 0x20 : 0;
        }
        if (name.size() < 16) {
            rows[id].lower[name.size()] = ':';
        }
    }
    return rows;
}();

constexpr std::array<HeaderId, kHeaderTableSize> kHeaderTable = [] {
    std::array<HeaderId, kHeaderTableSize> slots{};
    for (std::size_t id = 1; id < kHeaderIdCount; ++id) {
        slots[slot_of(kNames[id])] = static_cast<HeaderId>(id);
    }
    return slots;
}();

}  // namespace detail

std::string_view header_name(HeaderId id) {
    return kNames[static_cast<std::size_t>(id)];
}

}  // namespace moongate::http
