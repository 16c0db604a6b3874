// The text of an array: the mark, the number of elements, then each element's size and bytes.
// Numbers are 32 bits in the machine's order: the text does not leave the process on purpose.
#include "modules/array_var/array_value.h"

#include <cstdint>
#include <cstring>

namespace moongate::modules {

namespace {

constexpr std::string_view kMark("\0array\0", 7);
constexpr std::size_t kNumber = sizeof(std::uint32_t);

char* put_number(char* to, std::size_t number) {
    const auto value = static_cast<std::uint32_t>(number);
    std::memcpy(to, &value, kNumber);
    return to + kNumber;
}

std::optional<std::uint32_t> take_number(std::string_view& text) {
    if (text.size() < kNumber) {
        return std::nullopt;
    }
    std::uint32_t value = 0;
    std::memcpy(&value, text.data(), kNumber);
    text.remove_prefix(kNumber);
    return value;
}

}  // namespace

std::string_view write_array(Arena& arena, std::span<const std::string_view> elements) {
    std::size_t size = kMark.size() + kNumber;
    for (const std::string_view element : elements) {
        size += kNumber + element.size();
    }
    char* const start = arena.allocate_chars(size);
    std::memcpy(start, kMark.data(), kMark.size());
    char* to = put_number(start + kMark.size(), elements.size());
    for (const std::string_view element : elements) {
        to = put_number(to, element.size());
        if (!element.empty()) {
            std::memcpy(to, element.data(), element.size());
            to += element.size();
        }
    }
    return {start, size};
}

std::optional<std::vector<std::string_view>> read_array(std::string_view text) {
    if (!text.starts_with(kMark)) {
        return std::nullopt;
    }
    text.remove_prefix(kMark.size());
    const auto count = take_number(text);
    if (!count || *count > text.size() / kNumber) {
        return std::nullopt;
    }
    std::vector<std::string_view> elements;
    elements.reserve(*count);
    for (std::uint32_t i = 0; i < *count; ++i) {
        const auto size = take_number(text);
        if (!size || *size > text.size()) {
            return std::nullopt;
        }
        elements.push_back(text.substr(0, *size));
        text.remove_prefix(*size);
    }
    if (!text.empty()) {
        return std::nullopt;
    }
    return elements;
}

}  // namespace moongate::modules
