// What a phase handler wants next. The engine's loop (run.cc) is the only reader.
#pragma once

#include <cstdint>

namespace moongate::engine {

struct Action {
    enum class Kind : std::uint8_t {
        Next,  // nothing to say (nginx: NGX_DECLINED): the next handler of the phase, then the next
               // phase
        Done,  // satisfied (NGX_OK): in access, granted; in content, the response is complete
        Finish,  // end with `status`: an error page or special response where nothing was sent yet
        Redirect,  // request.uri, args and perhaps named_location changed: look for the location
                   // again
    };
    Kind kind = Kind::Next;
    int status = 0;

    static constexpr Action next() { return {Kind::Next, 0}; }
    static constexpr Action done() { return {Kind::Done, 0}; }
    static constexpr Action finish(int status) { return {Kind::Finish, status}; }
    static constexpr Action redirect() { return {Kind::Redirect, 0}; }
};

// nginx's statuses that never reach a client as such.
inline constexpr int kCloseWithoutResponse = 444;
inline constexpr int kClientClosedRequest = 499;

}  // namespace moongate::engine
