#include "engine/server.h"

#include <algorithm>

namespace moongate::engine {
namespace {

// nginx's ngx_hash_add_key: at most the one '*' of a wildcard, and no empty label.
bool valid_name(std::string_view name) {
    std::size_t stars = 0;
    for (std::size_t i = 0; i < name.size(); ++i) {
        stars += name[i] == '*' ? 1 : 0;
        if (stars > 1 || name[i] == '\0' || name.substr(i).starts_with("..")) {
            return false;
        }
    }
    return stars == 0 || (name.size() > 2 && (name.starts_with("*.") || name.ends_with(".*")));
}

}  // namespace

void VirtualHosts::add(std::shared_ptr<const Server> server, bool is_default) {
    if (default_ == nullptr || (is_default && !explicit_default_)) {
        default_ = server.get();
    }
    explicit_default_ = explicit_default_ || is_default;
    servers_.push_back(std::move(server));
}

VirtualHosts::Complaints VirtualHosts::finish() {
    Complaints complaints;
    const bool captures =
        default_ != nullptr && std::ranges::any_of(default_->names, [](const ServerName& name) {
            return name.regex && name.regex.regex().group_count() > 0;
        });
    if (servers_.size() < 2 && !captures) {
        return complaints;
    }
    for (const auto& server : servers_) {
        for (const ServerName& name : server->names) {
            add_name(name, *server, complaints);
        }
    }
    return complaints;
}

void VirtualHosts::add_name(const ServerName& name, const Server& server, Complaints& complaints) {
    if (name.regex) {
        regexes_.push_back({&name.regex, &server});
        return;
    }
    const std::string_view text = name.text;
    if (!valid_name(text)) {
        complaints.invalid.emplace_back(text);
        return;
    }
    bool added = true;
    if (text.size() > 1 && text.starts_with('.')) {
        added = exact_.emplace(text.substr(1), &server).second &&
                leading_.emplace(text.substr(1), &server).second;
    } else if (text.starts_with("*.")) {
        added = leading_.emplace(text.substr(2), &server).second;
    } else if (text.ends_with(".*")) {
        added = trailing_.emplace(text.substr(0, text.size() - 2), &server).second;
    } else {
        added = exact_.emplace(text, &server).second;
    }
    if (!added) {
        complaints.conflicts.emplace_back(text);
    }
}

const Server& VirtualHosts::find(std::string_view host, conf::VariableSource* source) const {
    if (const auto found = exact_.find(host); found != exact_.end()) {
        return *found->second;
    }
    if (!leading_.empty()) {
        for (auto dot = host.find('.'); dot != std::string_view::npos;
             dot = host.find('.', dot + 1)) {
            if (const auto found = leading_.find(host.substr(dot + 1)); found != leading_.end()) {
                return *found->second;
            }
        }
    }
    if (!trailing_.empty()) {
        std::string_view front = host;
        for (auto dot = front.rfind('.'); dot != std::string_view::npos; dot = front.rfind('.')) {
            front = front.substr(0, dot);
            if (const auto found = trailing_.find(front); found != trailing_.end()) {
                return *found->second;
            }
        }
    }
    if (source != nullptr && !host.empty()) {
        for (const RegexName& name : regexes_) {
            if (name.regex->match(*source, host) > 0) {
                return *name.server;
            }
        }
    }
    return *default_;
}

}  // namespace moongate::engine
