#include "async/frame_pool.h"

#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

namespace moongate::async {
namespace {

// Under a sanitizer every frame comes from malloc, so that a use after destruction is seen.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MOONGATE_PLAIN_FRAMES 1
#endif
#endif

[[maybe_unused]] constexpr std::size_t kStep = 32;
[[maybe_unused]] constexpr std::size_t kClasses = 96;  // frames up to 3 KiB
[[maybe_unused]] constexpr std::size_t kMaxPerClass =
    512;  // kept for reuse; more goes back to malloc

struct Free {
    Free* next;
};

// Plain data, so that reaching it costs no check for initialisation; emptied by release_frames().
struct Pool {
    Free* lists[kClasses];
    std::uint32_t counts[kClasses];
};

[[maybe_unused]] constinit thread_local Pool pool{};

void* plain(std::size_t bytes) {
    void* memory = std::malloc(bytes);
    if (memory == nullptr) {
        std::abort();
    }
    return memory;
}

}  // namespace

void* allocate_frame(std::size_t bytes) {
#ifndef MOONGATE_PLAIN_FRAMES
    const std::size_t index = (bytes - 1) / kStep;
    if (index < kClasses) {
        Free*& list = pool.lists[index];
        if (list != nullptr) [[likely]] {
            --pool.counts[index];
            Free* frame = list;
            list = frame->next;
            return frame;
        }
        return plain((index + 1) * kStep);
    }
#endif
    return plain(bytes);
}

void free_frame(void* frame, std::size_t bytes) {
#ifndef MOONGATE_PLAIN_FRAMES
    const std::size_t index = (bytes - 1) / kStep;
    if (index < kClasses && pool.counts[index] < kMaxPerClass) [[likely]] {
        ++pool.counts[index];
        pool.lists[index] = new (frame) Free{pool.lists[index]};
        return;
    }
#endif
    std::free(frame);
}

void release_frames() {
    for (std::size_t i = 0; i < kClasses; ++i) {
        while (pool.lists[i] != nullptr) {
            std::free(std::exchange(pool.lists[i], pool.lists[i]->next));
        }
        pool.counts[i] = 0;
    }
}

}  // namespace moongate::async
