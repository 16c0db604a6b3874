// Trees back to text: print(), quote() and dump() of syntax.h.
#include "conf/syntax.h"

namespace moongate::conf {
namespace {

bool is_plain(char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte > ' ' && byte != 0x7f &&
           std::string_view(";{}\"'\\#").find(c) == std::string_view::npos;
}

void print_into(const std::vector<Statement>& statements, std::size_t indent, std::string& out) {
    for (const auto& statement : statements) {
        out.append(indent, ' ');
        out += quote(statement.name);
        for (const auto& arg : statement.args) {
            out += ' ';
            out += quote(arg);
        }
        if (!statement.has_block) {
            out += ";\n";
            continue;
        }
        out += " {";
        if (statement.is_lua_block) {
            out += statement.lua_block;
        } else {
            out += '\n';
            print_into(statement.body, indent + 4, out);
            out.append(indent, ' ');
        }
        out += "}\n";
    }
}

}  // namespace

std::string quote(std::string_view argument) {
    bool plain = !argument.empty();
    for (const char c : argument) {
        plain = plain && is_plain(c);
    }
    if (plain) {
        return std::string(argument);
    }
    std::string out = "\"";
    for (const char c : argument) {
        if (c == '"' || c == '\\') {
            out += '\\';
        }
        out += c;
    }
    out += '"';
    return out;
}

std::string print(const std::vector<Statement>& statements) {
    std::string out;
    print_into(statements, 0, out);
    return out;
}

std::string dump(const SyntaxTree& tree) {
    std::string out;
    for (const auto& file : tree.files) {
        out += "# configuration file ";
        out += file.path;
        out += ":\n";
        out += file.text;
        out += '\n';
    }
    return out;
}

}  // namespace moongate::conf
