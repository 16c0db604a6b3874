#include "engine/location.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>

#include "engine/server.h"
#include "engine/testing.h"

namespace moongate::engine {
namespace {

using testing::compile_server;
using testing::Compiled;
using testing::Source;

const Server& only_server(const Compiled& compiled) {
    return compiled.snapshot->addresses().front()->hosts.default_server();
}

// The name of the location that `uri` gets, "-" for none, "NAME!" for a redirect to it.
std::string found(const Compiled& compiled, std::string_view uri) {
    if (compiled.snapshot == nullptr) {
        return compiled.error;
    }
    Source source(compiled.snapshot->variables());
    bool redirect = false;
    const Location* location = only_server(compiled).locations.find(uri, source, redirect);
    return location == nullptr ? "-" : location->name + (redirect ? "!" : "");
}

TEST(LocationTree, PrefersExactThenLongestPrefix) {
    const auto compiled = compile_server(
        "location / {} location /a {} location /a/b/ {} location = /a {} location /ab {}");
    EXPECT_EQ(found(compiled, "/"), "/");
    EXPECT_EQ(found(compiled, "/x"), "/");
    EXPECT_EQ(found(compiled, "/a"), "/a");
    EXPECT_EQ(found(compiled, "/ax"), "/a");
    EXPECT_EQ(found(compiled, "/abc"), "/ab");
    EXPECT_EQ(found(compiled, "/a/b"), "/a");
    EXPECT_EQ(found(compiled, "/a/b/c"), "/a/b/");
    EXPECT_EQ(found(compiled, "/A"), "/");
    EXPECT_EQ(found(compile_server("location /a {}"), "/b"), "-");
}

TEST(LocationTree, ExactWinsOverPrefixOfTheSameName) {
    const auto compiled = compile_server("location /a { } location = /a { internal; }");
    Source source(compiled.snapshot->variables());
    bool redirect = false;
    const auto& tree = only_server(compiled).locations;
    EXPECT_EQ(tree.find("/a", source, redirect)->kind, LocationKind::Exact);
    EXPECT_TRUE(tree.find("/a", source, redirect)->internal);
    EXPECT_EQ(tree.find("/ab", source, redirect)->kind, LocationKind::Prefix);
}

TEST(LocationTree, FirstRegexWinsOverPrefixUnlessForbidden) {
    const auto compiled = compile_server(
        "location / {} location ^~ /static/ {} location ~ \\.php$ {} location ~* ^/x {} "
        "location ~ p {} location = /e.php {}");
    EXPECT_EQ(found(compiled, "/a.php"), "\\.php$");
    EXPECT_EQ(found(compiled, "/static/a.php"), "/static/");
    EXPECT_EQ(found(compiled, "/X.php"), "\\.php$");
    EXPECT_EQ(found(compiled, "/Xp"), "^/x");
    EXPECT_EQ(found(compiled, "/ap"), "p");
    EXPECT_EQ(found(compiled, "/e.php"), "/e.php");
    EXPECT_EQ(found(compiled, "/a"), "/");
}

TEST(LocationTree, SearchesNestedBeforeEnclosingRegexes) {
    const auto compiled = compile_server(
        "location /a/ { location ~ x$ {} location /a/b/ {} location ^~ /a/q/ { } }"
        "location ~ y$ { location ~ zy$ {} }"
        "location ^~ /n/ { location /n/m/ { } location ~ k$ {} }");
    EXPECT_EQ(found(compiled, "/a/1x"), "x$");
    EXPECT_EQ(found(compiled, "/a/b/x"), "x$");
    EXPECT_EQ(found(compiled, "/a/q/x"), "/a/q/");
    // ^~ holds for the level that it stands at: the server's regexes are asked all the same.
    EXPECT_EQ(found(compiled, "/a/q/y"), "y$");
    EXPECT_EQ(found(compiled, "/a/y"), "y$");
    EXPECT_EQ(found(compiled, "/zy"), "zy$");
    EXPECT_EQ(found(compiled, "/n/y"), "/n/");
    EXPECT_EQ(found(compiled, "/n/m/y"), "/n/m/");
    EXPECT_EQ(found(compiled, "/n/m/k"), "k$");
}

TEST(LocationTree, KeepsCapturesOfTheRegex) {
    const auto compiled = compile_server("location ~ ^/(\\w+)/(?<rest>.*)$ {}");
    ASSERT_NE(compiled.snapshot, nullptr) << compiled.error;
    Source source(compiled.snapshot->variables());
    bool redirect = false;
    ASSERT_NE(only_server(compiled).locations.find("/one/two", source, redirect), nullptr);
    EXPECT_EQ(source.capture(1), "one");
    EXPECT_EQ(source.capture(2), "two");
}

TEST(LocationTree, RedirectsToSlashOnlyWhereAsked) {
    Location with;
    with.name = "/dir/";
    with.auto_redirect = true;
    Location without;
    without.name = "/plain/";
    Location root;
    root.name = "/";
    LocationTree tree;
    tree.add_prefix("/dir/", with);
    tree.add_prefix("/plain/", without);
    tree.add_prefix("/", root);
    const conf::VariableTable table;
    Source source(table);
    bool redirect = false;
    EXPECT_EQ(tree.find("/dir", source, redirect), &with);
    EXPECT_TRUE(redirect);
    EXPECT_EQ(tree.find("/dir/", source, redirect), &with);
    EXPECT_FALSE(redirect);
    EXPECT_EQ(tree.find("/di", source, redirect), &root);
    EXPECT_FALSE(redirect);
    EXPECT_EQ(tree.find("/plain", source, redirect), &root);
    EXPECT_FALSE(redirect);
    // A location of the very name is in the way of the redirect.
    Location exact;
    tree.add_exact("/dir", exact);
    EXPECT_EQ(tree.find("/dir", source, redirect), &exact);
    EXPECT_FALSE(redirect);
}

TEST(LocationTree, UndecidableRegexIsAnError) {
    const auto compiled = compile_server("location / {} location ~ ^/(x+x+)+[yz]$ {}");
    ASSERT_NE(compiled.snapshot, nullptr) << compiled.error;
    Source source(compiled.snapshot->variables());
    bool redirect = false;
    bool failed = false;
    const std::string uri = "/" + std::string(60, 'x');
    EXPECT_EQ(only_server(compiled).locations.find(uri, source, redirect, &failed), nullptr);
    EXPECT_TRUE(failed);
    EXPECT_NE(only_server(compiled).locations.find("/a", source, redirect, &failed), nullptr);
    EXPECT_FALSE(failed);
}

// The rules read from the documentation, without any tree.
const Location* reference(const std::vector<std::unique_ptr<Location>>& locations,
                          std::string_view uri, bool& redirect) {
    const Location* best = nullptr;
    const Location* slash = nullptr;
    bool whole = false;
    for (const auto& location : locations) {
        if (location->kind == LocationKind::Exact && location->name == uri) {
            return location.get();
        }
        if (location->name == std::string(uri) + "/" && location->auto_redirect) {
            // An exact one is what the redirect names, whichever of the two asks for it.
            slash =
                slash == nullptr || location->kind == LocationKind::Exact ? location.get() : slash;
        }
        if (location->kind == LocationKind::Prefix && uri.starts_with(location->name)) {
            whole = whole || location->name == uri;
            if (best == nullptr || best->name.size() < location->name.size()) {
                best = location.get();
            }
        }
    }
    redirect = !whole && slash != nullptr;
    return redirect ? slash : best;
}

TEST(LocationTree, AgreesWithASlowModelOnRandomSets) {
    std::mt19937 random(1);
    const auto text = [&random](std::size_t most) {
        std::string made = "/";
        for (std::size_t n = random() % most; n > 0; --n) {
            made += "ab/"[random() % 3];
        }
        return made;
    };
    const conf::VariableTable table;
    for (int round = 0; round < 300; ++round) {
        std::vector<std::unique_ptr<Location>> locations;
        LocationTree tree;
        for (std::size_t n = random() % 20; n > 0; --n) {
            auto location = std::make_unique<Location>();
            location->name = text(8);
            const bool exact = random() % 3 == 0;
            location->kind = exact ? LocationKind::Exact : LocationKind::Prefix;
            location->auto_redirect = !exact && location->name.ends_with('/') && random() % 2 == 0;
            const bool added = exact ? tree.add_exact(location->name, *location)
                                     : tree.add_prefix(location->name, *location);
            const bool known = std::ranges::any_of(locations, [&](const auto& other) {
                return other->name == location->name && other->kind == location->kind;
            });
            ASSERT_EQ(added, !known);
            if (added) {
                locations.push_back(std::move(location));
            }
        }
        for (int lookup = 0; lookup < 100; ++lookup) {
            const std::string uri = text(10);
            Source source(table);
            bool redirect = false;
            bool expected_redirect = false;
            const Location* expected = reference(locations, uri, expected_redirect);
            const Location* actual = tree.find(uri, source, redirect);
            ASSERT_EQ(redirect, expected_redirect) << uri;
            if (redirect) {
                ASSERT_EQ(actual->name, expected->name) << uri;
            } else {
                ASSERT_EQ(actual, expected) << uri;
            }
        }
    }
}

TEST(HandlerTable, KeepsPhasesApartAndOrder) {
    HandlerTable table;
    EXPECT_TRUE(table.of(Phase::Content).empty());
    table.add(Phase::Log, {.name = "log"});
    table.add(Phase::Rewrite, {.name = "first"});
    table.add(Phase::Rewrite, {.name = "second"});
    table.add(Phase::Content, {.name = "content"});
    ASSERT_EQ(table.of(Phase::Rewrite).size(), 2U);
    EXPECT_EQ(table.of(Phase::Rewrite)[0].name, "first");
    EXPECT_EQ(table.of(Phase::Rewrite)[1].name, "second");
    ASSERT_EQ(table.of(Phase::Content).size(), 1U);
    EXPECT_EQ(table.of(Phase::Content)[0].name, "content");
    ASSERT_EQ(table.of(Phase::Log).size(), 1U);
    EXPECT_TRUE(table.of(Phase::Access).empty());
}

}  // namespace
}  // namespace moongate::engine
