#include "base/arena.h"

#include <cstdlib>

namespace moongate {
namespace {

// Blocks of kBlockBytes that this thread may use again. Bounded, so that a burst does not pin
// memory for ever.
// Plain data, so that reaching it costs no check for initialisation; emptied by
// release_arena_blocks().
struct BlockCache {
    static constexpr std::size_t kMaxBlocks = 1024;
    struct Free {
        Free* next;
    };

    Free* first;
    std::size_t count;

    void* take() {
        if (first == nullptr) {
            return nullptr;
        }
        --count;
        return std::exchange(first, first->next);
    }

    void give(void* block) {
        if (count >= kMaxBlocks) {
            std::free(block);
            return;
        }
        ++count;
        first = new (block) Free{first};
    }
};

constinit thread_local BlockCache block_cache{};

}  // namespace

void* Arena::allocate_slow(std::size_t bytes, std::size_t align) {
    constexpr std::size_t kHeader = sizeof(Block);
    if (bytes > kBlockBytes / 4) {
        // A block of its own, placed behind the current one, which still has room for small
        // requests.
        const std::size_t total = kHeader + bytes + align;
        auto* block = static_cast<Block*>(std::malloc(total));
        if (block == nullptr) {
            std::abort();
        }
        block->bytes = total;
        reserved_ += total;
        if (blocks_ != nullptr) {
            block->previous = blocks_->previous;
            blocks_->previous = block;
        } else {
            block->previous = nullptr;
            blocks_ = block;
        }
        const auto at =
            (reinterpret_cast<std::uintptr_t>(block) + kHeader + align - 1) & ~(align - 1);
        return reinterpret_cast<void*>(at);
    }
    void* memory = block_cache.take();
    if (memory == nullptr) {
        memory = std::malloc(kBlockBytes);
        if (memory == nullptr) {
            std::abort();
        }
    }
    auto* block = new (memory) Block{blocks_, kBlockBytes};
    blocks_ = block;
    reserved_ += kBlockBytes;
    next_ = reinterpret_cast<std::uintptr_t>(block) + kHeader;
    end_ = reinterpret_cast<std::uintptr_t>(block) + kBlockBytes;
    return allocate(bytes, align);
}

void Arena::release() {
    for (Cleanup* cleanup = std::exchange(cleanups_, nullptr); cleanup != nullptr;
         cleanup = cleanup->previous) {
        cleanup->destroy(cleanup->object);
    }
    for (Block* block = std::exchange(blocks_, nullptr); block != nullptr;) {
        Block* previous = block->previous;
        if (block->bytes == kBlockBytes) {
            block_cache.give(block);
        } else {
            std::free(block);
        }
        block = previous;
    }
    next_ = end_ = 0;
    reserved_ = 0;
}

void release_arena_blocks() {
    while (void* block = block_cache.take()) {
        std::free(block);
    }
}

}  // namespace moongate
