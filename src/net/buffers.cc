#include "net/buffers.h"

#include <array>
#include <bit>
#include <cstdlib>
#include <new>

namespace moongate::net {
namespace {

constexpr std::size_t kSmallest = 4096;
constexpr unsigned kClasses = 5;             // 4k, 8k, 16k, 32k, 64k
constexpr std::size_t kKeptBytes = 1 << 20;  // a class keeps at most this much

struct FreeLists {
    struct Node {
        Node* next;
    };
    struct List {
        Node* first = nullptr;
        std::size_t count = 0;
    };
    std::array<List, kClasses> lists;

    ~FreeLists() {
        for (List& list : lists) {
            while (list.first != nullptr) {
                std::free(std::exchange(list.first, list.first->next));
            }
        }
    }
};

FreeLists& free_lists() {
    static thread_local FreeLists lists;
    return lists;
}

unsigned class_of(std::size_t capacity) {
    return static_cast<unsigned>(std::countr_zero(capacity / kSmallest));
}

}  // namespace

Buffer::Buffer(std::size_t bytes)
    : capacity_(bytes <= kSmallest ? kSmallest : std::bit_ceil(bytes)) {
    const unsigned which = class_of(capacity_);
    if (which < kClasses) {
        auto& list = free_lists().lists[which];
        if (list.first != nullptr) {
            data_ = reinterpret_cast<char*>(std::exchange(list.first, list.first->next));
            --list.count;
            return;
        }
    }
    data_ = static_cast<char*>(std::malloc(capacity_));
    if (data_ == nullptr) {
        std::abort();  // as operator new: going on without memory is no option
    }
}

void Buffer::reset() {
    if (data_ == nullptr) {
        return;
    }
    char* data = std::exchange(data_, nullptr);
    const std::size_t capacity = std::exchange(capacity_, 0);
    const unsigned which = class_of(capacity);
    if (which < kClasses) {
        auto& list = free_lists().lists[which];
        if ((list.count + 1) * capacity <= kKeptBytes) {
            list.first = new (data) FreeLists::Node{list.first};
            ++list.count;
            return;
        }
    }
    std::free(data);
}

}  // namespace moongate::net
