// A `log_format`: text and variables in the order of an access log's line. Compiled once,
// immutable, shared by all workers.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "conf/error.h"

namespace moongate::conf {
class VariableTable;
}
namespace moongate::engine {
class Request;
}

namespace moongate::modules {

enum class LogEscape : std::uint8_t { Default, Json, None };

class LogFormat {
public:
    // `parts` are joined without a separator. nginx's messages: `invalid parameter "x"`, `the
    // closing bracket in "x" variable is missing`.
    static conf::Expected<LogFormat> compile(std::span<const std::string> parts, LogEscape escape,
                                             conf::VariableTable& variables);
    // nginx's predefined format.
    static conf::Expected<LogFormat> combined(conf::VariableTable& variables);

    // Appends the line, without its end.
    void append(engine::Request& request, std::string& line) const;

private:
    enum class Kind : std::uint8_t {
        Text,
        Variable,
        Pipe,
        TimeLocal,
        TimeIso8601,
        Msec,
        RequestTime,
        Status,
        BytesSent,
        BodyBytesSent,
        RequestLength,
    };
    struct Part {
        Kind kind = Kind::Text;
        int variable = -1;
        std::string text;
    };

    static Kind known_kind(std::string_view name);
    conf::Expected<void> compile_part(std::string_view text, conf::VariableTable& variables);
    void append_variable(engine::Request& request, int variable, std::string& line) const;

    std::vector<Part> parts_;
    LogEscape escape_ = LogEscape::Default;
};

// Everything below space and above '~', '"' and '\' as \xHH.
void append_escaped(std::string_view text, std::string& line);
// As the inside of a JSON string.
void append_json_escaped(std::string_view text, std::string& line);

}  // namespace moongate::modules
