// A log sink that sends each line to a syslog server (RFC 3164, as nginx does): one datagram over
// UDP or to a unix socket. `error_log syslog:…` and `access_log syslog:…` share it. Source:
// "Logging to syslog", nginx.org. Sending never waits: what the socket does not take at once is
// lost, as with nginx. Any thread.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>

#include "base/log.h"

namespace moongate::net {

struct SyslogSettings {
    std::string server;          // as written: host, host:port or unix:/path
    std::uint8_t facility = 23;  // local7
    std::uint8_t severity = 6;   // info; used for lines without a level of their own (access_log)
    std::string tag = "nginx";
    bool host_name = true;
};

// The parameters behind "syslog:", such as `server=127.0.0.1:514,facility=user,tag=api,nohostname`.
// The error is nginx's message; the caller adds file and line.
std::expected<SyslogSettings, std::string> parse_syslog(std::string_view parameters);

class SyslogSink : public LogSink {
public:
    // An error log's line: the severity is the level's. The line's own end is not sent.
    void write(LogLevel level, std::string_view line) override = 0;
    // An access log's line: the severity is the one set.
    virtual void write_access(std::string_view line) = 0;
};

// Resolves the server's name, which may wait for DNS: while a configuration is loaded, not while
// serving. The socket is opened with the first line, and again after an error. The error is nginx's
// message.
std::expected<std::shared_ptr<SyslogSink>, std::string> make_syslog_sink(
    const SyslogSettings& settings);

}  // namespace moongate::net
