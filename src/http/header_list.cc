#include "http/header_list.h"

#include <cstring>

#include "base/strings.h"

namespace moongate::http {
namespace {

// 16 headers are what a browser sends, and fit an arena block's quarter (Arena takes larger ones
// from malloc).
constexpr std::uint32_t kFirstCapacity = 16;

bool same_name(const Header& header, std::uint32_t hash, std::string_view name) {
    return header.hash == hash && equals_ignore_case(header.name, name);
}

}  // namespace

HeaderList& HeaderList::operator=(HeaderList&& other) noexcept {
    if (this != &other) {
        data_ = other.data_;
        size_ = other.size_;
        capacity_ = other.capacity_;
        arena_ = other.arena_;
        present_ = other.present_;
        repeated_ = other.repeated_;
        // Slots without a presence bit are never read as numbers; they are copied with the rest
        // because one block is cheaper than a look at each bit.
        std::memcpy(first_, other.first_, sizeof first_);
        other.data_ = nullptr;
        other.capacity_ = 0;
        other.clear();
    }
    return *this;
}

void HeaderList::grow() {
    const std::uint32_t capacity = capacity_ == 0 ? kFirstCapacity : capacity_ * 2;
    auto* data = static_cast<Header*>(arena_->allocate(sizeof(Header) * capacity, alignof(Header)));
    if (size_ != 0) {
        std::memcpy(static_cast<void*>(data), data_, sizeof(Header) * size_);
    }
    data_ = data;
    capacity_ = capacity;
}

void HeaderList::reindex() {
    present_ = repeated_ = HeaderIdSet{};
    for (std::uint32_t i = 0; i < size_; ++i) {
        const HeaderId id = data_[i].id;
        if (id != HeaderId::Other) {
            index(id, i);
        }
    }
}

Header* HeaderList::find(std::string_view name) {
    const std::uint32_t hash = header_hash(name);
    return find(name, header_id(name, hash), hash);
}

Header* HeaderList::find(std::string_view name, HeaderId id, std::uint32_t hash) {
    if (id != HeaderId::Other) {
        return find(id);
    }
    for (std::uint32_t i = 0; i < size_; ++i) {
        if (same_name(data_[i], hash, name)) {
            return data_ + i;
        }
    }
    return nullptr;
}

Header* HeaderList::next(const Header* header) {
    if (header->id != HeaderId::Other && !repeated_.contains(header->id)) {
        return nullptr;
    }
    Header* at = data_ + (header - data_) + 1;
    for (; at != end(); ++at) {
        if (header->id != HeaderId::Other ? at->id == header->id
                                          : same_name(*at, header->hash, header->name)) {
            return at;
        }
    }
    return nullptr;
}

Header& HeaderList::set(std::string_view name, std::string_view value) {
    const std::uint32_t hash = header_hash(name);
    const HeaderId id = header_id(name, hash);
    Header* first = find(name, id, hash);
    if (first == nullptr) {
        return add(name, value, id, hash);
    }
    const Header* keep = first;
    if (next(first) != nullptr) {
        // The kept header stays where it is: only headers behind it move.
        std::uint32_t i = 0;
        const auto position = static_cast<std::uint32_t>(keep - data_);
        remove_if([&](const Header& header) {
            return i++ != position &&
                   (id != HeaderId::Other ? header.id == id : same_name(header, hash, name));
        });
    }
    first->name = name;
    first->value = value;
    return *first;
}

Header& HeaderList::set(HeaderId id, std::string_view value) {
    return set(header_name(id), value);
}

std::size_t HeaderList::remove(HeaderId id) {
    if (!present_.contains(id)) {
        return 0;
    }
    return remove_if([id](const Header& header) { return header.id == id; });
}

std::size_t HeaderList::remove(std::string_view name) {
    const std::uint32_t hash = header_hash(name);
    const HeaderId id = header_id(name, hash);
    if (id != HeaderId::Other) {
        return remove(id);
    }
    return remove_if([&](const Header& header) { return same_name(header, hash, name); });
}

std::size_t HeaderList::count(HeaderId id) const {
    std::size_t found = 0;
    for (const Header* h = find(id); h != nullptr; h = next(h)) {
        ++found;
    }
    return found;
}

std::size_t HeaderList::count(std::string_view name) const {
    std::size_t found = 0;
    for (const Header* h = find(name); h != nullptr; h = next(h)) {
        ++found;
    }
    return found;
}

std::string_view HeaderList::joined(HeaderId id, std::string_view separator) const {
    return joined_from(find(id), separator);
}

std::string_view HeaderList::joined(std::string_view name, std::string_view separator) const {
    return joined_from(find(name), separator);
}

std::string_view HeaderList::joined_from(const Header* first, std::string_view separator) const {
    if (first == nullptr) {
        return {};
    }
    if (next(first) == nullptr) {
        return first->value;
    }
    std::size_t bytes = 0;
    for (const Header* h = first; h != nullptr; h = next(h)) {
        bytes += h->value.size() + separator.size();
    }
    char* text = arena_->allocate_chars(bytes);
    char* at = text;
    for (const Header* h = first; h != nullptr; h = next(h)) {
        if (h != first) {
            at = separator.copy(at, separator.size()) + at;
        }
        at = h->value.copy(at, h->value.size()) + at;
    }
    return {text, static_cast<std::size_t>(at - text)};
}

void HeaderList::copy_from(const HeaderList& other) {
    clear();
    for (const Header& header : other) {
        add(arena_->copy(header.name), arena_->copy(header.value), header.id, header.hash);
    }
}

}  // namespace moongate::http
