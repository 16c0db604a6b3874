// Contexts, arity, values, inheritance and positions, with the small module of test_module.h.
// Messages of Reference are those of `nginx -t` 1.22.1 for directives of the same types.
#include "conf/compiler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "conf/test_module.h"

namespace moongate::conf {
namespace {

using namespace std::chrono_literals;
using testing::CoreSettings;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::ProxySettings;
using ::testing::SizeIs;
using testing::Trial;

TEST(Compiler, DefaultsRunThroughTheSameParser) {
    Trial run;
    ASSERT_EQ(run.compile(""), "");
    const auto& proxy = run.root->get<ProxySettings>();
    EXPECT_TRUE(proxy.buffering);
    EXPECT_EQ(proxy.header_buffer, 4096U);
    EXPECT_EQ(proxy.body_size, 1 << 30);
    EXPECT_EQ(proxy.retries, 3);
    EXPECT_EQ(proxy.timeout, 60s);
    EXPECT_EQ(proxy.expires, 31536000s);
    EXPECT_EQ(proxy.protocol, testing::Protocol::Http11);
    EXPECT_EQ(proxy.next, 3U);
    EXPECT_EQ(proxy.buffers, (Buffers{8, 4096}));
    EXPECT_EQ(proxy.rate, std::nullopt);
    EXPECT_FALSE(proxy.title);
    EXPECT_EQ(proxy.derived, 32768U);
    EXPECT_EQ(run.root->get<CoreSettings>().root, "/srv/html");
    EXPECT_EQ(run.root->get<CoreSettings>().type, "text/plain");
}

TEST(Compiler, EachTypeStoresItsValue) {
    Trial run;
    ASSERT_EQ(
        run.compile(
            "http { buffering OFF; header_buffer 8K; body_size 2G; retries 7; timeout 1500ms;\n"
            "expires '1M 2d'; protocol 1.0; next OFF; buffers 16 8k; rate 10k; title 'a$x';\n"
            "header A 1; header B 2; root /abs; default_type x; server { set $x 1; } }"),
        "");
    const auto& proxy = run.built().http->get<ProxySettings>();
    EXPECT_FALSE(proxy.buffering);
    EXPECT_EQ(proxy.header_buffer, 8192U);
    EXPECT_EQ(proxy.body_size, std::int64_t{2} << 30);
    EXPECT_EQ(proxy.retries, 7);
    EXPECT_EQ(proxy.timeout, 1500ms);
    EXPECT_EQ(proxy.expires, 2764800s);
    EXPECT_EQ(proxy.protocol, testing::Protocol::Http10);
    EXPECT_EQ(proxy.next, 4U);
    EXPECT_EQ(proxy.buffers, (Buffers{16, 8192}));
    EXPECT_EQ(proxy.rate, 10240U);
    EXPECT_EQ(proxy.title.source(), "a$x");
    EXPECT_THAT(proxy.headers, ElementsAre(KeyValue("A", "1"), KeyValue("B", "2")));
    EXPECT_EQ(run.built().http->get<CoreSettings>().root, "/abs");
    EXPECT_EQ(proxy.derived, 131072U);
}

TEST(Compiler, ChildrenInheritWhateverTheOrder) {
    Trial run;
    ASSERT_EQ(run.compile(
                  "http { server { location / { retries 9; } timeout 5; } retries 5; timeout 4; }"),
              "");
    const auto& server = *run.built().servers.at(0);
    EXPECT_EQ(server.settings->get<ProxySettings>().retries, 5);
    EXPECT_EQ(server.settings->get<ProxySettings>().timeout, 5s);
    EXPECT_EQ(server.locations.at(0).second->get<ProxySettings>().retries, 9);
    EXPECT_EQ(server.locations.at(0).second->get<ProxySettings>().timeout, 5s);
}

TEST(Compiler, LevelsShareWhatTheyDoNotChange) {
    Trial run;
    ASSERT_EQ(run.compile("http { retries 5; server { } server { retries 6; location / { } } }"),
              "");
    const auto& built = run.built();
    EXPECT_EQ(built.servers[0]->settings.get(), built.http.get());
    EXPECT_NE(built.servers[1]->settings.get(), built.http.get());
    EXPECT_EQ(&built.servers[1]->settings->get<CoreSettings>(), &built.http->get<CoreSettings>());
    EXPECT_NE(&built.servers[1]->settings->get<ProxySettings>(), &built.http->get<ProxySettings>());
    EXPECT_EQ(built.servers[1]->locations[0].second.get(), built.servers[1]->settings.get());
    EXPECT_EQ(&built.http->get<CoreSettings>(), &run.root->get<CoreSettings>());
}

TEST(Compiler, ListsReplaceWhatWasInherited) {
    Trial run;
    ASSERT_EQ(run.compile("http { name a; name b; next timeout; header A 1; allow x; deny y;\n"
                          "server { name c; next error; deny z; location / { header B 2; } } }"),
              "");
    const auto& server = *run.built().servers.at(0);
    EXPECT_THAT(run.built().http->get<CoreSettings>().names, ElementsAre("a", "b"));
    EXPECT_THAT(server.settings->get<CoreSettings>().names, ElementsAre("c"));
    EXPECT_EQ(server.settings->get<ProxySettings>().next, 1U);
    EXPECT_THAT(server.settings->get<ProxySettings>().headers, ElementsAre(KeyValue("A", "1")));
    EXPECT_THAT(server.locations[0].second->get<ProxySettings>().headers,
                ElementsAre(KeyValue("B", "2")));
    // Both names of a group clear together, once.
    EXPECT_THAT(run.built().http->get<CoreSettings>().rules, ElementsAre("allow x", "deny y"));
    EXPECT_THAT(server.settings->get<CoreSettings>().rules, ElementsAre("deny z"));
}

TEST(Compiler, BlocksKeepTheirPlaceInPassOne) {
    Trial run;
    ASSERT_EQ(run.compile("http { server { mark a; location /x { } mark b; }\n"
                          "upstream u { server p1; server p2; } }"),
              "");
    EXPECT_THAT(run.built().servers[0]->order, ElementsAre("mark a", "location /x", "mark b"));
    EXPECT_THAT(run.built().events, ElementsAre("upstream u", "peer p1", "peer p2"));
}

TEST(Compiler, FreeFormAndLuaBlocksReachTheirDirectives) {
    Trial run;
    ASSERT_EQ(run.compile("http { types { text/html html htm; } server { location / {\n"
                          "content_by_lua_block { t = {} } } } }"),
              "");
    EXPECT_EQ(run.built().http->get<CoreSettings>().types.at("htm"), "text/html");
    EXPECT_EQ(run.built().servers[0]->locations[0].second->get<CoreSettings>().lua, " t = {} ");
}

struct Broken {
    std::string text;
    std::string message;
};

TEST(Compiler, Reference) {
    const Broken cases[] = {
        {"nosuch on;", "unknown directive \"nosuch\" in /etc/test.conf:1"},
        {"server {}", "\"server\" directive is not allowed here in /etc/test.conf:1"},
        {"http;", "directive \"http\" has no opening \"{\" in /etc/test.conf:1"},
        {"http {\nretries 1 {\n}\n}",
         "directive \"retries\" is not terminated by \";\" in /etc/test.conf:2"},
        {"http x {\n}", "invalid number of arguments in \"http\" directive in /etc/test.conf:1"},
        {"http {\nretries 1 2;\n}",
         "invalid number of arguments in \"retries\" directive in /etc/test.conf:2"},
        {"http {\nbuffers;\n}",
         "invalid number of arguments in \"buffers\" directive in /etc/test.conf:2"},
        {"http {\nbuffering maybe;\n}",
         "invalid value \"maybe\" in \"buffering\" directive, it must be \"on\" or \"off\" in "
         "/etc/test.conf:2"},
        {"http {\nbuffering on;\nbuffering on;\n}",
         "\"buffering\" directive is duplicate in /etc/test.conf:3"},
        {"http {\nheader_buffer x;\n}",
         "\"header_buffer\" directive invalid value in /etc/test.conf:2"},
        {"http {\nretries x;\n}", "\"retries\" directive invalid number in /etc/test.conf:2"},
        {"http {\ntimeout 5x;\n}", "\"timeout\" directive invalid value in /etc/test.conf:2"},
        {"http {\nbuffers 0 4k;\n}", "\"buffers\" directive invalid value in /etc/test.conf:2"},
        {"http {\nprotocol 3;\n}", "invalid value \"3\" in /etc/test.conf:2"},
        {"http {\nnext error nosuch;\n}", "invalid value \"nosuch\" in /etc/test.conf:2"},
        {"http {\ntypes {\n a {\n}\n}\n}", "unexpected \"{\" in /etc/test.conf:3"},
        {"http {\nserver { location / { content_by_lua_block;\n }}}",
         "directive \"content_by_lua_block\" has no opening \"{\" in /etc/test.conf:2"},
        {"http {\nserver { location / { set $a \"${a\"; }}}",
         "the closing bracket in \"a\" variable is missing in /etc/test.conf:2"},
        {"http {\nserver { location / { set $a \"a$\"; }}}",
         "invalid variable name in /etc/test.conf:2"},
        {"http {\nserver { location / { set $a \"$nosuch1\"; }}}", "unknown \"nosuch1\" variable"},
        {"http {\nserver { set $ x; }}", "invalid variable name \"$\" in /etc/test.conf:2"},
        {"http {\nserver { match \"a(\"; }}",
         "pcre2_compile() failed: missing closing parenthesis in \"a(\" in /etc/test.conf:2"},
        {"http {\nserver { match \"a)b\"; }}",
         "pcre2_compile() failed: unmatched closing parenthesis in \"a)b\" at \")b\" in "
         "/etc/test.conf:2"},
    };
    for (const auto& [text, message] : cases) {
        EXPECT_EQ(Trial().compile(text), message) << text;
    }
}

TEST(Compiler, BoundsAreNamed) {
    EXPECT_EQ(Trial().compile("http { header_buffer 1; }"),
              "value must be between 1024 and 1048576 in /etc/test.conf:1");
    // What the member cannot hold is refused, not cut.
    EXPECT_EQ(Trial().compile("http { retries 65536; }"),
              "value must be between 0 and 65535 in /etc/test.conf:1");
    EXPECT_EQ(Trial().compile("http { retries 65535; }"), "");
}

TEST(Compiler, ConflictsAreReportedAtTheBlocksEnd) {
    EXPECT_EQ(
        Trial().compile("http {\nserver {\nbuffers 1 1k;\n}\n}"),
        "\"header_buffer\" must be less than the size of all \"buffers\" in /etc/test.conf:4");
}

TEST(Compiler, EndChecksKeepTheirStatementsPlace) {
    EXPECT_EQ(Trial().compile("http { server {\nlocation / { pass\n x; } } }"),
              "host not found in upstream \"x\" in /etc/test.conf:3");
}

TEST(Compiler, WarningsCarryThePosition) {
    Trial run;
    ASSERT_EQ(run.compile("http {\nnext error error;\n}"), "");
    EXPECT_THAT(run.warnings, ElementsAre("duplicate value \"error\" in /etc/test.conf:2"));
}

TEST(Compiler, ALiveChangeCompilesBelowAFrozenLevel) {
    Trial run;
    ASSERT_EQ(run.compile("http { retries 5; server { } }"), "");
    const SettingsRef http = run.built().http;
    auto tree = parse_text("server { timeout 1; }", "live", {});
    ASSERT_TRUE(tree.has_value());
    VariableTable variables = run.variables;
    Compiler change(run.registry, variables, {.prefix = "/", .conf_prefix = "/"});
    ASSERT_TRUE(change.compile_below(tree->statements, kHttp, http).has_value());
    const auto& built = change.extension<testing::Built>();
    ASSERT_THAT(built.servers, SizeIs(1));
    EXPECT_EQ(built.servers[0]->settings->get<ProxySettings>().retries, 5);
    EXPECT_EQ(built.servers[0]->settings->get<ProxySettings>().timeout, 1s);
    EXPECT_EQ(http->get<ProxySettings>().timeout, 60s);

    auto wrong = parse_text("server {\n nosuch; }", "live", {});
    Compiler refused(run.registry, variables, {});
    auto done = refused.compile_below(wrong->statements, kHttp, http);
    ASSERT_FALSE(done.has_value());
    EXPECT_EQ(done.error().message, "unknown directive \"nosuch\" in live:2");
}

TEST(Level, AnEditAfterFreezingLeavesTheFrozenSetAlone) {
    const Registry registry(testing::kModules);
    Level root(registry);
    root.edit<ProxySettings>().retries = 1;
    const SettingsRef first = root.freeze();
    EXPECT_EQ(root.freeze().get(), first.get());
    root.edit<ProxySettings>().retries = 2;
    EXPECT_EQ(root.get<ProxySettings>().retries, 2);
    EXPECT_EQ(first->get<ProxySettings>().retries, 1);
    EXPECT_EQ(root.freeze()->get<ProxySettings>().retries, 2);
}

TEST(Level, ASetOutlivesItsLevelsAndParents) {
    SettingsRef kept;
    {
        const Registry registry(testing::kModules);
        Level root(registry);
        root.edit<CoreSettings>().names = {"a long enough name to live on the heap"};
        Level child(root.freeze());
        child.edit<ProxySettings>().retries = 7;
        kept = child.freeze();
    }
    EXPECT_EQ(kept->get<ProxySettings>().retries, 7);
    EXPECT_EQ(kept->get<CoreSettings>().names.at(0), "a long enough name to live on the heap");
}

}  // namespace
}  // namespace moongate::conf
