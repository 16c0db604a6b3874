// Server: what the configuration made of a `server {}`. VirtualHosts chooses one for a listening
// address and a host name: exact names, then the longest wildcard at the front, then at the end,
// then the first regex; else the address's default. Immutable, owned by the Snapshot; servers that
// did not change are shared by snapshots. Source: nginx's "Server names".
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/strings.h"
#include "conf/regex.h"
#include "engine/location.h"

namespace moongate::engine {

struct ServerName {
    std::string
        text;  // as written, lower case: "example.org", "*.example.org", "www.example.*", "~^www\d"
    conf::Regex regex;
};

struct Server {
    std::vector<ServerName> names;
    std::string first_name;           // $server_name: "" where none is given
    std::unique_ptr<Location> outer;  // the server's own settings and handlers
    LocationTree locations;
    std::unordered_map<std::string, const Location*, StringHash, std::equal_to<>> named;
    std::vector<std::unique_ptr<Location>> owned;
};

class VirtualHosts {
public:
    // The first server added, or the one added with `is_default`, answers for names that match
    // nothing. Returns false where the name was taken before (nginx warns: conflicting server
    // name).
    void add(std::shared_ptr<const Server> server, bool is_default);
    std::vector<std::string> take_conflicts();

    const Server& default_server() const { return *default_; }
    // `host` is lower case, without port. Captures of a regex name go to `request`.
    const Server& find(std::string_view host, class Request* request) const;

private:
    using Names = std::unordered_map<std::string, const Server*, StringHash, std::equal_to<>>;
    struct RegexName {
        const conf::Regex* regex;
        const Server* server;
    };

    std::vector<std::shared_ptr<const Server>> servers_;
    const Server* default_ = nullptr;
    bool explicit_default_ = false;
    Names exact_;
    Names leading_;   // "*.example.org" under "example.org"; ".example.org" in both
    Names trailing_;  // "www.example.*" under "www.example"
    std::vector<RegexName> regexes_;
    std::vector<std::string> conflicts_;
};

}  // namespace moongate::engine
