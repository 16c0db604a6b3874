#include "conf/document.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "conf/test_module.h"

namespace moongate::conf {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Sample {
    int number = 0;
    bool on = false;
};
Applied apply_nothing(Compiler&, const Statement&) {
    return {};
}

TEST(Document, TheSampleModuleHasNoFaults) {
    EXPECT_THAT(document_faults(Registry(testing::kModules)), IsEmpty());
}

TEST(Document, FaultsAreFound) {
    static constexpr Directive kRows[] = {
        number<&Sample::number>("undocumented", kHttp, "1", ""),
        number<&Sample::number>("no_default", kHttp, "", "d"),
        number<&Sample::number>("bad_default", kHttp, "x", "d"),
        flag<&Sample::on>("nowhere", 0, "on", "d"),
        custom<apply_nothing>("twice", kHttp | kServer, kNoArgs, "", "d"),
        custom<apply_nothing>("twice", kServer | kLocation, kNoArgs, "", "d"),
        enumeration<&Sample::number>("wordless", kHttp, {}, "a", "d"),
        number<&Sample::number>("outside", kHttp, "1", "d").within(2, 3),
    };
    const ModuleDirectives module{"m", kRows};
    EXPECT_THAT(document_faults(Registry(std::span(&module, 1))),
                ElementsAre("undocumented: no doc", "no_default: no default",
                            HasSubstr("bad_default: \"bad_default\" directive invalid number"),
                            "nowhere: no context", "twice: two rows in server",
                            "wordless: no values", HasSubstr("wordless: invalid value \"a\""),
                            HasSubstr("outside: value must be between 2 and 3")));
}

TEST(Document, SyntaxComesFromTheRow) {
    EXPECT_EQ(syntax_text(custom<apply_nothing>("a", kHttp, kTake12, "", "d")), "a value [value];");
    EXPECT_EQ(syntax_text(custom<apply_nothing>("a", kHttp, kNoArgs | kTake1, "", "d")),
              "a [value];");
    EXPECT_EQ(syntax_text(custom<apply_nothing>("a", kHttp, kOneOrMore | kBlock, "", "d")),
              "a value ... { ... }");
    EXPECT_EQ(syntax_text(custom<apply_nothing>("a", kHttp, kLuaBlock, "", "d")), "a { Lua }");
    EXPECT_EQ(syntax_text(custom<apply_nothing>("a", kHttp, kTake1, "", "d").syntax("x | y")),
              "a x | y;");
    EXPECT_EQ(contexts_text(kMain | kLocationIf), "main, if in location");
}

TEST(Document, PagesNameEveryDirective) {
    const Registry registry(testing::kModules);
    const std::string markdown = document_markdown(registry);
    const std::string text = document_text(registry);
    for (const auto& module : registry.modules()) {
        for (const Directive& row : module.rows) {
            EXPECT_THAT(markdown, HasSubstr("### " + std::string(row.name) + "\n"));
            EXPECT_THAT(text, HasSubstr(syntax_text(row)));
        }
    }
    EXPECT_THAT(markdown,
                HasSubstr("### protocol\n\n* Syntax: `protocol 1.0 | 1.1;`\n"
                          "* Default: `protocol 1.1;`\n* Context: http, server, location\n"));
    EXPECT_THAT(markdown, HasSubstr("* Bounds: 1024 to 1048576\n"));
    EXPECT_EQ(document_text(registry, "proto"),
              "protocol\tprotocol 1.0 | 1.1;\tdefault 1.1\tin http, server, location\tproxy\n");
}

}  // namespace
}  // namespace moongate::conf
