// Location: what the configuration made of a `location {}` (or of a server outside of any, or of an
// `if` in one): its settings, the handlers and filters that those need, and its nested locations.
// LocationTree chooses one by URI in time that depends on the URI's length, not on the number of
// locations. Immutable, owned by its Server. Source: nginx's documentation of `location`.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "conf/level.h"
#include "conf/regex.h"
#include "engine/filters.h"
#include "engine/phases.h"

namespace moongate::engine {

struct Location;

class LocationTree {
public:
    LocationTree();
    ~LocationTree();
    LocationTree(LocationTree&&) noexcept;
    LocationTree& operator=(LocationTree&&) noexcept;

    // The tree keeps pointers; the locations' owner is Server.
    void add_exact(std::string_view uri, const Location& location);
    void add_prefix(std::string_view uri, const Location& location);
    void add_regex(const Location& location);
    bool empty() const;

    // nginx's rules: exact; the longest prefix, and where that is ^~ no regex; the first regex that
    // matches, nested ones included; else the prefix. `captures` receives what the regex matched.
    // Null: none matches. `redirect_to_slash` is set where only "URI/" is a prefix location with a
    // content handler of its own (301).
    const Location* find(std::string_view uri, class Request& request,
                         bool& redirect_to_slash) const;

private:
    struct Node;
    std::unique_ptr<Node> root_;
    std::vector<const Location*> regexes_;
};

enum class LocationKind : std::uint8_t {
    Prefix,
    PrefixNoRegex,
    Exact,
    Regex,
    Named,
    If,
    Server,
    LimitExcept
};

struct Location {
    LocationKind kind = LocationKind::Prefix;
    std::string name;  // as written: "/a/", "~ \.php$"'s pattern, "@name"
    bool internal = false;
    bool auto_redirect = false;  // a proxy_pass-like handler under a name that ends in '/'
    conf::SettingsRef settings;
    conf::Regex regex;
    HandlerTable handlers;
    std::vector<const Filter*> filters;
    Handler content;  // exclusive content handler (proxy_pass, content_by_lua); unset: the content
                      // phase's handlers
    LocationTree nested;
    std::vector<std::unique_ptr<Location>> children;  // nested locations and ifs
    const Location* parent = nullptr;
};

}  // namespace moongate::engine
