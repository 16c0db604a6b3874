// The parser behind syntax.h. It follows the reference's tokenizer rule by rule where a difference
// could be seen: a quote is special only at the start of a word, `}` and `#` likewise, `{` after
// `$` belongs to the word.
#include "conf/syntax.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "conf/lua_block.h"

namespace moongate::conf {
namespace {

// Deeper nesting has no use and would make the recursion below a risk.
constexpr unsigned kMaxBlockDepth = 128;
// Includes that fan out at every level end here and not in the machine's memory.
constexpr std::size_t kMaxTotalBytes = std::size_t{1} << 30;

bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

std::string unescape(std::string_view raw) {
    std::string text;
    text.reserve(raw.size());
    for (std::size_t i = 0; i < raw.size(); ++i) {
        if (raw[i] == '\\' && i + 1 < raw.size()) {
            const char next = raw[i + 1];
            const char decoded = next == 't'                                   ? '\t'
                                 : next == 'r'                                 ? '\r'
                                 : next == 'n'                                 ? '\n'
                                 : next == '"' || next == '\'' || next == '\\' ? next
                                                                               : '\0';
            if (decoded != '\0') {
                text.push_back(decoded);
                ++i;
                continue;
            }
        }
        text.push_back(raw[i]);
    }
    return text;
}

// What ended a statement.
enum class End { Semicolon, BlockStart, BlockEnd, Text };

class Parser {
public:
    Parser(const ParseOptions& options, SyntaxTree& tree) : options_(options), tree_(tree) {}

    Applied parse_root(const std::string& path) {
        Source nowhere;
        return parse_path(path, tree_.statements, nowhere);
    }

    Applied parse_view(std::string_view text, const std::string& name) {
        Source source;
        source.text = text;
        source.command_line = name.empty();
        if (!name.empty()) {
            source.file = std::make_shared<const std::string>(name);
            tree_.files.push_back({name, std::string(text)});
        }
        // nginx counts the lines of -g from 0 but never prints them.
        return parse_statements(source, tree_.statements, Kind::File, 0);
    }

private:
    enum class Kind { File, Block };

    struct Source {
        std::string_view text;
        std::size_t at = 0;
        unsigned line = 1;
        std::shared_ptr<const std::string> file;
        bool command_line = false;

        bool ended() const { return at >= text.size(); }
        char take() {
            const char c = text[at++];
            line += c == '\n';
            return c;
        }
    };

    std::unexpected<ConfError> fail(const Source& source, std::string message) const {
        return fail_at(source, source.line, std::move(message));
    }
    std::unexpected<ConfError> fail_at(const Source& source, unsigned line,
                                       std::string message) const {
        if (source.file != nullptr || source.command_line) {
            message += place(source.file, line);
        }
        return std::unexpected(ConfError::unplaced(std::move(message)));
    }

    Applied parse_path(const std::string& path, std::vector<Statement>& into, const Source& from) {
        if (options_.reader == nullptr) {
            return fail(from, "\"include\" directive is not allowed here");
        }
        if (std::ranges::find(active_, path) != active_.end()) {
            return fail(from, fmt::format("\"{}\" includes itself", path));
        }
        if (active_.size() > options_.max_include_depth) {
            return fail(from, fmt::format("includes nest deeper than {} at \"{}\"",
                                          options_.max_include_depth, path));
        }
        auto text = options_.reader->read(path);
        if (!text) {
            return fail(from, fmt::format("{} \"{}\" failed {}", text.error().call, path,
                                          errno_text(text.error().errno_value)));
        }
        total_bytes_ += text->size();
        if (total_bytes_ > kMaxTotalBytes) {
            return fail(from, "configuration is larger than 1 GiB");
        }
        Source source;
        source.text = *text;
        source.file = std::make_shared<const std::string>(path);
        // The file's place in the list is where its reading began; its text moves there when it is
        // parsed.
        const std::size_t listed = tree_.files.size();
        const bool first =
            std::ranges::find(tree_.files, path, &SourceFile::path) == tree_.files.end();
        if (first) {
            tree_.files.push_back({path, {}});
        }
        active_.push_back(path);
        auto parsed = parse_statements(source, into, Kind::File, depth_);
        active_.pop_back();
        if (first) {
            tree_.files[listed].text = std::move(*text);
        }
        return parsed;
    }

    Applied include(const Statement& statement, std::vector<Statement>& into, const Source& from) {
        if (statement.has_block) {
            return fail(from, "directive \"include\" is not terminated by \";\"");
        }
        if (statement.args.size() != 1) {
            return fail(from, "invalid number of arguments in \"include\" directive");
        }
        std::string path = statement.args[0];
        if (!path.starts_with('/')) {
            path = options_.conf_prefix + path;
        }
        if (path.find_first_of("*?[") == std::string::npos || options_.reader == nullptr) {
            return parse_path(path, into, from);
        }
        auto names = options_.reader->glob(path);
        if (!names) {
            return fail(from, fmt::format("{} \"{}\" failed {}", names.error().call, path,
                                          errno_text(names.error().errno_value)));
        }
        for (const auto& name : *names) {
            if (auto parsed = parse_path(name, into, from); !parsed) {
                return parsed;
            }
        }
        return {};
    }

    Applied parse_statements(Source& source, std::vector<Statement>& into, Kind kind,
                             unsigned depth) {
        for (;;) {
            std::vector<std::string> words;
            auto end = read_words(source, words);
            if (!end) {
                return std::unexpected(std::move(end.error()));
            }
            if (*end == End::BlockEnd) {
                return kind == Kind::Block ? Applied() : fail(source, "unexpected \"}\"");
            }
            if (*end == End::Text) {
                return kind == Kind::File ? Applied()
                                          : fail(source, "unexpected end of file, expecting \"}\"");
            }
            if (auto added = add(source, std::move(words), *end, into, depth); !added) {
                return added;
            }
        }
    }

    Applied add(Source& source, std::vector<std::string> words, End end,
                std::vector<Statement>& into, unsigned depth) {
        Statement statement;
        statement.name = std::move(words.front());
        words.erase(words.begin());
        statement.args = std::move(words);
        statement.has_block = end == End::BlockStart;
        statement.file = source.file;
        statement.line = source.line;
        if (statement.has_block && source.command_line) {
            return fail(source, "block directives are not supported in -g option");
        }
        if (statement.name == "include") {
            const unsigned outer = std::exchange(depth_, depth);
            auto included = include(statement, into, source);
            depth_ = outer;
            return included;
        }
        if (statement.has_block) {
            auto body = is_lua_block(statement.name) ? read_lua_block(source, statement)
                                                     : read_block(source, statement, depth);
            if (!body) {
                return body;
            }
        }
        into.push_back(std::move(statement));
        return {};
    }

    Applied read_block(Source& source, Statement& statement, unsigned depth) {
        if (depth >= kMaxBlockDepth) {
            return fail(source, fmt::format("blocks nest deeper than {}", kMaxBlockDepth));
        }
        auto parsed = parse_statements(source, statement.body, Kind::Block, depth + 1);
        statement.block_end_line = source.line;
        return parsed;
    }

    Applied read_lua_block(Source& source, Statement& statement) {
        const std::string_view rest = source.text.substr(source.at);
        const LuaBlockEnd end = find_lua_block_end(rest, source.line);
        if (!end.found) {
            return fail_at(source, end.line, end.message);
        }
        statement.is_lua_block = true;
        statement.lua_block = std::string(rest.substr(0, end.at));
        statement.block_end_line = end.line;
        source.at += end.at + 1;
        source.line = end.line;
        return {};
    }

    bool is_lua_block(std::string_view name) const {
        return options_.is_lua_block ? options_.is_lua_block(name)
                                     : name.ends_with("_by_lua_block");
    }

    // The words up to what ends the statement.
    Expected<End> read_words(Source& source, std::vector<std::string>& words) {
        for (;;) {
            if (source.ended()) {
                return words.empty() ? Expected<End>(End::Text) : end_of_text(source);
            }
            const char c = source.text[source.at];
            if (is_space(c)) {
                source.take();
            } else if (c == '#') {
                skip_comment(source);
            } else if (c == ';' || c == '{') {
                source.take();
                if (words.empty()) {
                    return fail(source, fmt::format("unexpected \"{}\"", c));
                }
                return c == ';' ? End::Semicolon : End::BlockStart;
            } else if (c == '}') {
                source.take();
                if (!words.empty()) {
                    return fail(source, "unexpected \"}\"");
                }
                return End::BlockEnd;
            } else {
                auto ended =
                    c == '"' || c == '\'' ? read_quoted(source, words) : read_bare(source, words);
                if (!ended || *ended != End::Text) {
                    return ended;
                }
            }
        }
    }

    // Both return Text where the statement goes on.
    Expected<End> read_bare(Source& source, std::vector<std::string>& words) {
        const std::size_t start = source.at;
        const unsigned start_line = source.line;
        bool after_dollar = false;
        for (;;) {
            if (auto more = check(source, start, start_line, '\0'); !more) {
                return std::unexpected(std::move(more.error()));
            }
            const char c = source.take();
            if (c == '{' && after_dollar) {
                continue;
            }
            after_dollar = c == '$';
            if (c == '\\') {
                if (auto more = check(source, start, start_line, '\0'); !more) {
                    return std::unexpected(std::move(more.error()));
                }
                source.take();
            } else if (is_space(c) || c == ';' || c == '{') {
                words.push_back(unescape(source.text.substr(start, source.at - 1 - start)));
                return c == ';' ? End::Semicolon : c == '{' ? End::BlockStart : End::Text;
            }
        }
    }

    Expected<End> read_quoted(Source& source, std::vector<std::string>& words) {
        const unsigned start_line = source.line;
        const char quote = source.take();
        const std::size_t start = source.at;
        for (char c = '\0'; c != quote;) {
            if (auto more = check(source, start, start_line, quote); !more) {
                return std::unexpected(std::move(more.error()));
            }
            c = source.take();
            if (c == '\\') {
                if (auto more = check(source, start, start_line, quote); !more) {
                    return std::unexpected(std::move(more.error()));
                }
                source.take();
                c = '\0';
            }
        }
        words.push_back(unescape(source.text.substr(start, source.at - 1 - start)));
        if (source.ended()) {
            return end_of_text(source);
        }
        // `)` may follow, as in `if ($x = "y")`.
        if (source.text[source.at] == ')') {
            return End::Text;
        }
        const char next = source.take();
        if (next == ';') {
            return End::Semicolon;
        }
        if (next == '{') {
            return End::BlockStart;
        }
        if (!is_space(next)) {
            return fail(source, std::string("unexpected \"") + next + "\"");
        }
        return End::Text;
    }

    // Whether the word that began at `start` may take one more character.
    Applied check(const Source& source, std::size_t start, unsigned start_line, char quote) const {
        if (source.ended()) {
            return std::unexpected(end_of_text(source).error());
        }
        if (source.command_line || source.at - start < options_.max_parameter_bytes) {
            return {};
        }
        if (quote != '\0') {
            return fail_at(
                source, start_line,
                fmt::format("too long parameter, probably missing terminating \"{}\" character",
                            quote));
        }
        return fail_at(
            source, start_line,
            fmt::format("too long parameter \"{}...\" started", source.text.substr(start, 10)));
    }

    Expected<End> end_of_text(const Source& source) const {
        return fail(source, source.command_line
                                ? "unexpected end of parameter, expecting \";\""
                                : "unexpected end of file, expecting \";\" or \"}\"");
    }

    static void skip_comment(Source& source) {
        const std::size_t end = source.text.find('\n', source.at);
        source.at = std::min(end, source.text.size());
    }

    const ParseOptions& options_;
    SyntaxTree& tree_;
    std::vector<std::string> active_;  // files being read, outermost first
    unsigned depth_ = 0;               // of blocks around the include being followed
    std::size_t total_bytes_ = 0;
};

}  // namespace

Expected<SyntaxTree> parse_file(const std::string& path, const ParseOptions& options) {
    SyntaxTree tree;
    if (auto parsed = Parser(options, tree).parse_root(path); !parsed) {
        return std::unexpected(std::move(parsed.error()));
    }
    return tree;
}

Expected<SyntaxTree> parse_text(std::string_view text, const std::string& name,
                                const ParseOptions& options) {
    SyntaxTree tree;
    if (auto parsed = Parser(options, tree).parse_view(text, name); !parsed) {
        return std::unexpected(std::move(parsed.error()));
    }
    return tree;
}

std::string place(const std::shared_ptr<const std::string>& file, unsigned line) {
    return file == nullptr ? " in command line" : fmt::format(" in {}:{}", *file, line);
}

}  // namespace moongate::conf
