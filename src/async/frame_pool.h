// Memory for coroutine frames: per-thread free lists by size, because a request allocates and frees
// a handful of frames of the same few sizes. A frame is freed on the thread that allocated it
// (tasks do not migrate).
#pragma once

#include <cstddef>

namespace moongate::async {

void* allocate_frame(std::size_t bytes);
void free_frame(void* frame, std::size_t bytes);
// Gives the calling thread's spare frames back to the system: before the thread ends.
void release_frames();

}  // namespace moongate::async
