#include "conf/compiled_string.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/strings.h"

namespace moongate::conf {
namespace {

struct Part {
    enum class Kind : std::uint8_t { Literal, Variable, Capture };
    Kind kind;
    std::uint32_t at;  // literal: offset into the source; else the variable's index or the group
    std::uint32_t size = 0;  // literal only
};

// What nginx's NGX_ESCAPE_ARGS escapes: a capture must not end an argument or begin another one.
bool escaped_in_args(char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte <= ' ' || byte >= 0x7f ||
           std::string_view("\"#%&+;<>?\\^`{|}").find(c) != std::string_view::npos;
}

// Grows in the arena; what it outgrows stays behind until the arena ends.
class ArenaText {
public:
    ArenaText(Arena& arena, std::size_t capacity)
        : arena_(arena), data_(arena.allocate_chars(capacity + 1)), capacity_(capacity) {}

    void append(std::string_view text) {
        if (text.empty()) {
            return;
        }
        if (text.size() > capacity_ - size_) {
            grow(text.size());
        }
        std::memcpy(data_ + size_, text.data(), text.size());
        size_ += text.size();
    }
    std::string_view finish() {
        data_[size_] = '\0';
        return {data_, size_};
    }

private:
    void grow(std::size_t more) {
        capacity_ = std::max(capacity_ * 2, size_ + more);
        char* wider = arena_.allocate_chars(capacity_ + 1);
        std::memcpy(wider, data_, size_);
        data_ = wider;
    }

    Arena& arena_;
    char* data_;
    std::size_t size_ = 0;
    std::size_t capacity_;
};

template <class Out>
void append_escaped(std::string_view text, Out& out) {
    static constexpr char kHex[] = "0123456789ABCDEF";
    for (const char c : text) {
        if (escaped_in_args(c)) {
            const auto byte = static_cast<unsigned char>(c);
            const char encoded[] = {'%', kHex[byte >> 4], kHex[byte & 15]};
            out.append(std::string_view(encoded, 3));
        } else {
            out.append(std::string_view(&c, 1));
        }
    }
}

bool is_name_char(char c) {
    return is_alpha(c) || is_digit(c) || c == '_';
}

}  // namespace

struct CompiledString::Program {
    std::string source;
    std::vector<Part> parts;  // empty: constant
    bool captures = false;
    bool escape_captures = false;

    Expected<void> parse(VariableTable& variables, const StringOptions& options);
    void add_literal(std::size_t from, std::size_t to) {
        if (to > from) {
            parts.push_back({Part::Kind::Literal, static_cast<std::uint32_t>(from),
                             static_cast<std::uint32_t>(to - from)});
        }
    }
    template <class Out>
    void run(VariableSource& from, Out& out) const;
};

Expected<void> CompiledString::Program::parse(VariableTable& variables,
                                              const StringOptions& options) {
    std::size_t literal = 0;
    std::size_t i = 0;
    while (i < source.size()) {
        if (source[i] != '$') {
            ++i;
            continue;
        }
        add_literal(literal, i);
        ++i;
        if (i < source.size() && options.captures && source[i] >= '1' && source[i] <= '9') {
            parts.push_back({Part::Kind::Capture, static_cast<std::uint32_t>(source[i] - '0')});
            captures = true;
            literal = ++i;
            continue;
        }
        const bool bracket = i < source.size() && source[i] == '{';
        i += bracket;
        const std::size_t start = i;
        while (i < source.size() && is_name_char(source[i])) {
            ++i;
        }
        const std::string_view name = std::string_view(source).substr(start, i - start);
        if (bracket && i < source.size() && source[i] == '}') {
            ++i;
        } else if (bracket && start < source.size()) {
            return reject(fmt::format("the closing bracket in \"{}\" variable is missing", name));
        }
        if (name.empty()) {
            return reject("invalid variable name");
        }
        parts.push_back({Part::Kind::Variable, static_cast<std::uint32_t>(variables.index(name))});
        literal = i;
    }
    if (!parts.empty()) {
        add_literal(literal, source.size());
    }
    return {};
}

template <class Out>
void CompiledString::Program::run(VariableSource& from, Out& out) const {
    for (const Part& part : parts) {
        switch (part.kind) {
            case Part::Kind::Literal:
                out.append(std::string_view(source).substr(part.at, part.size));
                break;
            case Part::Kind::Variable:
                out.append(from.text(static_cast<int>(part.at)));
                break;
            case Part::Kind::Capture:
                if (escape_captures && from.captures_need_escape()) {
                    append_escaped(from.capture(part.at), out);
                } else {
                    out.append(from.capture(part.at));
                }
                break;
        }
    }
}

Expected<CompiledString> CompiledString::compile(std::string_view text, VariableTable& variables,
                                                 StringOptions options) {
    auto program = std::make_shared<Program>();
    program->source = std::string(text);
    program->escape_captures = options.escape_captures;
    if (auto parsed = program->parse(variables, options); !parsed) {
        return std::unexpected(std::move(parsed.error()));
    }
    CompiledString compiled;
    compiled.program_ = std::move(program);
    return compiled;
}

CompiledString CompiledString::literal(std::string_view text) {
    auto program = std::make_shared<Program>();
    program->source = std::string(text);
    CompiledString compiled;
    compiled.program_ = std::move(program);
    return compiled;
}

bool CompiledString::is_constant() const {
    return program_ == nullptr || program_->parts.empty();
}

bool CompiledString::uses_captures() const {
    return program_ != nullptr && program_->captures;
}

std::string_view CompiledString::source() const {
    return program_ == nullptr ? std::string_view() : std::string_view(program_->source);
}

std::string_view CompiledString::evaluate(VariableSource& from) const {
    if (is_constant()) {
        return source();
    }
    const auto& parts = program_->parts;
    if (parts.size() == 1 && parts[0].kind == Part::Kind::Variable) {
        return from.text(static_cast<int>(parts[0].at));
    }
    if (parts.size() == 1 && !(program_->escape_captures && from.captures_need_escape())) {
        return from.capture(parts[0].at);
    }
    ArenaText out(from.arena(), program_->source.size() + parts.size() * 24);
    program_->run(from, out);
    return out.finish();
}

void CompiledString::append_to(VariableSource& from, std::string& out) const {
    if (is_constant()) {
        out += source();
        return;
    }
    program_->run(from, out);
}

const char* CompiledString::evaluate_c_str(VariableSource& from, std::size_t* size) const {
    std::string_view text = evaluate(from);
    if (!is_constant() && program_->parts.size() == 1) {
        text = from.arena().copy(text);
    }
    if (size != nullptr) {
        *size = text.size();
    }
    return text.data() == nullptr ? "" : text.data();
}

bool has_variables(std::string_view text) {
    return text.find('$') != std::string_view::npos;
}

}  // namespace moongate::conf
