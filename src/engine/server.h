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
        text;  // as written, lower case: "example.org", "*.example.org", "www.example.*"; "~^www\d"
    conf::BoundRegex regex;
};

struct Server {
    std::vector<ServerName> names;    // one empty name where the configuration has none
    std::string first_name;           // $server_name: "" where none is given
    std::unique_ptr<Location> outer;  // the server's own settings and handlers
    LocationTree locations;
    std::unordered_map<std::string, const Location*, StringHash, std::equal_to<>> named;
    std::vector<std::unique_ptr<Location>> owned;
};

class VirtualHosts {
public:
    // The first server added, or the one added with `is_default`, answers for names that match
    // nothing.
    void add(std::shared_ptr<const Server> server, bool is_default);
    // When all servers were added: builds the tables of names, unless there is only one server and
    // its names capture nothing. Gives the names that are not valid ("a*b"), nginx's `invalid
    // server name or wildcard`, and those that were taken before: `conflicting server name`.
    struct Complaints {
        std::vector<std::string> invalid;
        std::vector<std::string> conflicts;
    };
    Complaints finish();

    const Server& default_server() const { return *default_; }
    std::span<const std::shared_ptr<const Server>> servers() const { return servers_; }
    // `host` is lower case, without port. Captures of a regex name go to `source` (a Request); null
    // leaves names with a regex out.
    const Server& find(std::string_view host, conf::VariableSource* source) const;

private:
    // Views of the names in servers_.
    using Names = std::unordered_map<std::string_view, const Server*>;
    struct RegexName {
        const conf::BoundRegex* regex;
        const Server* server;
    };
    void add_name(const ServerName& name, const Server& server, Complaints& complaints);

    std::vector<std::shared_ptr<const Server>> servers_;
    const Server* default_ = nullptr;
    bool explicit_default_ = false;
    Names exact_;
    Names leading_;   // "*.example.org" under "example.org"; ".example.org" in both
    Names trailing_;  // "www.example.*" under "www.example"
    std::vector<RegexName> regexes_;
};

}  // namespace moongate::engine
