// Location: what the configuration made of a `location {}` (or of a server outside of any, or of an
// `if` in one): its settings, the handlers and filters that those need, and its nested locations.
// LocationTree chooses one by URI in time that depends on the URI's length, not on the number of
// locations. Immutable, owned by its Server. Source: nginx's documentation of `location`.
#pragma once

#include <cstdint>
#include <initializer_list>
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

    // The tree keeps pointers; the locations' owner is Server. False where the tree has one of that
    // name and kind already (it stays).
    bool add_exact(std::string_view uri, const Location& location);
    bool add_prefix(std::string_view uri, const Location& location);
    void add_regex(const Location& location);
    bool empty() const { return data_ == nullptr; }

    // nginx's rules: exact; the longest prefix, its nested locations first, and where that is ^~ no
    // regex; the first regex that matches, nested ones included; else the prefix. `source` (a
    // Request) receives what the regex captured. Null: none matches. `redirect_to_slash` is set
    // where only "URI/" is a location and that has auto_redirect: the answer is 301 to its name.
    // `failed` is set where a regex could not be decided (a match limit was hit): the answer is
    // 500, and the result is null.
    const Location* find(std::string_view uri, conf::VariableSource& source,
                         bool& redirect_to_slash, bool* failed = nullptr) const;

private:
    struct Node;
    struct Data;
    enum class Found : std::uint8_t { Nothing, Prefix, Final, Redirect };

    Data& data();
    Node& node(std::string_view uri);
    Found find_static(std::string_view uri, const Location*& location) const;
    Found find_in(std::string_view uri, conf::VariableSource& source, const Location*& location,
                  bool& failed) const;

    std::unique_ptr<Data> data_;  // null: empty
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

// The filters of a location, in order. Lists with equal contents share one array.
class FilterList {
public:
    // Only while the configuration is compiled.
    void push_back(const Filter* filter);

    std::size_t size() const { return list_ == nullptr ? 0 : list_->size(); }
    bool empty() const { return size() == 0; }
    const Filter* operator[](std::size_t n) const { return (*list_)[n]; }
    const Filter* const* begin() const { return list_ == nullptr ? nullptr : list_->data(); }
    const Filter* const* end() const { return begin() + size(); }

private:
    friend class SnapshotBuilder;
    std::shared_ptr<const std::vector<const Filter*>> list_;
};

struct Location {
    LocationKind kind = LocationKind::Prefix;
    bool internal = false;       // CoreLocationSettings::internal
    bool auto_redirect = false;  // a proxy_pass-like handler under a name that ends in '/'
    std::string
        name;  // as written: "/a/", "~ \.php$"'s pattern, "@name"; an if's is its location's
    conf::SettingsRef settings;
    conf::BoundRegex regex;  // of kind Regex
    HandlerTable handlers;
    FilterList filters;
    Handler content;  // exclusive content handler (proxy_pass, content_by_lua); unset: the content
                      // phase's handlers
    LocationTree nested;
    std::vector<std::unique_ptr<Location>> children;  // nested locations, ifs and limit_except
    const Location* parent = nullptr;                 // null for kind Server
    // limit_except: a request whose http::method_bit() is in the mask goes on in
    // `limit_except_location`, after the location was found (also a nested or named one).
    std::uint32_t limit_except = 0;
    const Location* limit_except_location = nullptr;
};

}  // namespace moongate::engine
