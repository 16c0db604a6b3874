#include "base/buffer.h"

#include <cstdlib>
#include <new>

namespace moongate {
namespace {

constexpr std::size_t kSizes[] = {Buffer::kSmall, Buffer::kMedium, Buffer::kLarge};
constexpr std::size_t kKeep[] = {1024, 256, 64};  // 12 MiB a thread at most

struct Free {
    Free* next;
};

// Plain data, so that reaching it costs no check for initialisation; emptied by release_buffers().
struct Pool {
    Free* lists[3];
    std::size_t counts[3];
};

constinit thread_local Pool pool{};

int size_class(std::size_t bytes) {
    for (int i = 0; i < 3; ++i) {
        if (bytes <= kSizes[i]) {
            return i;
        }
    }
    return -1;
}

}  // namespace

Buffer::Buffer(std::size_t bytes) {
    const int index = size_class(bytes);
    capacity_ = index < 0 ? bytes : kSizes[index];
    if (index >= 0 && pool.lists[index] != nullptr) {
        --pool.counts[index];
        Free* block = pool.lists[index];
        pool.lists[index] = block->next;
        data_ = reinterpret_cast<char*>(block);
        return;
    }
    data_ = static_cast<char*>(std::malloc(capacity_));
    if (data_ == nullptr) {
        std::abort();
    }
}

void Buffer::reset() {
    if (data_ == nullptr) {
        return;
    }
    const int index = size_class(capacity_);
    if (index >= 0 && capacity_ == kSizes[index] && pool.counts[index] < kKeep[index]) {
        ++pool.counts[index];
        pool.lists[index] = new (data_) Free{pool.lists[index]};
    } else {
        std::free(data_);
    }
    data_ = nullptr;
    capacity_ = 0;
}

void release_buffers() {
    for (int i = 0; i < 3; ++i) {
        while (pool.lists[i] != nullptr) {
            std::free(std::exchange(pool.lists[i], pool.lists[i]->next));
        }
        pool.counts[i] = 0;
    }
}

}  // namespace moongate
