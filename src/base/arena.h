// Arena: memory that lives exactly as long as its owner (a request, a connection, a snapshot).
// Allocation is a pointer increment; nothing is freed before the end. Blocks come from a per-thread
// cache, so a request that fits one block costs no call of malloc. Not shared between threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

namespace moongate {

class Arena {
public:
    static constexpr std::size_t kBlockBytes = 4096;

    Arena() = default;
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;
    ~Arena() { release(); }

    // Never null: exhaustion of memory ends the process, as operator new does. `align` is a power
    // of two ≤ 16.
    void* allocate(std::size_t bytes, std::size_t align = alignof(std::max_align_t)) {
        const auto at = (next_ + (align - 1)) & ~(align - 1);
        if (at + bytes <= end_ && next_ != 0) [[likely]] {
            next_ = at + bytes;
            return reinterpret_cast<void*>(at);
        }
        return allocate_slow(bytes, align);
    }

    char* allocate_chars(std::size_t bytes) { return static_cast<char*>(allocate(bytes, 1)); }

    // Constructs a T; its destructor runs at release() if it has one, in reverse order of
    // construction.
    template <class T, class... Args>
    T* make(Args&&... args) {
        if constexpr (std::is_trivially_destructible_v<T>) {
            return new (allocate(sizeof(T), alignof(T))) T(std::forward<Args>(args)...);
        } else {
            auto* cleanup = static_cast<Cleanup*>(allocate(sizeof(Cleanup), alignof(Cleanup)));
            T* object = new (allocate(sizeof(T), alignof(T))) T(std::forward<Args>(args)...);
            *cleanup = {cleanups_, object, [](void* p) { static_cast<T*>(p)->~T(); }};
            cleanups_ = cleanup;
            return object;
        }
    }

    // Value-initialised array; T must be trivially destructible.
    template <class T>
    std::span<T> make_array(std::size_t count) {
        static_assert(std::is_trivially_destructible_v<T>);
        if (count == 0) {
            return {};
        }
        T* first = static_cast<T*>(allocate(sizeof(T) * count, alignof(T)));
        for (std::size_t i = 0; i < count; ++i) {
            new (first + i) T{};
        }
        return {first, count};
    }

    // A copy of `text` with a terminating NUL behind it (not counted).
    std::string_view copy(std::string_view text) {
        char* to = allocate_chars(text.size() + 1);
        if (!text.empty()) {
            std::memcpy(to, text.data(), text.size());
        }
        to[text.size()] = '\0';
        return {to, text.size()};
    }

    // The concatenation of the parts, NUL-terminated.
    template <class... Parts>
    std::string_view concat(const Parts&... parts) {
        const std::string_view views[] = {std::string_view(parts)...};
        std::size_t bytes = 0;
        for (auto view : views) {
            bytes += view.size();
        }
        char* to = allocate_chars(bytes + 1);
        char* at = to;
        for (auto view : views) {
            if (!view.empty()) {
                std::memcpy(at, view.data(), view.size());
                at += view.size();
            }
        }
        *at = '\0';
        return {to, bytes};
    }

    // Destroys what make() built and gives all memory back. The arena can be used again.
    void release();

    // Bytes obtained from the system or the cache so far.
    std::size_t reserved_bytes() const { return reserved_; }

private:
    struct Block {
        Block* previous;
        std::size_t bytes;
    };
    struct Cleanup {
        Cleanup* previous;
        void* object;
        void (*destroy)(void*);
    };

    void* allocate_slow(std::size_t bytes, std::size_t align);

    std::uintptr_t next_ = 0;
    std::uintptr_t end_ = 0;
    Block* blocks_ = nullptr;
    Cleanup* cleanups_ = nullptr;
    std::size_t reserved_ = 0;
};

// Gives the calling thread's spare blocks back to the system: before the thread ends.
void release_arena_blocks();

}  // namespace moongate
