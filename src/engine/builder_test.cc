#include "engine/builder.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include "engine/core_settings.h"
#include "engine/main_settings.h"
#include "engine/testing.h"

namespace moongate::engine {
namespace {

using testing::compile;
using testing::compile_http;
using testing::compile_server;

std::vector<std::string> socket_names(const testing::Compiled& compiled) {
    std::vector<std::string> names;
    if (compiled.snapshot == nullptr) {
        return {compiled.error};
    }
    for (const ListenSocket& socket : compiled.snapshot->sockets()) {
        std::string name = socket.bound->text;
        for (const ListenAddress* other : socket.others) {
            name += "+" + other->text;
        }
        names.push_back(name);
    }
    return names;
}
using Names = std::vector<std::string>;

TEST(Listen, FormsOfAddresses) {
    EXPECT_EQ(socket_names(compile_http("server { listen 8080; listen *:81; listen [::1]:82; "
                                        "listen 127.0.0.2; listen unix:/tmp/x.sock; "
                                        "listen 127.0.0.1:9000-9002; }")),
              (Names{"0.0.0.0:8080", "0.0.0.0:81", "[::1]:82", "127.0.0.2:80", "unix:/tmp/x.sock",
                     "127.0.0.1:9000", "127.0.0.1:9001", "127.0.0.1:9002"}));
    EXPECT_EQ(socket_names(compile_http("server { }")),
              (Names{getuid() == 0 ? "0.0.0.0:80" : "0.0.0.0:8000"}));
}

TEST(Listen, WildcardSocketServesSpecificAddresses) {
    const auto compiled = compile_http(
        "server { listen 127.0.0.1:80; server_name one; } server { listen 80; server_name any; }"
        "server { listen 127.0.0.2:80 bind; } server { listen [::1]:80; }");
    EXPECT_EQ(socket_names(compiled),
              (Names{"0.0.0.0:80+127.0.0.1:80", "127.0.0.2:80", "[::1]:80"}));
    const ListenSocket* socket = compiled.snapshot->socket("0.0.0.0:80");
    ASSERT_NE(socket, nullptr);
    http::SocketAddress local;
    auto& in = local.v4;
    in.sin_family = AF_INET;
    in.sin_port = htons(80);
    inet_pton(AF_INET, "127.0.0.1", &in.sin_addr);
    EXPECT_EQ(socket->choose(local).hosts.default_server().first_name, "one");
    inet_pton(AF_INET, "127.0.0.9", &in.sin_addr);
    EXPECT_EQ(socket->choose(local).hosts.default_server().first_name, "any");
}

TEST(Listen, Options) {
    const auto compiled = compile_http(
        "server { listen 80 backlog=7 rcvbuf=8k sndbuf=1m fastopen=3 deferred reuseport "
        "so_keepalive=30m::10 proxy_protocol; listen [::]:80 ipv6only=off; }");
    ASSERT_NE(compiled.snapshot, nullptr) << compiled.error;
    const ListenOptions& options = compiled.snapshot->addresses()[0]->options;
    EXPECT_EQ(options.backlog, 7);
    EXPECT_EQ(options.rcvbuf, 8192);
    EXPECT_EQ(options.sndbuf, 1024 * 1024);
    EXPECT_EQ(options.fastopen, 3);
    EXPECT_TRUE(options.deferred && options.reuseport && options.bind && options.proxy_protocol);
    EXPECT_EQ(options.so_keepalive, 1);
    EXPECT_EQ(options.keepalive_idle_s, 1800);
    EXPECT_EQ(options.keepalive_interval_s, 0);
    EXPECT_EQ(options.keepalive_count, 10);
    EXPECT_FALSE(compiled.snapshot->addresses()[1]->options.ipv6only);
}

struct Refusal {
    const char* text;
    const char* message;
};

TEST(Listen, RefusesInNginxsWords) {
    const Refusal refusals[] = {
        {"listen 80 x;", "invalid parameter \"x\""},
        {"listen 0;", "invalid port in \"0\" of the \"listen\" directive"},
        {"listen 127.0.0.1:99999;",
         "invalid port in \"127.0.0.1:99999\" of the \"listen\" directive"},
        {"listen [::1;", "invalid host in \"[::1\" of the \"listen\" directive"},
        {"listen a/b;", "invalid host in \"a/b\" of the \"listen\" directive"},
        {"listen :80;", "no host in \":80\" of the \"listen\" directive"},
        {"listen no.such.host.invalid:80;",
         "host not found in \"no.such.host.invalid:80\" of the \"listen\" directive"},
        {"listen 82-81;", "invalid port range in \"82-81\" of the \"listen\" directive"},
        {"listen unix:;",
         "no path in the unix domain socket in \"unix:\" of the \"listen\" "
         "directive"},
        {"listen 80; listen *:80;", "a duplicate listen 0.0.0.0:80"},
        {"listen 80 backlog=0;", "invalid backlog \"backlog=0\""},
        {"listen 80 rcvbuf=x;", "invalid rcvbuf \"rcvbuf=x\""},
        {"listen 80 so_keepalive=::;", "invalid so_keepalive value: \"::\""},
        {"listen 80 ipv6only=odd;", "invalid ipv6only flags \"odd\""},
        {"listen 80 ssl;", "the \"ssl\" parameter requires ngx_http_ssl_module"},
        {"listen 80 quic;", "the \"quic\" parameter requires ngx_http_v3_module"},
    };
    for (const Refusal& refusal : refusals) {
        const auto compiled = compile_http(fmt::format("server {{ {} }}", refusal.text));
        EXPECT_EQ(compiled.error, std::string(refusal.message) + " in test.conf:1");
    }
    EXPECT_EQ(compile_http("server { listen 80 default_server; } "
                           "server { listen 80 default_server; }")
                  .error,
              "a duplicate default server for 0.0.0.0:80 in test.conf:1");
    EXPECT_EQ(compile_http("server { listen 80 backlog=1; } server { listen 80 backlog=1; }").error,
              "duplicate listen options for 0.0.0.0:80 in test.conf:1");
}

TEST(Location, RefusesInNginxsWords) {
    const Refusal refusals[] = {
        {"location /a { location /b {} }", "location \"/b\" is outside location \"/a\""},
        {"location = /a { location /a/b {} }",
         "location \"/a/b\" cannot be inside the exact location \"/a\""},
        {"location @a { location /a/b {} }",
         "location \"/a/b\" cannot be inside the named location \"@a\""},
        {"location /a { location @b {} }", "named location \"@b\" can be on the server level only"},
        {"location /a {} location /a {}", "duplicate location \"/a\""},
        {"location = /a {} location =/a {}", "duplicate location \"/a\""},
        {"location x /a {}", "invalid location modifier \"x\""},
        {"location / { limit_except FOO { } }", "invalid method \"FOO\""},
        {"location / { root a; alias b; }",
         "\"alias\" directive is duplicate, \"root\" directive was specified earlier"},
        {"location / { root a; root b; }", "\"root\" directive is duplicate"},
        {"location @x { alias /b; }",
         "the \"alias\" directive cannot be used inside the named location"},
        {"root $document_root/x;",
         "the $document_root variable cannot be used in the \"root\" directive"},
        {"error_page 200 /x;", "value \"200\" must be between 300 and 599"},
        {"error_page 499 /x;", "invalid value \"499\""},
        {"error_page =200 /x;", "invalid value \"=200\""},
        {"keepalive_timeout x;", "\"keepalive_timeout\" directive invalid value"},
        {"limit_rate x;", "\"limit_rate\" directive invalid value"},
        {"keepalive_disable none msie6 safari;",
         "invalid number of arguments in \"keepalive_disable\" directive"},
        {"connection_pool_size 100;", "the pool size must be no less than 112"},
        {"resolver 127.0.0.1 valid=x;", "invalid parameter: valid=x"},
        {"resolver ipv6=off;", "no name servers defined"},
        {"open_file_cache inactive=5s;", "\"open_file_cache\" must have the \"max\" parameter"},
        {"disable_symlinks off from=/x;", "\"from=\" cannot be used with \"off\" parameter"},
        {"error_log stderr loud;", "invalid log level \"loud\""},
        {"client_body_temp_path x 0;", "\"client_body_temp_path\" directive invalid value"},
    };
    for (const Refusal& refusal : refusals) {
        EXPECT_EQ(compile_server(refusal.text).error,
                  std::string(refusal.message) + " in test.conf:1");
    }
    EXPECT_EQ(compile_server("location ~ ( {}").error.substr(0, 24), "pcre2_compile() failed: ");
}

const CoreLocationSettings& core_of(const testing::Compiled& compiled, std::string_view name) {
    const Server& server = compiled.snapshot->addresses().front()->hosts.default_server();
    for (const auto& location : server.owned) {
        if (location->name == name) {
            return location->settings->get<CoreLocationSettings>();
        }
    }
    return server.outer->settings->get<CoreLocationSettings>();
}

TEST(CoreSettings, DefaultsAreNginxs) {
    const auto compiled = compile_server("");
    ASSERT_NE(compiled.snapshot, nullptr) << compiled.error;
    const auto& core = core_of(compiled, "");
    EXPECT_EQ(core.root.source(), "/prefix/html");
    EXPECT_EQ(core.default_type, "text/plain");
    EXPECT_EQ(core.types->at("html"), "text/html");
    EXPECT_EQ(core.client_max_body_size, 1024U * 1024U);
    EXPECT_EQ(core.client_body_buffer_size, 16384U);
    EXPECT_EQ(core.client_body_temp_path, "/prefix/client_body_temp");
    EXPECT_EQ(core.keepalive_timeout, Milliseconds(75000));
    EXPECT_EQ(core.keepalive_requests, 1000);
    ASSERT_NE(core.error_log, nullptr);
    EXPECT_EQ(core.error_log->level(), LogLevel::Error);
}

TEST(CoreSettings, InheritWhateverTheOrderInTheFile) {
    const auto compiled = compile_http(
        "types { a/b x; } server { listen 80; location /a { types { c/d Y; } error_page 404 /e; } "
        "location /b { } root /srv/; error_page 500 502 =200 /five?x; } default_type c/d;"
        "error_log stderr warn;");
    ASSERT_NE(compiled.snapshot, nullptr) << compiled.error;
    EXPECT_EQ(core_of(compiled, "/a").root.source(), "/srv");
    EXPECT_EQ(core_of(compiled, "/a").default_type, "c/d");
    EXPECT_EQ(core_of(compiled, "/a").types->count("x"), 0U);
    EXPECT_EQ(core_of(compiled, "/a").types->at("y"), "c/d");
    EXPECT_EQ(core_of(compiled, "/b").types->at("x"), "a/b");
    ASSERT_EQ(core_of(compiled, "/a").error_pages.size(), 1U);
    ASSERT_EQ(core_of(compiled, "/b").error_pages.size(), 2U);
    EXPECT_EQ(core_of(compiled, "/b").error_pages[1].status, 502);
    EXPECT_EQ(core_of(compiled, "/b").error_pages[1].answer, 200);
    EXPECT_EQ(core_of(compiled, "/b").error_log->level(), LogLevel::Warn);
}

TEST(CoreSettings, AliasKnowsWhatItReplaces) {
    const auto compiled = compile_server(
        "location /i/ { alias /data/; location /i/x { } location /i/r { root /r; } } "
        "location ~ ^/(.*)$ { alias /d/$1; }");
    ASSERT_NE(compiled.snapshot, nullptr) << compiled.error;
    EXPECT_EQ(core_of(compiled, "/i/").alias_prefix, 3U);
    EXPECT_EQ(core_of(compiled, "/i/").root.source(), "/data/");
    EXPECT_EQ(core_of(compiled, "^/(.*)$").alias_prefix, CoreLocationSettings::kWholeUri);
    const Server& server = compiled.snapshot->addresses().front()->hosts.default_server();
    const auto& nested = server.owned.front()->children;
    ASSERT_EQ(nested.size(), 2U);
    EXPECT_EQ(nested[0]->settings->get<CoreLocationSettings>().alias_prefix, 3U);
    EXPECT_EQ(nested[1]->settings->get<CoreLocationSettings>().alias_prefix, 0U);
}

TEST(LimitExcept, HoldsForAllOtherMethods) {
    const auto compiled = compile_server("location / { limit_except GET POST { } }");
    ASSERT_NE(compiled.snapshot, nullptr) << compiled.error;
    const Location& location =
        *compiled.snapshot->addresses().front()->hosts.default_server().owned.front();
    ASSERT_NE(location.limit_except_location, nullptr);
    EXPECT_EQ(location.limit_except & 0x2U, 0U);      // GET
    EXPECT_EQ(location.limit_except & 0x4U, 0U);      // HEAD goes with GET
    EXPECT_EQ(location.limit_except & 0x8U, 0U);      // POST
    EXPECT_EQ(location.limit_except & 0x10U, 0x10U);  // PUT
    EXPECT_EQ(location.limit_except & 0x1U, 0x1U);    // any unknown method
}

TEST(MainSettings, Parse) {
    const auto compiled = compile(
        "worker_processes 3; worker_cpu_affinity 0001 0110; worker_priority -5; env A; env B=c;"
        "worker_rlimit_nofile 1000; worker_shutdown_timeout 2s; pid /run/x.pid; daemon off;"
        "thread_pool p threads=2; error_log stderr notice; load_module "
        "modules/ngx_http_lua_module.so; load_module modules/other.so;"
        "events { worker_connections 77; multi_accept on; use epoll; }");
    ASSERT_NE(compiled.snapshot, nullptr) << compiled.error;
    const auto& main = compiled.snapshot->main().get<MainSettings>();
    EXPECT_EQ(main.worker_processes, 3);
    EXPECT_EQ(main.cpus_of_worker(0), CpuMask{0});
    EXPECT_EQ(main.cpus_of_worker(1), (CpuMask{1, 2}));
    EXPECT_EQ(main.cpus_of_worker(7), (CpuMask{1, 2}));
    EXPECT_EQ(main.priority, -5);
    EXPECT_EQ(main.environment, (Names{"A", "B=c"}));
    EXPECT_EQ(main.rlimit_nofile, 1000);
    EXPECT_EQ(main.shutdown_timeout, Milliseconds(2000));
    EXPECT_EQ(main.pid, "/run/x.pid");
    EXPECT_FALSE(main.daemon);
    ASSERT_EQ(main.thread_pools.size(), 1U);
    EXPECT_EQ(main.error_log->level(), LogLevel::Notice);
    const auto& events = compiled.snapshot->main().get<EventSettings>();
    EXPECT_EQ(events.worker_connections, 77);
    EXPECT_TRUE(events.multi_accept);
    ASSERT_EQ(compiled.warnings.size(), 3U);  // two load_module, and masks that are not as many
}

TEST(MainSettings, RefusesInNginxsWords) {
    const Refusal refusals[] = {
        {"worker_processes x;", "\"worker_processes\" directive invalid value in test.conf:1"},
        {"worker_processes 1; worker_processes 2;",
         "\"worker_processes\" directive is duplicate in test.conf:1"},
        {"worker_cpu_affinity 012;",
         "invalid character \"2\" in \"worker_cpu_affinity\" in test.conf:1"},
        {"thread_pool p max_queue=1;",
         "\"thread_pool\" must have \"threads\" parameter in test.conf:1"},
        {"events { use kqueue; }", "invalid event type \"kqueue\" in test.conf:1"},
        {"events { worker_connections x; }", "invalid number \"x\" in test.conf:1"},
        {"events {} events {}", "\"events\" directive is duplicate in test.conf:1"},
        {"events {} http {} http {}", "\"http\" directive is duplicate in test.conf:1"},
        {"events {} load_module x;",
         "\"load_module\" directive is specified too late in "
         "test.conf:1"},
        {"http {}", "no \"events\" section in configuration"},
    };
    for (const Refusal& refusal : refusals) {
        EXPECT_EQ(compile(refusal.text).error, refusal.message);
    }
}

TEST(SnapshotBuilder, EqualHandlersShareMemory) {
    static const Module module{.install = [](Location& location) {
        location.handlers.add(Phase::Access, {.name = "test"});
    }};
    std::vector<const Module*> modules = testing::core_modules();
    modules.push_back(&module);
    const auto compiled =
        compile("events {} http { server { location /a { } location /b { } } }", modules);
    ASSERT_NE(compiled.snapshot, nullptr) << compiled.error;
    const Server& server = compiled.snapshot->addresses().front()->hosts.default_server();
    EXPECT_EQ(server.owned[0]->handlers.of(Phase::Access).data(),
              server.owned[1]->handlers.of(Phase::Access).data());
    EXPECT_EQ(server.owned[0]->handlers.of(Phase::Access).size(), 1U);
}

TEST(SnapshotBuilder, TenThousandServersAreCheap) {
    std::string text;
    for (int i = 0; i < 10000; ++i) {
        text += fmt::format(
            "server {{ listen 80; server_name h{}.example; location / {{ root /srv/{}; }} }}", i,
            i);
    }
    const auto begin = std::chrono::steady_clock::now();
    const auto compiled = compile_http(text);
    const auto took = std::chrono::steady_clock::now() - begin;
    ASSERT_NE(compiled.snapshot, nullptr) << compiled.error;
    EXPECT_EQ(compiled.snapshot->addresses().front()->hosts.servers().size(), 10000U);
    // Far above what it takes, so that only a quadratic step fails it.
    EXPECT_LT(std::chrono::duration_cast<std::chrono::milliseconds>(took).count(), 5000);
}

}  // namespace
}  // namespace moongate::engine
