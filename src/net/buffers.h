// Memory for reading and writing, taken from free lists of the thread: a request that proxies takes
// and gives back two of them. Sizes are rounded up to a power of two of at least 4 KiB; large ones
// are not kept. A Buffer is freed on the thread that made it.
#pragma once

#include <cstddef>
#include <utility>

namespace moongate::net {

class Buffer {
public:
    Buffer() = default;
    // `bytes` at least; the whole capacity() may be used.
    explicit Buffer(std::size_t bytes);
    Buffer(Buffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)),
          capacity_(std::exchange(other.capacity_, 0)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        if (this != &other) {
            reset();
            data_ = std::exchange(other.data_, nullptr);
            capacity_ = std::exchange(other.capacity_, 0);
        }
        return *this;
    }
    ~Buffer() { reset(); }

    explicit operator bool() const { return data_ != nullptr; }
    char* data() { return data_; }
    const char* data() const { return data_; }
    std::size_t capacity() const { return capacity_; }
    void reset();

private:
    char* data_ = nullptr;
    std::size_t capacity_ = 0;
};

}  // namespace moongate::net
