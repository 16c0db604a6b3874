// Variables, compiled strings and regular expressions together: a source whose variables are
// counted.
#include "conf/compiled_string.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "conf/regex.h"

namespace moongate::conf {
namespace {

// The functions get no real request here: the pointer they are handed is this.
struct Source : VariableSource {
    Source(Arena& arena, const VariableTable& table)
        : VariableSource(arena, table, reinterpret_cast<engine::Request*>(this)) {}
    int computed = 0;
    std::string assigned;
};
Source& of(engine::Request& request) {
    return reinterpret_cast<Source&>(request);
}

void get_word(engine::Request& request, std::uintptr_t data, VariableValue& value) {
    ++of(request).computed;
    value.set(reinterpret_cast<const char*>(data));
}
void get_missing(engine::Request&, std::uintptr_t, VariableValue& value) {
    value.set_missing();
}
void get_member(engine::Request& request, std::uintptr_t data, VariableValue& value) {
    const auto* name = reinterpret_cast<const PrefixName*>(data);
    value.set(of(request).arena().concat("<", name->rest, ">"));
}
void get_long_member(engine::Request& request, std::uintptr_t data, VariableValue& value) {
    const auto* name = reinterpret_cast<const PrefixName*>(data);
    value.set(
        of(request).arena().concat(reinterpret_cast<const char*>(name->data), ":", name->name));
}
void set_word(engine::Request& request, std::uintptr_t, std::string_view text) {
    of(request).assigned = std::string(text);
}
// Asks for itself: a cycle that must end.
void get_cycle(engine::Request& request, std::uintptr_t, VariableValue& value) {
    Source& source = of(request);
    VariableValue storage;
    value.set(source.arena().concat("c", source.by_name("cycle", storage).text()));
}

std::uintptr_t word(const char* text) {
    return reinterpret_cast<std::uintptr_t>(text);
}

class Strings : public ::testing::Test {
protected:
    Strings() {
        const VariableRow rows[] = {
            {"host", get_word, nullptr, word("example.org"), VariableFlags::None, "d"},
            {"now", get_word, nullptr, word("tick"), VariableFlags::NoCache, "d"},
            {"nothing", get_missing, nullptr, 0, VariableFlags::None, "d"},
            {"args", get_word, set_word, word("a=1"), VariableFlags::Changeable, "d"},
            {"http_", get_member, nullptr, 0, VariableFlags::Prefix, "d"},
            {"http_x_", get_long_member, nullptr, word("longer"), VariableFlags::Prefix, "d"},
            {"http_host", get_word, nullptr, word("exact"), VariableFlags::None, "d"},
            {"hidden", get_word, nullptr, word("h"), VariableFlags::NoHash, "d"},
            {"cycle", get_cycle, nullptr, 0, VariableFlags::NoCache, "d"},
        };
        table_.add(rows);
    }
    CompiledString compile(std::string_view text, StringOptions options = {}) {
        auto compiled = CompiledString::compile(text, table_, options);
        EXPECT_TRUE(compiled.has_value()) << text;
        return compiled.value_or(CompiledString());
    }
    std::string error(std::string_view text) {
        auto compiled = CompiledString::compile(text, table_);
        return compiled ? "" : compiled.error().message;
    }
    std::string value(std::string_view text) {
        const CompiledString compiled = compile(text);
        Source source(arena_, table_);
        const std::string result(compiled.evaluate(source));
        std::string appended = "x";
        compiled.append_to(source, appended);
        EXPECT_EQ(appended, "x" + result);
        std::size_t size = 0;
        const char* terminated = compiled.evaluate_c_str(source, &size);
        EXPECT_EQ(std::string(terminated, size + 1), result + std::string(1, '\0'));
        return result;
    }
    VariableTable table_;
    Arena arena_;
};

TEST_F(Strings, MixTextAndVariables) {
    EXPECT_EQ(value("plain"), "plain");
    EXPECT_EQ(value(""), "");
    EXPECT_EQ(value("$host"), "example.org");
    EXPECT_EQ(value("http://${host}x/$HOST/"), "http://example.orgx/example.org/");
    EXPECT_EQ(value("$nothing"), "");
    EXPECT_EQ(value("[$nothing]"), "[]");
    EXPECT_EQ(value("$http_user_agent $http_host $http_x_y"), "<user_agent> exact longer:http_x_y");
    EXPECT_EQ(value(std::string(5000, 'x') + "${host}" + std::string(5000, 'y')),
              std::string(5000, 'x') + "example.org" + std::string(5000, 'y'));
}

TEST_F(Strings, GrowWhenValuesAreLong) {
    const int index = table_.index("http_big");
    const CompiledString compiled = compile("<$http_big|$http_big|$http_big>");
    Source source(arena_, table_);
    const std::string big(10000, 'b');
    source.store(index, big);
    EXPECT_EQ(compiled.evaluate(source), "<" + big + "|" + big + "|" + big + ">");
}

TEST_F(Strings, ErrorsUseNginxWords) {
    EXPECT_EQ(error("a$"), "invalid variable name");
    EXPECT_EQ(error("a$ b"), "invalid variable name");
    EXPECT_EQ(error("${}"), "invalid variable name");
    EXPECT_EQ(error("${"), "invalid variable name");
    EXPECT_EQ(error("$$host"), "invalid variable name");
    EXPECT_EQ(error("${a"), "the closing bracket in \"a\" variable is missing");
    EXPECT_EQ(error("${a b"), "the closing bracket in \"a\" variable is missing");
}

TEST_F(Strings, CostNothingWhenConstantOrSingle) {
    Source source(arena_, table_);
    const CompiledString constant = compile("text");
    EXPECT_TRUE(constant.is_constant());
    EXPECT_EQ(constant.evaluate(source).data(), constant.source().data());
    const CompiledString single = compile("$host");
    EXPECT_FALSE(single.is_constant());
    EXPECT_EQ(single.evaluate(source).data(), source.text(table_.index("host")).data());
    EXPECT_FALSE(CompiledString());
    EXPECT_EQ(CompiledString::literal("$x").evaluate(source), "$x");
}

TEST_F(Strings, ValuesAreComputedOnceUnlessNoCache) {
    const CompiledString compiled = compile("$host$host");
    const CompiledString fresh = compile("$now$now");
    Source source(arena_, table_);
    EXPECT_EQ(compiled.evaluate(source), "example.orgexample.org");
    EXPECT_EQ(source.computed, 1);
    EXPECT_EQ(fresh.evaluate(source), "ticktick");
    EXPECT_EQ(source.computed, 3);
    EXPECT_EQ(source.cached_variable(table_.index("now")).text(), "tick");
    EXPECT_EQ(source.computed, 3);
    source.forget(table_.index("host"));
    EXPECT_EQ(compiled.evaluate(source), "example.orgexample.org");
    EXPECT_EQ(source.computed, 4);
}

TEST_F(Strings, AssignmentGoesThroughTheSetFunction) {
    const int args = table_.index("args");
    ASSERT_TRUE(table_.define("mine", VariableFlags::Changeable).has_value());
    const int mine = table_.index("mine");
    Source source(arena_, table_);
    EXPECT_TRUE(source.variable(mine).not_found);
    source.assign(mine, "v");
    EXPECT_EQ(source.text(mine), "v");
    source.assign(args, "b=2");
    EXPECT_EQ(source.assigned, "b=2");
    EXPECT_EQ(source.text(args), "a=1");
}

TEST_F(Strings, SubrequestsShareTheirParentsValues) {
    ASSERT_TRUE(table_.define("mine", VariableFlags::Changeable).has_value());
    const int mine = table_.index("mine");
    Source parent(arena_, table_);
    Source child(arena_, table_);
    child.share_values(parent);
    child.assign(mine, "from the child");
    EXPECT_EQ(parent.text(mine), "from the child");
}

TEST_F(Strings, NamesAreFoundAtRunTime) {
    table_.index("http_cookie");
    Source source(arena_, table_);
    VariableValue storage;
    EXPECT_EQ(source.by_name("HOST", storage).text(), "example.org");
    EXPECT_EQ(source.by_name("http_Accept", storage).text(), "<accept>");
    EXPECT_EQ(source.by_name("http_cookie", storage).text(), "<cookie>");
    EXPECT_TRUE(source.by_name("unknown", storage).not_found);
    EXPECT_TRUE(source.by_name("hidden", storage).not_found);
    EXPECT_TRUE(source.by_name(std::string(5000, 'n'), storage).not_found);
}

TEST_F(Strings, CyclesEnd) {
    Source source(arena_, table_);
    VariableValue storage;
    EXPECT_EQ(source.by_name("cycle", storage).text(), std::string(100, 'c'));
}

TEST_F(Strings, TheTableKnowsDuplicatesAndUnknownNames) {
    EXPECT_EQ(table_.define("host", VariableFlags::Changeable).error().message,
              "the duplicate \"host\" variable");
    EXPECT_EQ(table_.define("", VariableFlags::None).error().message,
              "invalid variable name \"$\"");
    EXPECT_TRUE(table_.define("args", VariableFlags::Changeable).has_value());
    table_.index("later");
    EXPECT_EQ(table_.check().error().message, "unknown \"later\" variable");
    ASSERT_TRUE(table_.define("later", VariableFlags::Changeable).has_value());
    EXPECT_TRUE(table_.check().has_value());
    // An own definition replaces what a family gave, and keeps the index.
    const int index = table_.index("http_mine");
    ASSERT_TRUE(table_.define("http_mine", VariableFlags::Changeable).has_value());
    EXPECT_EQ(table_.index("http_mine"), index);
    EXPECT_EQ(table_.at(index).get, nullptr);
}

TEST_F(Strings, ACopiedTableKeepsIndexesAndNames) {
    const int index = table_.index("http_accept");
    VariableTable copy = table_;
    table_ = VariableTable();
    EXPECT_EQ(copy.index("HTTP_accept"), index);
    copy.index("http_other");
    Source source(arena_, copy);
    EXPECT_EQ(source.text(index), "<accept>");
    EXPECT_EQ(copy.size(), 2U);
}

TEST_F(Strings, CapturesComeFromTheLastMatch) {
    auto regex = BoundRegex::compile("^/(?<user>[a-z]+)/(\\d+)?(x)?", RegexFlags::Caseless, table_);
    ASSERT_TRUE(regex.has_value());
    const CompiledString compiled = compile("$user:$1:$2:$3:$9:${host}");
    const CompiledString second = compile("$2");
    Source source(arena_, table_);
    EXPECT_EQ(regex->match(source, "nothing"), 0);
    EXPECT_EQ(compiled.evaluate(source), ":::::example.org");
    const std::string subject = "/Bob/42";
    EXPECT_EQ(regex->match(source, subject), 1);
    EXPECT_EQ(compiled.evaluate(source), "Bob:Bob:42:::example.org");
    EXPECT_EQ(second.evaluate(source).data(), subject.data() + 5);
    EXPECT_EQ(regex->match(source, "/"), 0);
    EXPECT_EQ(source.capture(1), "Bob");
    EXPECT_TRUE(compiled.uses_captures());
}

TEST_F(Strings, CapturesInArgumentsAreEscapedOnDemand) {
    auto regex = BoundRegex::compile("(.*)", RegexFlags::None, table_);
    const CompiledString escaped = compile("u=$1", {.escape_captures = true});
    const CompiledString single = compile("$1", {.escape_captures = true});
    Source source(arena_, table_);
    ASSERT_EQ(regex->match(source, "a b&c=\xc3\xa9%/?"), 1);
    EXPECT_EQ(escaped.evaluate(source), "u=a b&c=\xc3\xa9%/?");
    source.set_captures_need_escape(true);
    EXPECT_EQ(escaped.evaluate(source), "u=a%20b%26c=%C3%A9%25/%3F");
    EXPECT_EQ(single.evaluate(source), "a%20b%26c=%C3%A9%25/%3F");
}

TEST_F(Strings, WithoutCapturesADigitIsAName) {
    auto compiled = CompiledString::compile("$1", table_, {.captures = false});
    ASSERT_TRUE(compiled.has_value());
    EXPECT_EQ(table_.check().error().message, "unknown \"1\" variable");
}

TEST(Regex, FillsOffsetsAndMarksUnusedGroups) {
    auto regex = Regex::compile("(a)|(b)");
    ASSERT_TRUE(regex.has_value());
    EXPECT_TRUE(regex->has_jit());
    std::uint32_t offsets[6];
    EXPECT_EQ(regex->match("xb", offsets), 3);
    EXPECT_THAT(offsets, ::testing::ElementsAre(1, 2, Captures::kUnset, Captures::kUnset, 1, 2));
    EXPECT_EQ(regex->match("xb", std::span(offsets).first(2)), 1);
    EXPECT_EQ(regex->match("c", offsets), 0);
    EXPECT_TRUE(regex->matches("b"));
    EXPECT_EQ(regex->match("ab", offsets, 1), 3);
    EXPECT_EQ(offsets[0], 1U);
    EXPECT_FALSE(regex->matches(std::string_view()));
}

TEST(Regex, ManyGroupsWork) {
    std::string pattern;
    std::string subject;
    for (int i = 0; i < 100; ++i) {
        pattern += "(a)";
        subject += "a";
    }
    VariableTable table;
    auto regex = BoundRegex::compile(pattern, RegexFlags::None, table);
    ASSERT_TRUE(regex.has_value());
    Arena arena;
    Source source(arena, table);
    EXPECT_EQ(regex->match(source, subject), 1);
    EXPECT_EQ(source.capture(100), "a");
    EXPECT_EQ(source.capture(101), "");
}

TEST(Regex, ACatastrophicPatternEnds) {
    auto regex = Regex::compile("^(a+)+$", RegexFlags::None, 10000);
    ASSERT_TRUE(regex.has_value());
    const int rc = regex->match(std::string(60, 'a') + "b", {});
    EXPECT_LT(rc, 0);
    EXPECT_EQ(Regex::error_text(rc), "match limit exceeded");
}

}  // namespace
}  // namespace moongate::conf
