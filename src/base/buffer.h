// Buffer: a block of memory for input or output, taken from the calling thread's pool and given
// back when destroyed. Connections hold one only while bytes are in flight, so that idle ones cost
// nothing. Not shared between threads (a buffer may be freed by another thread; it then joins that
// thread's pool).
#pragma once

#include <cstddef>
#include <utility>

namespace moongate {

class Buffer {
public:
    static constexpr std::size_t kSmall = 4096;
    static constexpr std::size_t kMedium = 16 * 1024;
    static constexpr std::size_t kLarge = 64 * 1024;

    Buffer() = default;
    // At least `bytes`: the next pool size up, or exactly that from malloc beyond kLarge.
    explicit Buffer(std::size_t bytes);
    Buffer(Buffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)),
          capacity_(std::exchange(other.capacity_, 0)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(capacity_, other.capacity_);
        return *this;
    }
    ~Buffer() { reset(); }

    explicit operator bool() const { return data_ != nullptr; }
    char* data() const { return data_; }
    std::size_t capacity() const { return capacity_; }
    void reset();

private:
    char* data_ = nullptr;
    std::size_t capacity_ = 0;
};

// Gives the calling thread's spare buffers back to the system: before the thread ends.
void release_buffers();

}  // namespace moongate
