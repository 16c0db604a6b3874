// The grammar, and nginx's exact words for what breaks it. The expectations of Reference were
// obtained from `nginx -t` (1.22.1 with ngx_lua 0.10.23); its positions are those of a file
// /etc/test.conf here.
#include "conf/syntax.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "conf/test_module.h"

namespace moongate::conf {
namespace {

using ::testing::ElementsAre;

SyntaxTree parsed(std::string_view text, const ParseOptions& options = {}) {
    auto tree = parse_text(text, "t", options);
    EXPECT_TRUE(tree.has_value()) << tree.error().message;
    return tree ? std::move(*tree) : SyntaxTree();
}

std::vector<std::string> words(std::string_view text) {
    return parsed(text).statements.at(0).args;
}

std::string failure(std::string_view text, const std::string& name = "/etc/test.conf") {
    auto tree = parse_text(text, name, {});
    return tree ? "" : tree.error().message;
}

TEST(Syntax, QuotesAreSpecialOnlyAtAWordsStart) {
    EXPECT_THAT(words("a \"b c\" 'd \"e' f\"g h';"), ElementsAre("b c", "d \"e", "f\"g", "h'"));
    EXPECT_THAT(words("a \"\" '';"), ElementsAre("", ""));
}

TEST(Syntax, EscapesThatNginxKnowsAreDecodedAndOthersKept) {
    EXPECT_THAT(words(R"(a "\t\r\n\"\'\\" \d+\. a\;b a\ b;)"),
                ElementsAre("\t\r\n\"'\\", "\\d+\\.", "a\\;b", "a\\ b"));
}

TEST(Syntax, BracesAfterADollarBelongToTheWord) {
    EXPECT_THAT(words("a ${x}y /${a}{ }"), ElementsAre("${x}y", "/${a}"));
    EXPECT_THAT(words("a x}y #z\n b#c;"), ElementsAre("x}y", "b#c"));
}

TEST(Syntax, AClosingParenthesisMayFollowAQuote) {
    EXPECT_THAT(words("if ($a = \"b\") {}"), ElementsAre("($a", "=", "b", ")"));
}

TEST(Syntax, LinesAreThoseOfTheTerminator) {
    const SyntaxTree tree = parsed("a\n b\n c;\nd\n{\n e;\n}\n");
    ASSERT_EQ(tree.statements.size(), 2U);
    EXPECT_EQ(tree.statements[0].line, 3U);
    EXPECT_EQ(tree.statements[1].line, 5U);
    EXPECT_EQ(tree.statements[1].block_end_line, 7U);
    EXPECT_EQ(tree.statements[1].body.at(0).line, 6U);
    EXPECT_EQ(*tree.statements[1].body[0].file, "t");
}

TEST(Syntax, LuaBlocksEndWhereLuaSaysSo) {
    const std::string bodies[] = {
        " local t = { a = {} } ",
        " -- } it's\n x() ",
        " --[[ } \n ]] x = {} ",
        " --[=[ ]] } ]=] ",
        " s = '}' .. \"\\\"}\" ",
        " s = [==[ } ]] ]=] ]==] ",
        " ---[[ }\n ",
        " a[b[1]] = [[ } ]] ",
        " s = \"[[\" t = '\\\\' ",
        " --[==x }\n ",
        " s = [= {} ",
        "",
        " s = \"a \\\n } \" ",
        " x = \" \n ",
    };
    for (const auto& body : bodies) {
        const SyntaxTree tree = parsed("content_by_lua_block {" + body + "}\nnext;");
        ASSERT_EQ(tree.statements.size(), 2U) << body;
        EXPECT_EQ(tree.statements[0].lua_block, body);
        EXPECT_TRUE(tree.statements[0].is_lua_block);
        const auto lines = static_cast<unsigned>(std::ranges::count(body, '\n'));
        EXPECT_EQ(tree.statements[0].block_end_line, 1 + lines);
        EXPECT_EQ(tree.statements[1].line, 2 + lines);
    }
}

TEST(Syntax, ThePredicateDecidesWhatIsLua) {
    ParseOptions options;
    options.is_lua_block = [](std::string_view name) { return name == "lua"; };
    const SyntaxTree tree = parsed("lua x { '}", {options});
    EXPECT_EQ(tree.statements.at(0).lua_block, " '");
}

struct Broken {
    std::string text;
    std::string message;
};

TEST(Syntax, Reference) {
    const Broken cases[] = {
        {"a b", "unexpected end of file, expecting \";\" or \"}\" in /etc/test.conf:1"},
        {"abc # x\n", "unexpected end of file, expecting \";\" or \"}\" in /etc/test.conf:2"},
        {"a\\", "unexpected end of file, expecting \";\" or \"}\" in /etc/test.conf:1"},
        {"\"a\\\"", "unexpected end of file, expecting \";\" or \"}\" in /etc/test.conf:1"},
        {"'abc'", "unexpected end of file, expecting \";\" or \"}\" in /etc/test.conf:1"},
        {"events {}\nhttp {\n", "unexpected end of file, expecting \"}\" in /etc/test.conf:3"},
        {"}\n", "unexpected \"}\" in /etc/test.conf:1"},
        {"pid x }", "unexpected \"}\" in /etc/test.conf:1"},
        {"events {}\n{\n}\n", "unexpected \"{\" in /etc/test.conf:2"},
        {"events {} ;\n", "unexpected \";\" in /etc/test.conf:1"},
        {"http {\n server {\n  return 200 \"a\"b;\n }\n}\n",
         "unexpected \"b\" in /etc/test.conf:3"},
        {"user 'a' \"b\"'c';\n", "unexpected \"'\" in /etc/test.conf:1"},
        {"error_log " + std::string(5000, 'x') + ";\n",
         "too long parameter \"xxxxxxxxxx...\" started in /etc/test.conf:1"},
        {"error_log\n \"" + std::string(5000, 'x') + ";\n",
         "too long parameter, probably missing terminating \"\"\" character in /etc/test.conf:2"},
        {"error_log '" + std::string(5000, 'x') + ";\n",
         "too long parameter, probably missing terminating \"'\" character in /etc/test.conf:1"},
        {"include a b;\n",
         "invalid number of arguments in \"include\" directive in /etc/test.conf:1"},
        {"include x {\n}\n",
         "directive \"include\" is not terminated by \";\" in /etc/test.conf:1"},
        {"http {\ncontent_by_lua_block {\n local a = [==[ x ]=]\n }}\n",
         "Lua code block missing the closing long bracket \"]==]\", the inlined Lua code may be "
         "too long in "
         "/etc/test.conf:3"},
        {"http {\ncontent_by_lua_block {\n x = {\n }\n",
         "unexpected end of file, expecting terminating characters for lua code block in "
         "/etc/test.conf:3"},
    };
    for (const auto& [text, message] : cases) {
        EXPECT_EQ(failure(text), message) << text.substr(0, 40);
    }
    EXPECT_EQ(failure("error_log " + std::string(4095, 'x') + ";"), "");
}

TEST(Syntax, TheCommandLineHasItsOwnWords) {
    EXPECT_EQ(failure("a b", ""), "unexpected end of parameter, expecting \";\" in command line");
    EXPECT_EQ(failure("a {", ""),
              "block directives are not supported in -g option in command line");
    EXPECT_EQ(failure("}", ""), "unexpected \"}\" in command line");
    EXPECT_EQ(failure("daemon off; pid x;", ""), "");
}

TEST(Syntax, NestingIsBounded) {
    std::string text;
    for (int i = 0; i < 100000; ++i) {
        text += "a {";
    }
    EXPECT_THAT(failure(text), ::testing::HasSubstr("blocks nest deeper than 128"));
}

class Includes : public ::testing::Test {
protected:
    Expected<SyntaxTree> parse() {
        return parse_file("/etc/main.conf", {.reader = &reader_, .conf_prefix = "/etc/"});
    }
    std::string error() {
        auto tree = parse();
        return tree ? "" : tree.error().message;
    }
    testing::MemoryReader reader_;
    std::map<std::string, std::string>& files_ = reader_.files;
};

TEST_F(Includes, StandWhereTheyAreWritten) {
    files_["/etc/main.conf"] = "a;\nhttp { include sub/*; include /abs; }\nz;";
    files_["/etc/sub/1"] = "b;\n";
    files_["/etc/sub/2"] = "c { }";
    files_["/abs"] = "d;";
    auto tree = parse();
    ASSERT_TRUE(tree.has_value()) << tree.error().message;
    ASSERT_EQ(tree->statements.size(), 3U);
    const auto& body = tree->statements[1].body;
    ASSERT_EQ(body.size(), 3U);
    EXPECT_EQ(body[0].name, "b");
    EXPECT_EQ(*body[0].file, "/etc/sub/1");
    EXPECT_EQ(body[2].name, "d");
    EXPECT_EQ(tree->statements[2].line, 3U);
    EXPECT_EQ(
        dump(*tree),
        "# configuration file /etc/main.conf:\na;\nhttp { include sub/*; include /abs; }\nz;\n"
        "# configuration file /etc/sub/1:\nb;\n\n# configuration file /etc/sub/2:\nc { }\n"
        "# configuration file /abs:\nd;\n");
}

TEST_F(Includes, AMissingFileIsAnErrorAndAnEmptyPatternIsNot) {
    files_["/etc/main.conf"] = "include none/*;\n";
    EXPECT_EQ(error(), "");
    files_["/etc/main.conf"] = "\ninclude nofile.conf;\n";
    EXPECT_EQ(
        error(),
        "open() \"/etc/nofile.conf\" failed (2: No such file or directory) in /etc/main.conf:2");
    files_.erase("/etc/main.conf");
    EXPECT_EQ(error(), "open() \"/etc/main.conf\" failed (2: No such file or directory)");
}

TEST_F(Includes, ErrorsNameTheIncludedFile) {
    files_["/etc/main.conf"] = "http { include x; }";
    files_["/etc/x"] = "a;\n}";
    EXPECT_EQ(error(), "unexpected \"}\" in /etc/x:2");
    files_["/etc/x"] = "a {\n";
    EXPECT_EQ(error(), "unexpected end of file, expecting \"}\" in /etc/x:2");
}

TEST_F(Includes, CyclesAndDepthEnd) {
    files_["/etc/main.conf"] = "include x;";
    files_["/etc/x"] = "include main.conf;";
    EXPECT_EQ(error(), "\"/etc/main.conf\" includes itself in /etc/x:1");
    for (int i = 0; i < 100; ++i) {
        files_["/etc/d" + std::to_string(i)] = "include d" + std::to_string(i + 1) + ";";
    }
    files_["/etc/main.conf"] = "include d0;";
    EXPECT_THAT(error(), ::testing::HasSubstr("includes nest deeper than 64"));
    // Blocks around an include count towards the nesting of what it brings.
    files_["/etc/main.conf"].clear();
    for (int i = 0; i < 127; ++i) {
        files_["/etc/main.conf"] += "a {";
    }
    files_["/etc/main.conf"] += "include deep; " + std::string(127, '}');
    files_["/etc/deep"] = "b { c { } }";
    EXPECT_THAT(error(), ::testing::HasSubstr("blocks nest deeper"));
}

TEST(FileReader, ReadsFilesAndNamesWhatFails) {
    const auto reader = make_file_reader();
    auto directory = reader->read("/tmp");
    ASSERT_FALSE(directory.has_value());
    EXPECT_EQ(directory.error().errno_value, EISDIR);
    EXPECT_EQ(directory.error().call, "pread()");
    EXPECT_EQ(reader->read("/no/such/file").error().errno_value, ENOENT);
    auto here = reader->read("/proc/self/status");
    ASSERT_TRUE(here.has_value());
    EXPECT_TRUE(here->starts_with("Name:"));
    auto none = reader->glob("/no/such/*");
    ASSERT_TRUE(none.has_value());
    EXPECT_TRUE(none->empty());
    EXPECT_THAT(*reader->glob("/proc/sel[f]"), ElementsAre("/proc/self"));
}

TEST(SyntaxPrint, GivesTheSameTreeBack) {
    const std::string text =
        "a \"x y\" '' \"q\\\"\\\\\" ${v} #c\n;b { c; \"d;\" '}'; e_by_lua_block { x = '}' } }";
    const SyntaxTree tree = parsed(text);
    const std::string printed = print(tree.statements);
    EXPECT_EQ(print(parsed(printed).statements), printed);
    EXPECT_EQ(printed,
              "a \"x y\" \"\" \"q\\\"\\\\\" \"${v}\";\nb {\n    c;\n    \"d;\" \"}\";\n"
              "    e_by_lua_block { x = '}' }\n}\n");
}

}  // namespace
}  // namespace moongate::conf
