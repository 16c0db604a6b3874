#include "app/command_line.h"

#include <gtest/gtest.h>

#include <vector>

#include "app/version.h"

namespace moongate::app {
namespace {

std::expected<CommandLine, std::string> parse(std::vector<std::string> words) {
    std::vector<char*> arguments{const_cast<char*>("moongate")};
    for (std::string& word : words) {
        arguments.push_back(word.data());
    }
    return parse_command_line(arguments);
}

TEST(CommandLine, ReadsJoinedFlagsAndValuesInBothForms) {
    const auto options =
        parse({"-tq", "-p/a", "-c", "b.conf", "-gdaemon off;", "-e", "stderr", "-squit"});
    ASSERT_TRUE(options);
    EXPECT_TRUE(options->test);
    EXPECT_TRUE(options->quiet);
    EXPECT_FALSE(options->dump);
    EXPECT_EQ(options->prefix, "/a");
    EXPECT_EQ(options->configuration, "b.conf");
    EXPECT_EQ(options->directives, "daemon off;");
    EXPECT_EQ(options->error_log, "");
    EXPECT_EQ(options->signal, "quit");
}

TEST(CommandLine, ValueMayFollowFlagsInOneWord) {
    const auto options = parse({"-Tp", "/srv", "-V"});
    ASSERT_TRUE(options);
    EXPECT_TRUE(options->test && options->dump && options->show_version && options->show_configure);
    EXPECT_EQ(options->prefix, "/srv");
}

TEST(CommandLine, MistakesHaveNginxWording) {
    struct Case {
        std::vector<std::string> words;
        std::string message;
    };
    // As printed by nginx 1.22.1 behind "nginx: ".
    const Case cases[] = {
        {{"-x"}, "invalid option: \"x\""},
        {{"-tx"}, "invalid option: \"x\""},
        {{"foo"}, "invalid option: \"foo\""},
        {{"-s", "foo"}, "invalid option: \"-s foo\""},
        {{"-s"}, "option \"-s\" requires parameter"},
        {{"-c"}, "option \"-c\" requires file name"},
        {{"-e"}, "option \"-e\" requires file name"},
        {{"-p"}, "option \"-p\" requires directory name"},
        {{"-g"}, "option \"-g\" requires parameter"},
    };
    for (const Case& entry : cases) {
        const auto options = parse(entry.words);
        ASSERT_FALSE(options) << entry.message;
        EXPECT_EQ(options.error(), entry.message);
    }
}

TEST(CommandLine, PathsAreUnderThePrefix) {
    const Paths paths =
        resolve_paths(*parse({"-p", "/srv/x", "-c", "conf/a.conf", "-e", "/var/log/e"}));
    EXPECT_EQ(paths.prefix, "/srv/x/");
    EXPECT_EQ(paths.configuration, "/srv/x/conf/a.conf");
    EXPECT_EQ(paths.error_log, "/var/log/e");
    const Paths defaults = resolve_paths(*parse({}));
    EXPECT_EQ(defaults.configuration, std::string(kDefaultPrefix) + "conf/nginx.conf");
    EXPECT_EQ(resolve_paths(*parse({"-e", "stderr"})).error_log, "");
}

TEST(Version, IsWhatToolsLookFor) {
    EXPECT_TRUE(
        version_text().starts_with("nginx version: nginx/1.31.5\nmoongate version: moongate/"));
    const std::string build = build_text();
    EXPECT_TRUE(build.starts_with("built by clang "));
    EXPECT_NE(build.find("\nbuilt with OpenSSL "), std::string::npos);
    EXPECT_NE(build.find("\nTLS SNI support enabled\nconfigure arguments: --prefix=/"),
              std::string::npos);
    EXPECT_EQ(build.back(), '\n');
}

}  // namespace
}  // namespace moongate::app
