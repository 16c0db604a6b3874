// The texts that supervisor and engine exchange over their channels. Both ends are forked from one
// binary, so the form needs no versions; it is still parsed defensively, since the engine is the
// less trusted side.
//   to the engine:   stop | quit | reopen | forget | listeners LINES | reload SEQUENCE
//                    LINES: "TYPE COPY ATTACHED NAME\n"; attached descriptors follow in the order
//                    of the lines.
//   from the engine: ready | reloaded SEQUENCE | reload-failed SEQUENCE LINES   (LINES: "LEVEL
//   TEXT\n") broker:          open r|a PATH, answered by "fd" with a descriptor, or "errno NUMBER".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/engine_process.h"

namespace moongate::app::protocol {

inline constexpr std::string_view kStop = "stop";
inline constexpr std::string_view kQuit = "quit";
inline constexpr std::string_view kReopen = "reopen";
// What was announced so far of a set that was never completed does not count.
inline constexpr std::string_view kForget = "forget";
inline constexpr std::string_view kListeners = "listeners\n";
inline constexpr std::string_view kReload = "reload ";
inline constexpr std::string_view kReady = "ready";
inline constexpr std::string_view kReloaded = "reloaded ";
inline constexpr std::string_view kReloadFailed = "reload-failed ";
inline constexpr std::string_view kFd = "fd";
inline constexpr std::string_view kErrno = "errno ";

// The number behind `prefix`, up to the end of the line; nullopt where the body does not start so.
std::optional<std::uint64_t> parse_sequence(std::string_view body, std::string_view prefix);

struct ListenerLine {
    ListenSocket socket;
    bool attached = false;
};
std::string format_listener(const ListenSocket& socket, bool attached);
std::vector<ListenerLine> parse_listeners(std::string_view body);

// Cut where it would exceed a channel message.
std::string format_reload_failed(std::uint64_t sequence, const std::vector<Message>& messages);
std::vector<Message> parse_messages(std::string_view body);

struct OpenRequest {
    std::string path;
    OpenMode mode = OpenMode::Read;
};
std::string format_open(std::string_view path, OpenMode mode);
std::optional<OpenRequest> parse_open(std::string_view body);
std::string format_errno(int value);
std::optional<int> parse_errno(std::string_view body);

}  // namespace moongate::app::protocol
