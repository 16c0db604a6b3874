// The header fields of one message: a flat array in the request's arena, in the order they came.
// Known names are found in O(1) through a slot each, others by hash and comparison. The list owns
// no heap memory and is trivially destructible; names and values are views that must live as long
// as the arena. One thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/arena.h"
#include "http/header_id.h"

namespace moongate::http {

struct Header {
    std::string_view name;  // as sent
    std::string_view value;
    HeaderId id;
    std::uint32_t hash;  // header_hash(name)
};

class HeaderList {
public:
    // An unbound list is empty and must be bound before add().
    HeaderList() = default;
    explicit HeaderList(Arena& arena) : arena_(&arena) {}
    HeaderList(const HeaderList&) = delete;
    HeaderList& operator=(const HeaderList&) = delete;
    HeaderList(HeaderList&& other) noexcept { *this = static_cast<HeaderList&&>(other); }
    HeaderList& operator=(HeaderList&& other) noexcept;

    // Empties the list and takes memory from `arena` from now on.
    void bind(Arena& arena) {
        arena_ = &arena;
        data_ = nullptr;
        capacity_ = 0;
        clear();
    }
    Arena* arena() const { return arena_; }

    // Appends. The views are kept, not copied.
    Header& add(std::string_view name, std::string_view value) {
        const std::uint32_t hash = header_hash(name);
        return add(name, value, header_id(name, hash), hash);
    }
    Header& add(HeaderId id, std::string_view value) {
        return add(header_name(id), value, id, header_hash(header_name(id)));
    }
    Header& add(std::string_view name, std::string_view value, HeaderId id, std::uint32_t hash) {
        if (size_ == capacity_) [[unlikely]] {
            grow();
        }
        Header* header = data_ + size_;
        *header = Header{name, value, id, hash};
        if (id != HeaderId::Other) {
            index(id, size_);
        }
        ++size_;
        return *header;
    }

    // Leaves exactly one header of that name, at the place of the first there was, else at the end.
    // The name takes the new spelling.
    Header& set(std::string_view name, std::string_view value);
    Header& set(HeaderId id, std::string_view value);

    // Take all headers of the name away; the order of the others stays. Return how many there were.
    std::size_t remove(std::string_view name);
    std::size_t remove(HeaderId id);
    // Takes away all for which `drop(const Header&)` is true.
    template <class Drop>
    std::size_t remove_if(Drop drop) {
        std::uint32_t kept = 0;
        for (std::uint32_t i = 0; i < size_; ++i) {
            if (!drop(static_cast<const Header&>(data_[i]))) {
                data_[kept++] = data_[i];
            }
        }
        const std::size_t removed = size_ - kept;
        if (removed != 0) {
            size_ = kept;
            reindex();
        }
        return removed;
    }

    // The first header of the name, or null. Valid until the next add, set or remove.
    Header* find(HeaderId id) {
        return present_.contains(id) ? data_ + first_[static_cast<std::size_t>(id)] : nullptr;
    }
    const Header* find(HeaderId id) const { return const_cast<HeaderList*>(this)->find(id); }
    Header* find(std::string_view name);
    const Header* find(std::string_view name) const {
        return const_cast<HeaderList*>(this)->find(name);
    }
    Header* find(std::string_view name, HeaderId id, std::uint32_t hash);
    // The next header of the same name behind `header`, which is one of this list; or null.
    Header* next(const Header* header);
    const Header* next(const Header* header) const {
        return const_cast<HeaderList*>(this)->next(header);
    }

    // The value of the first header of the name, or an empty view. has() tells an absent from an
    // empty one.
    std::string_view value(HeaderId id) const {
        const Header* header = find(id);
        return header == nullptr ? std::string_view{} : header->value;
    }
    std::string_view value(std::string_view name) const {
        const Header* header = find(name);
        return header == nullptr ? std::string_view{} : header->value;
    }
    bool has(HeaderId id) const { return present_.contains(id); }
    bool has(std::string_view name) const { return find(name) != nullptr; }
    std::size_t count(HeaderId id) const;
    std::size_t count(std::string_view name) const;

    // All values of the name joined with `separator`, in the arena where there are several.
    std::string_view joined(HeaderId id, std::string_view separator = ", ") const;
    std::string_view joined(std::string_view name, std::string_view separator = ", ") const;

    std::size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    Header* begin() { return data_; }
    Header* end() { return data_ + size_; }
    const Header* begin() const { return data_; }
    const Header* end() const { return data_ + size_; }
    Header& operator[](std::size_t i) { return data_[i]; }
    const Header& operator[](std::size_t i) const { return data_[i]; }

    void clear() {
        size_ = 0;
        present_ = repeated_ = HeaderIdSet{};
    }

    // Replaces the contents with those of `other`; the texts are copied into this list's arena too.
    void copy_from(const HeaderList& other);

private:
    void index(HeaderId id, std::uint32_t at) {
        if (present_.contains(id)) {
            repeated_.insert(id);
        } else {
            present_.insert(id);
            first_[static_cast<std::size_t>(id)] = at;
        }
    }
    void grow();
    void reindex();
    std::string_view joined_from(const Header* first, std::string_view separator) const;

    Header* data_ = nullptr;
    std::uint32_t size_ = 0;
    std::uint32_t capacity_ = 0;
    Arena* arena_ = nullptr;
    HeaderIdSet present_;
    HeaderIdSet repeated_;  // those of them that may have come more than once
    // Index of the first header of each id; meaningful only where present_ contains the id, so that
    // clear() does not have to touch it.
    std::uint32_t first_[kHeaderIdCount];
};

}  // namespace moongate::http
