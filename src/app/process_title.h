// What `ps` shows: "moongate: master process /usr/bin/moongate -c …" and "moongate: worker
// process". Linux shows the memory that held the arguments, so it is written over. Main thread,
// before other threads read the environment.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace moongate::app {

// Moves the environment away from behind the arguments. `arguments` is main()'s argv itself.
void prepare_process_title(std::span<char* const> arguments);
// Cut to the room there is. Without prepare_process_title() nothing happens.
void set_process_title(std::string_view title);

}  // namespace moongate::app
