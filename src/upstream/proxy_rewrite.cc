// Rewriting of response headers: proxy_redirect, proxy_cookie_domain, _path and _flags.
#include <vector>

#include "base/strings.h"
#include "upstream/proxy_protocol.h"

namespace moongate::upstream {

namespace {

struct Attribute {
    std::string_view name;
    std::optional<std::string_view> value;
    bool removed = false;
};

std::vector<Attribute> parse_cookie(std::string_view text) {
    std::vector<Attribute> attributes;
    for (;;) {
        const std::size_t end = std::min(text.find(';'), text.size());
        const std::string_view item = trim(text.substr(0, end));
        const std::size_t equals = item.find('=');
        if (equals == std::string_view::npos) {
            attributes.push_back({item, std::nullopt});
        } else {
            attributes.push_back({trim(item.substr(0, equals)), trim(item.substr(equals + 1))});
        }
        if (end == text.size()) {
            return attributes;
        }
        text.remove_prefix(end + 1);
    }
}

enum CookieFlag : std::uint32_t {
    kSecure = 1,
    kNoSecure = 2,
    kHttpOnly = 4,
    kNoHttpOnly = 8,
    kStrict = 16,
    kLax = 32,
    kNone = 64,
    kNoSameSite = 128,
};

std::uint32_t flag_of(std::string_view text) {
    constexpr std::pair<std::string_view, std::uint32_t> kFlags[] = {
        {"secure", kSecure},         {"nosecure", kNoSecure},      {"httponly", kHttpOnly},
        {"nohttponly", kNoHttpOnly}, {"samesite=strict", kStrict}, {"samesite=lax", kLax},
        {"samesite=none", kNone},    {"nosamesite", kNoSameSite},
    };
    for (const auto& [name, flag] : kFlags) {
        if (equals_ignore_case(name, text)) {
            return flag;
        }
    }
    return 0;
}

void edit_flag(std::vector<Attribute>& attributes, std::string_view name,
               std::optional<std::string_view> value, bool add, bool remove) {
    bool found = false;
    for (std::size_t i = 1; i < attributes.size(); ++i) {
        Attribute& attribute = attributes[i];
        if (!equals_ignore_case(attribute.name, name)) {
            continue;
        }
        if (add) {
            if (value && (!attribute.value || !equals_ignore_case(*attribute.value, *value))) {
                attribute.name = name;
                attribute.value = value;
            }
            found = true;
        } else if (remove) {
            attribute.removed = true;
        }
    }
    if (add && !found) {
        attributes.push_back({name, value});
    }
}

bool edit_flags(engine::Request& request, const std::vector<CookieFlagsRule>& rules,
                std::vector<Attribute>& attributes) {
    for (const CookieFlagsRule& rule : rules) {
        const bool fits =
            rule.regex ? rule.regex.match(request, attributes.front().name) > 0
                       : equals_ignore_case(rule.name.evaluate(request), attributes.front().name);
        if (!fits) {
            continue;
        }
        std::uint32_t flags = 0;
        for (const conf::CompiledString& flag : rule.flags) {
            flags |= flag_of(flag.evaluate(request));
        }
        if (flags == 0) {
            return false;
        }
        edit_flag(attributes, "Secure", std::nullopt, (flags & kSecure) != 0,
                  (flags & kNoSecure) != 0);
        edit_flag(attributes, "HttpOnly", std::nullopt, (flags & kHttpOnly) != 0,
                  (flags & kNoHttpOnly) != 0);
        const std::string_view site = (flags & kStrict) != 0 ? "Strict"
                                      : (flags & kLax) != 0  ? "Lax"
                                                             : "None";
        edit_flag(attributes, "SameSite", site, (flags & (kStrict | kLax | kNone)) != 0,
                  (flags & kNoSameSite) != 0);
        return true;
    }
    return false;
}

}  // namespace

std::optional<std::string_view> apply_rules(engine::Request& request,
                                            const std::vector<RewriteRule>& rules,
                                            std::string_view value, std::size_t prefix,
                                            bool domain) {
    const std::string_view rest = value.substr(prefix);
    for (const RewriteRule& rule : rules) {
        std::size_t from = prefix;
        std::size_t matched = 0;
        if (rule.regex) {
            if (rule.regex.match(request, rest) <= 0) {
                continue;
            }
            matched = rest.size();
        } else {
            const std::string_view pattern = rule.pattern.evaluate(request);
            if (domain) {
                from += rest.starts_with('.') ? 1 : 0;
                if (!equals_ignore_case(value.substr(from), pattern)) {
                    continue;
                }
            } else if (!rest.starts_with(pattern)) {
                continue;
            }
            matched = pattern.size();
        }
        return request.arena().concat(value.substr(0, from), rule.replacement.evaluate(request),
                                      value.substr(from + matched));
    }
    return std::nullopt;
}

std::optional<std::string_view> rewrite_set_cookie(engine::Request& request,
                                                   const ProxySettings& settings,
                                                   std::string_view value) {
    if (settings.cookie_domains.empty() && settings.cookie_paths.empty() &&
        settings.cookie_flags.empty()) {
        return std::nullopt;
    }
    std::vector<Attribute> attributes = parse_cookie(value);
    if (!attributes.front().value) {
        return std::nullopt;
    }
    bool changed = false;
    for (std::size_t i = 1; i < attributes.size(); ++i) {
        Attribute& attribute = attributes[i];
        if (!attribute.value) {
            continue;
        }
        std::optional<std::string_view> instead;
        if (equals_ignore_case(attribute.name, "domain")) {
            instead = apply_rules(request, settings.cookie_domains, *attribute.value, 0, true);
        } else if (equals_ignore_case(attribute.name, "path")) {
            instead = apply_rules(request, settings.cookie_paths, *attribute.value, 0, false);
        }
        if (instead) {
            attribute.value = instead;
            changed = true;
        }
    }
    changed = edit_flags(request, settings.cookie_flags, attributes) || changed;
    if (!changed) {
        return std::nullopt;
    }
    std::string text;
    for (const Attribute& attribute : attributes) {
        if (attribute.removed) {
            continue;
        }
        if (!text.empty()) {
            text += "; ";
        }
        text += attribute.name;
        if (attribute.value) {
            text += '=';
            text += *attribute.value;
        }
    }
    return request.arena().copy(text);
}

}  // namespace moongate::upstream
