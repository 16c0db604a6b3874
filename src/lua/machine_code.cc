// LuaJIT's areas of machine code (machine_code.h): a table a thread, which a signal handler may
// read at any moment, and the functions that LuaJIT's calls resolve to.
#include "lua/machine_code.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>

#include "lua/guard.h"
#include "lua/heap.h"
#include "lua/vm.h"
#include "lua/watchdog.h"

namespace moongate::lua {
namespace {

// An entry counts while its size is not 0. LuaJIT takes 64 kB at a time, by default 2 MB at most.
struct Area {
    std::atomic<std::size_t> bytes = 0;
    std::uintptr_t begin = 0;
    std::uint64_t state = 0;
    void* unwind_table = nullptr;
};
using Areas = std::array<Area, 512>;
thread_local constinit Areas areas;

void forget(Area& area) {
    area.bytes.store(0, std::memory_order_relaxed);
    area.unwind_table = nullptr;
}

Area* find(std::uintptr_t address) {
    for (Area& area : areas) {
        const std::size_t bytes = area.bytes.load(std::memory_order_relaxed);
        if (address - area.begin < bytes) {
            return &area;
        }
    }
    return nullptr;
}

void remember(void* begin, std::size_t bytes) {
    const GuardFrame* frame = this_guard().top;
    if (frame == nullptr) {
        return;
    }
    for (Area& area : areas) {
        if (area.bytes.load(std::memory_order_relaxed) == 0) {
            area.begin = reinterpret_cast<std::uintptr_t>(begin);
            area.state = frame->vm->heap_number();
            std::atomic_signal_fence(std::memory_order_release);
            area.bytes.store(bytes, std::memory_order_relaxed);
            return;
        }
    }
}

bool called_by_luajit(void* return_address) {
    return is_luajit_text(reinterpret_cast<std::uintptr_t>(return_address));
}

}  // namespace

bool is_machine_code(std::uintptr_t address) {
    return find(address) != nullptr;
}

void release_machine_code(std::uint64_t state) {
    using Deregister = void (*)(void*);
    static const auto deregister =
        reinterpret_cast<Deregister>(::dlsym(RTLD_DEFAULT, "__deregister_frame"));
    for (Area& area : areas) {
        const std::size_t bytes = area.bytes.load(std::memory_order_relaxed);
        if (bytes == 0 || area.state != state) {
            continue;
        }
        if (area.unwind_table != nullptr && deregister != nullptr) {
            deregister(area.unwind_table);
        }
        forget(area);
        ::syscall(SYS_munmap, area.begin, bytes);
    }
}

}  // namespace moongate::lua

using namespace moongate::lua;

extern "C" {

[[gnu::visibility("default")]] void* mmap64(void* hint, std::size_t bytes, int protection,
                                            int flags, int fd, off64_t offset) noexcept {
    auto* const mapped =
        reinterpret_cast<void*>(::syscall(SYS_mmap, hint, bytes, protection, flags, fd, offset));
    if (mapped != MAP_FAILED && called_by_luajit(__builtin_return_address(0))) {
        remember(mapped, bytes);
    }
    return mapped;
}

[[gnu::visibility("default")]] int munmap(void* begin, std::size_t bytes) noexcept {
    if (called_by_luajit(__builtin_return_address(0))) {
        if (Area* area = find(reinterpret_cast<std::uintptr_t>(begin))) {
            forget(*area);
        }
    }
    return static_cast<int>(::syscall(SYS_munmap, begin, bytes));
}

[[gnu::visibility("default")]] void __register_frame(void* table) {  // NOLINT: libgcc's name
    using Register = void (*)(void*);
    static const auto next = reinterpret_cast<Register>(::dlsym(RTLD_NEXT, "__register_frame"));
    if (Area* area = find(reinterpret_cast<std::uintptr_t>(table))) {
        area->unwind_table = table;
    }
    if (next != nullptr) {
        next(table);
    }
}
}
