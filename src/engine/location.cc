// LocationTree: a compact radix tree over the names of prefix and exact locations, and the list of
// regex locations. Nodes hold the bytes of one edge and their children sorted by first byte, so a
// lookup costs the URI's bytes and a binary search among at most 256 children at each branch.
// Source of the rules: nginx's ngx_http_core_find_location, whose results it reproduces.
#include "engine/location.h"

#include <algorithm>

namespace moongate::engine {

struct LocationTree::Node {
    std::string edge;  // not empty but for the root
    const Location* exact = nullptr;
    const Location* prefix = nullptr;
    std::vector<std::unique_ptr<Node>> children;  // by the first byte of their edges

    // Where a child whose edge begins with `byte` is, or would be.
    auto place_of(char byte) const {
        return std::ranges::lower_bound(
            children, static_cast<unsigned char>(byte), {},
            [](const auto& child) { return static_cast<unsigned char>(child->edge.front()); });
    }
    const Node* child(char byte) const {
        const auto at = place_of(byte);
        return at != children.end() && (*at)->edge.front() == byte ? at->get() : nullptr;
    }
};

struct LocationTree::Data {
    Node root;
    std::vector<const Location*> regexes;
};

LocationTree::LocationTree() = default;
LocationTree::~LocationTree() = default;
LocationTree::LocationTree(LocationTree&&) noexcept = default;
LocationTree& LocationTree::operator=(LocationTree&&) noexcept = default;

LocationTree::Data& LocationTree::data() {
    if (data_ == nullptr) {
        data_ = std::make_unique<Data>();
    }
    return *data_;
}

// The node that stands for exactly `uri`, made where there is none.
LocationTree::Node& LocationTree::node(std::string_view uri) {
    Node* at = &data().root;
    while (!uri.empty()) {
        const auto place = at->place_of(uri.front());
        const auto index = place - at->children.begin();
        if (place == at->children.end() || (*place)->edge.front() != uri.front()) {
            auto made = std::make_unique<Node>();
            made->edge = uri;
            return **at->children.insert(place, std::move(made));
        }
        Node& child = **place;
        const auto [in_edge, in_uri] = std::ranges::mismatch(child.edge, uri);
        const auto common = static_cast<std::size_t>(in_edge - child.edge.begin());
        if (common < child.edge.size()) {
            auto upper = std::make_unique<Node>();
            upper->edge = child.edge.substr(0, common);
            auto lower = std::move(at->children[static_cast<std::size_t>(index)]);
            lower->edge = lower->edge.substr(common);
            upper->children.push_back(std::move(lower));
            at->children[static_cast<std::size_t>(index)] = std::move(upper);
        }
        at = at->children[static_cast<std::size_t>(index)].get();
        uri.remove_prefix(common);
    }
    return *at;
}

bool LocationTree::add_exact(std::string_view uri, const Location& location) {
    Node& at = node(uri);
    if (at.exact != nullptr) {
        return false;
    }
    at.exact = &location;
    return true;
}

bool LocationTree::add_prefix(std::string_view uri, const Location& location) {
    Node& at = node(uri);
    if (at.prefix != nullptr) {
        return false;
    }
    at.prefix = &location;
    return true;
}

void LocationTree::add_regex(const Location& location) {
    data().regexes.push_back(&location);
}

// The exact location, else the one that is `uri` with a '/' more and redirects there, else the
// longest prefix, in which case nested locations are still to be asked.
LocationTree::Found LocationTree::find_static(std::string_view uri,
                                              const Location*& location) const {
    const Node* at = &data_->root;
    const Location* longest = nullptr;
    std::string_view rest = uri;
    const Node* behind = nullptr;  // of an edge that goes on where the URI ends
    std::string_view behind_rest;
    while (true) {
        if (at->prefix != nullptr) {
            longest = at->prefix;
        }
        if (rest.empty()) {
            if (at->exact != nullptr) {
                location = at->exact;
                return Found::Final;
            }
            if (at->prefix == nullptr) {
                behind = at->child('/');
                behind_rest = behind == nullptr ? std::string_view() : behind->edge;
            }
            break;
        }
        const Node* child = at->child(rest.front());
        if (child == nullptr) {
            break;
        }
        const std::string_view edge = child->edge;
        if (!rest.starts_with(edge)) {
            if (edge.starts_with(rest)) {
                behind = child;
                behind_rest = edge.substr(rest.size());
            }
            break;
        }
        rest.remove_prefix(edge.size());
        at = child;
    }
    if (behind != nullptr && behind_rest == "/") {
        const bool redirects = (behind->exact != nullptr && behind->exact->auto_redirect) ||
                               (behind->prefix != nullptr && behind->prefix->auto_redirect);
        if (redirects) {
            location = behind->exact != nullptr ? behind->exact : behind->prefix;
            return Found::Redirect;
        }
    }
    if (longest == nullptr) {
        return Found::Nothing;
    }
    location = longest;
    return Found::Prefix;
}

LocationTree::Found LocationTree::find_in(std::string_view uri, conf::VariableSource& source,
                                          const Location*& location, bool& failed) const {
    if (data_ == nullptr) {
        return Found::Nothing;
    }
    Found found = find_static(uri, location);
    bool no_regex = false;
    if (found == Found::Prefix) {
        no_regex = location->kind == LocationKind::PrefixNoRegex;
        const Found inner = location->nested.find_in(uri, source, location, failed);
        found = inner == Found::Nothing ? Found::Prefix : inner;
    }
    if (failed || found == Found::Final || found == Found::Redirect || no_regex) {
        return found;
    }
    for (const Location* regex : data_->regexes) {
        const int matched = regex->regex.match(source, uri);
        if (matched < 0) {
            failed = true;
            return Found::Nothing;
        }
        if (matched > 0) {
            location = regex;
            regex->nested.find_in(uri, source, location, failed);
            return Found::Final;  // also where nginx's nested search asked for a redirect
        }
    }
    return found;
}

const Location* LocationTree::find(std::string_view uri, conf::VariableSource& source,
                                   bool& redirect_to_slash, bool* failed) const {
    const Location* location = nullptr;
    bool undecided = false;
    const Found found = find_in(uri, source, location, undecided);
    redirect_to_slash = found == Found::Redirect && !undecided;
    if (failed != nullptr) {
        *failed = undecided;
    }
    return undecided || found == Found::Nothing ? nullptr : location;
}

void FilterList::push_back(const Filter* filter) {
    auto list = list_ == nullptr ? std::make_shared<std::vector<const Filter*>>()
                                 : std::make_shared<std::vector<const Filter*>>(*list_);
    list->push_back(filter);
    list_ = std::move(list);
}

}  // namespace moongate::engine
