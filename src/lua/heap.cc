// LuaHeap (heap.h), on a mimalloc heap of its own. Telling the collector is a matter of stores:
// lua_gc(RESTART) makes the next check of the running code a step, and a step multiplier of 0 makes
// that step a whole cycle. Both are safe inside the allocator.
#include "lua/heap.h"

#include <mimalloc.h>

#include <algorithm>
#include <atomic>

#include "lua/vm.h"

namespace moongate::lua {
namespace {

std::atomic<std::uint64_t> next_number = 1;
// The collector starts to hurry when this share of the limit is in use.
constexpr std::size_t kHurryPercent = 75;
// So many allocations after a whole cycle was asked for, it has run.
constexpr int kAllocationsACycle = 64;

}  // namespace

LuaHeap::LuaHeap(WorkerGuard& guard)
    : heap_(mi_heap_new()), guard_(guard), number_(next_number++) {}

LuaHeap::~LuaHeap() {
    mi_heap_destroy(heap_);
}

void LuaHeap::trim() {
    mi_heap_collect(heap_, true);
}

void* LuaHeap::allocate(void* heap, void* old, std::size_t old_bytes, std::size_t bytes) {
    LuaHeap& self = *static_cast<LuaHeap*>(heap);
    if (bytes == 0) {
        self.used_ -= old_bytes;
        mi_free(old);
        return nullptr;
    }
    if (bytes > old_bytes && self.used_ + (bytes - old_bytes) > self.look_at_) [[unlikely]] {
        if (self.refuse(bytes - old_bytes)) {
            return nullptr;
        }
    }
    void* const made = old == nullptr ? mi_heap_malloc(self.heap_, bytes)
                                      : mi_heap_realloc(self.heap_, old, bytes);
    if (made != nullptr) [[likely]] {
        self.used_ += bytes - old_bytes;
    }
    return made;
}

void LuaHeap::set_limit(lua_State* L, std::size_t bytes) {
    main_ = L;
    limit_ = bytes;
    look_at_ = bytes == 0 ? std::numeric_limits<std::size_t>::max() : bytes / 100 * kHurryPercent;
}

bool LuaHeap::refuse(std::size_t more) {
    const GuardFrame* frame = guard_.top;
    const bool in_lua = frame != nullptr && !frame->in_cpp;
    if (whole_cycles_ > 0) {
        if (--whole_cycles_ == 0) {
            lua_gc(main_, LUA_GCSETSTEPMUL, step_before_);
            const std::size_t hurry = limit_ / 100 * kHurryPercent;
            // What is still in use after a whole cycle is alive: the closer to the limit, the
            // sooner the next one.
            look_at_ = std::max(hurry, used_ + (limit_ - std::min(limit_, used_)) / 2);
        }
    } else {
        step_before_ = lua_gc(main_, LUA_GCSETSTEPMUL, 0);
        lua_gc(main_, LUA_GCRESTART, 0);
        whole_cycles_ = kAllocationsACycle;
        look_at_ = 0;
    }
    return in_lua && used_ + more > limit_;
}

}  // namespace moongate::lua
