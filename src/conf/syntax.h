// The syntax of nginx's configuration: text to a tree of statements with source positions, includes
// resolved. It knows no directive except `include`; the compiler gives statements their meaning.
// Values are owned by the tree. Any thread; nothing is shared but the file names. Source: nginx's
// src/core/ngx_conf_file.c for grammar and messages, ngx_lua's lexer for *_by_lua_block.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "conf/error.h"

namespace moongate::conf {

struct Statement {
    std::string name;
    std::vector<std::string> args;  // quotes and escapes resolved; `name` is not among them
    bool has_block = false;         // ended by `{`, not by `;`
    bool is_lua_block = false;      // the block is Lua text, in `lua_block`
    std::vector<Statement> body;
    std::string lua_block;                    // what stands between the braces, byte for byte
    std::shared_ptr<const std::string> file;  // as nginx prints it; null: the command line (-g)
    unsigned line = 0;                        // where the terminating `;` or `{` was read
    unsigned block_end_line = 0;              // where the block's `}` was read

    // 1-based as in nginx's value[]: arg(1) is the first argument; empty where there is none.
    std::string_view arg(std::size_t n) const {
        return n - 1 < args.size() ? std::string_view(args[n - 1]) : std::string_view();
    }
};

// How the parser reaches files; tests and a privileged opener replace it.
class FileReader {
public:
    virtual ~FileReader() = default;
    // The file's bytes, or the errno of what failed with the failing call's name.
    struct Failure {
        int errno_value;
        std::string_view call;  // "open()", "read()", as nginx names it
    };
    virtual std::expected<std::string, Failure> read(const std::string& path) = 0;
    // Sorted names that match; a pattern without a match gives none.
    virtual std::expected<std::vector<std::string>, Failure> glob(const std::string& pattern) = 0;
};
// The file system. Refuses what is not a regular file (or a pipe) and files over 256 MiB.
std::unique_ptr<FileReader> make_file_reader();

struct SourceFile {
    std::string path;
    std::string text;
};

struct SyntaxTree {
    std::vector<Statement> statements;
    std::vector<SourceFile>
        files;  // every file read, each once, in order of first use: what -T prints
};

struct ParseOptions {
    FileReader* reader = nullptr;  // null: `include` is refused, as for text sent to the live API
    std::string conf_prefix;       // what relative include paths are relative to; ends in '/'
    // Whether NAME's block is Lua text. Null: names that end in "_by_lua_block".
    std::function<bool(std::string_view name)> is_lua_block;
    unsigned max_include_depth = 64;
    // A parameter of this many bytes or more is refused, as by nginx's buffer; a missing quote is
    // found that way.
    std::size_t max_parameter_bytes = 4096;
};

// Reads `path` and all it includes.
Expected<SyntaxTree> parse_file(const std::string& path, const ParseOptions& options);
// `name` is what messages say; empty for the command line (`-g`), whose messages end in " in
// command line".
Expected<SyntaxTree> parse_text(std::string_view text, const std::string& name,
                                const ParseOptions& options);

// The tree as configuration text that parses to the same tree (positions aside).
std::string print(const std::vector<Statement>& statements);
// One argument, quoted where it must be.
std::string quote(std::string_view argument);
// ` in FILE:LINE`, or ` in command line`.
std::string place(const std::shared_ptr<const std::string>& file, unsigned line);
// The form of `nginx -T`: `# configuration file PATH:` before each file's text.
std::string dump(const SyntaxTree& tree);

}  // namespace moongate::conf
