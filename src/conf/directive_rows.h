// The functions that make rows (part of directive.h): they bind a settings member by pointer and
// generate its apply function. The conversions themselves stand in values.h and are not templates.
// Compile time only.
#pragma once

#include "conf/directive.h"

namespace moongate::conf {
namespace detail {

template <class T>
struct MemberOf;
template <class S, class M>
struct MemberOf<M S::*> {
    using Struct = S;
    using Type = M;
};
template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {
    using Inner = T;
};
template <class T>
struct IsDuration : std::false_type {};
template <class R, class P>
struct IsDuration<std::chrono::duration<R, P>> : std::true_type {};

// Largest value that a member can hold, so that a bound-free row never truncates.
template <class T>
constexpr std::int64_t capacity() {
    if constexpr (IsOptional<T>::value) {
        return capacity<typename IsOptional<T>::Inner>();
    } else if constexpr (IsDuration<T>::value) {
        return std::numeric_limits<std::int64_t>::max() / 1000000;
    } else if constexpr (std::is_integral_v<T> && sizeof(T) < sizeof(std::int64_t)) {
        return static_cast<std::int64_t>(std::numeric_limits<T>::max());
    } else {
        return std::numeric_limits<std::int64_t>::max();
    }
}

// Unit is what `value` counts: milliseconds or seconds for a duration member.
template <class Unit, class T>
void store(T& member, std::int64_t value) {
    if constexpr (IsOptional<T>::value) {
        typename IsOptional<T>::Inner inner{};
        store<Unit>(inner, value);
        member = inner;
    } else if constexpr (IsDuration<T>::value) {
        member = std::chrono::duration_cast<T>(Unit(value));
    } else {
        member = static_cast<T>(value);
    }
}

template <auto Member>
using StructOf = typename MemberOf<decltype(Member)>::Struct;
template <auto Member>
using TypeOf = typename MemberOf<decltype(Member)>::Type;
template <auto Member>
auto& member_of(void* settings) {
    return static_cast<StructOf<Member>*>(settings)->*Member;
}

using ParseValue = Expected<std::int64_t> (*)(const Statement&, const Directive&);

// All types that are one number in the end: PARSE reads and checks it.
template <auto Member, ParseValue Parse, class Unit = std::chrono::milliseconds>
Applied apply_value(Compiler&, const Statement& statement, void* settings, const Directive& row) {
    auto value = Parse(statement, row);
    if (!value) {
        return std::unexpected(std::move(value.error()));
    }
    store<Unit>(member_of<Member>(settings), *value);
    return {};
}

template <auto Member>
void clear_member(void* settings) {
    member_of<Member>(settings) = {};
}

template <auto Member>
constexpr Directive row(std::string_view name, Contexts contexts, Arity arity, ValueType type,
                        std::string_view default_text, std::string_view doc, ApplyFunction apply) {
    Directive made;
    made.name = name;
    made.contexts = contexts;
    made.arity = arity;
    made.type = type;
    made.merge = Merge::Inherit;
    made.default_text = default_text;
    made.doc = doc;
    made.maximum = capacity<TypeOf<Member>>();
    made.settings = &settings_info<StructOf<Member>>;
    made.apply = apply;
    made.clear = &clear_member<Member>;
    made.apply_default = true;
    made.default_needed = !IsOptional<TypeOf<Member>>::value;
    return made;
}

template <class F>
struct CustomFunction;
template <class S>
struct CustomFunction<Applied (*)(Compiler&, const Statement&, S&)> {
    static constexpr const SettingsInfo* info() { return &settings_info<S>; }
    template <auto Function>
    static Applied call(Compiler& compiler, const Statement& statement, void* settings,
                        const Directive&) {
        return Function(compiler, statement, *static_cast<S*>(settings));
    }
};
template <class S>
struct CustomFunction<Applied (*)(Compiler&, const Statement&, S&, const Directive&)> {
    static constexpr const SettingsInfo* info() { return &settings_info<S>; }
    template <auto Function>
    static Applied call(Compiler& compiler, const Statement& statement, void* settings,
                        const Directive& directive) {
        return Function(compiler, statement, *static_cast<S*>(settings), directive);
    }
};
template <>
struct CustomFunction<Applied (*)(Compiler&, const Statement&)> {
    static constexpr const SettingsInfo* info() { return nullptr; }
    template <auto Function>
    static Applied call(Compiler& compiler, const Statement& statement, void*, const Directive&) {
        return Function(compiler, statement);
    }
};

}  // namespace detail

// on | off, into a bool (or any integer).
template <auto Member>
constexpr Directive flag(std::string_view name, Contexts contexts, std::string_view default_text,
                         std::string_view doc) {
    return detail::row<Member>(name, contexts, kTake1, ValueType::Flag, default_text, doc,
                               &detail::apply_value<Member, &read_flag>);
}
// Bytes with k or m.
template <auto Member>
constexpr Directive size(std::string_view name, Contexts contexts, std::string_view default_text,
                         std::string_view doc) {
    return detail::row<Member>(name, contexts, kTake1, ValueType::Size, default_text, doc,
                               &detail::apply_value<Member, &read_size>);
}
// Bytes with k, m or g.
template <auto Member>
constexpr Directive offset(std::string_view name, Contexts contexts, std::string_view default_text,
                           std::string_view doc) {
    return detail::row<Member>(name, contexts, kTake1, ValueType::Offset, default_text, doc,
                               &detail::apply_value<Member, &read_offset>);
}
template <auto Member>
constexpr Directive number(std::string_view name, Contexts contexts, std::string_view default_text,
                           std::string_view doc) {
    return detail::row<Member>(name, contexts, kTake1, ValueType::Number, default_text, doc,
                               &detail::apply_value<Member, &read_number>);
}
// A time in milliseconds where no unit is written with ms; a bare number is seconds (nginx's msec
// slot).
template <auto Member>
constexpr Directive msec(std::string_view name, Contexts contexts, std::string_view default_text,
                         std::string_view doc) {
    return detail::row<Member>(name, contexts, kTake1, ValueType::Msec, default_text, doc,
                               &detail::apply_value<Member, &read_msec, std::chrono::milliseconds>);
}
// A time in whole seconds; y and M are allowed, ms is not (nginx's sec slot).
template <auto Member>
constexpr Directive seconds(std::string_view name, Contexts contexts, std::string_view default_text,
                            std::string_view doc) {
    return detail::row<Member>(name, contexts, kTake1, ValueType::Seconds, default_text, doc,
                               &detail::apply_value<Member, &read_seconds, std::chrono::seconds>);
}
// One word out of `values`, into an enum or an integer.
template <auto Member>
constexpr Directive enumeration(std::string_view name, Contexts contexts,
                                std::span<const EnumValue> values, std::string_view default_text,
                                std::string_view doc) {
    Directive made =
        detail::row<Member>(name, contexts, kTake1, ValueType::Enumeration, default_text, doc,
                            &detail::apply_value<Member, &read_enumeration>);
    made.values = values;
    return made;
}
// Several words out of `values`, or-ed into an integer.
template <auto Member>
constexpr Directive bitmask(std::string_view name, Contexts contexts,
                            std::span<const EnumValue> values, std::string_view default_text,
                            std::string_view doc) {
    Directive made = detail::row<Member>(
        name, contexts, kOneOrMore, ValueType::Bitmask, default_text, doc,
        [](Compiler& compiler, const Statement& statement, void* settings, const Directive& row) {
            auto& member = detail::member_of<Member>(settings);
            auto bits = read_bitmask(compiler, statement, row, static_cast<std::int64_t>(member));
            if (!bits) {
                return Applied(std::unexpected(std::move(bits.error())));
            }
            member = static_cast<detail::TypeOf<Member>>(*bits);
            return Applied();
        });
    made.values = values;
    made.merge = Merge::ReplaceList;
    return made;
}
// One value as text, into a std::string or an optional one.
template <auto Member>
constexpr Directive string(std::string_view name, Contexts contexts, std::string_view default_text,
                           std::string_view doc) {
    Directive made = detail::row<Member>(
        name, contexts, kTake1, ValueType::String, default_text, doc,
        [](Compiler&, const Statement& statement, void* settings, const Directive&) {
            detail::member_of<Member>(settings) = std::string(statement.arg(1));
            return Applied();
        });
    made.default_needed = false;
    return made;
}
// A file name, made absolute with the prefix.
template <auto Member>
constexpr Directive path(std::string_view name, Contexts contexts, std::string_view default_text,
                         std::string_view doc) {
    Directive made = detail::row<Member>(
        name, contexts, kTake1, ValueType::Path, default_text, doc,
        [](Compiler& compiler, const Statement& statement, void* settings, const Directive&) {
            detail::member_of<Member>(settings) = prefixed_path(compiler, statement.arg(1));
            return Applied();
        });
    made.default_needed = false;
    return made;
}
// One text a statement, into a std::vector<std::string>; a level with a statement inherits none.
template <auto Member>
constexpr Directive string_list(std::string_view name, Contexts contexts,
                                std::string_view default_text, std::string_view doc) {
    Directive made = detail::row<Member>(
        name, contexts, kTake1, ValueType::StringList, default_text, doc,
        [](Compiler&, const Statement& statement, void* settings, const Directive&) {
            detail::member_of<Member>(settings).emplace_back(statement.arg(1));
            return Applied();
        });
    made.merge = Merge::ReplaceList;
    made.default_needed = false;
    return made;
}
// A name and a text a statement, into a std::vector<KeyValue>; a level with a statement inherits
// none.
template <auto Member>
constexpr Directive key_values(std::string_view name, Contexts contexts,
                               std::string_view default_text, std::string_view doc) {
    Directive made = detail::row<Member>(
        name, contexts, kTake2, ValueType::KeyValues, default_text, doc,
        [](Compiler&, const Statement& statement, void* settings, const Directive&) {
            detail::member_of<Member>(settings).emplace_back(statement.arg(1), statement.arg(2));
            return Applied();
        });
    made.merge = Merge::ReplaceList;
    made.default_needed = false;
    return made;
}
// A count and a size, into Buffers. within() bounds the count.
template <auto Member>
constexpr Directive buffers(std::string_view name, Contexts contexts, std::string_view default_text,
                            std::string_view doc) {
    return detail::row<Member>(
        name, contexts, kTake2, ValueType::Buffers, default_text, doc,
        [](Compiler&, const Statement& statement, void* settings, const Directive& row) {
            auto value = read_buffers(statement, row);
            if (!value) {
                return Applied(std::unexpected(std::move(value.error())));
            }
            detail::member_of<Member>(settings) = *value;
            return Applied();
        });
}
// A text with variables, into a CompiledString.
template <auto Member>
constexpr Directive complex(std::string_view name, Contexts contexts, std::string_view default_text,
                            std::string_view doc) {
    Directive made = detail::row<Member>(
        name, contexts, kTake1, ValueType::Complex, default_text, doc,
        [](Compiler& compiler, const Statement& statement, void* settings, const Directive&) {
            auto value = read_complex(compiler, statement.arg(1));
            if (!value) {
                return Applied(std::unexpected(std::move(value.error())));
            }
            detail::member_of<Member>(settings) = std::move(*value);
            return Applied();
        });
    made.default_needed = false;
    return made;
}

// Anything else. FUNCTION is one of
//     Applied f(Compiler&, const Statement&, S& settings)
//     Applied f(Compiler&, const Statement&, S& settings, const Directive& row)
//     Applied f(Compiler&, const Statement&)
// The default is documentation (S's own initialisers hold), unless with_default_applied() follows.
template <auto Function>
constexpr Directive custom(std::string_view name, Contexts contexts, Arity arity,
                           std::string_view default_text, std::string_view doc) {
    using Bound = detail::CustomFunction<decltype(Function)>;
    Directive made;
    made.name = name;
    made.contexts = contexts;
    made.arity = arity;
    made.type = (arity & kLuaBlock) != 0 ? ValueType::LuaBlock
                : (arity & kBlock) != 0  ? ValueType::Block
                                         : ValueType::Custom;
    made.default_text = default_text;
    made.doc = doc;
    made.settings = Bound::info();
    made.apply = &Bound::template call<Function>;
    return made;
}

// A block whose body is compiled: ENTER is `Applied f(Compiler&, const Statement&)` and calls
// Compiler::walk(). Deferred unless immediate() follows. Give kTake1 and so on in `arity` for its
// values; kBlock is added.
template <auto Enter>
constexpr Directive block(std::string_view name, Contexts contexts, Arity arity,
                          std::string_view doc) {
    Directive made;
    made.name = name;
    made.contexts = contexts;
    made.arity = arity | kBlock;
    made.type = ValueType::Block;
    made.doc = doc;
    made.enter = Enter;
    made.deferred = true;
    return made;
}

template <auto Function>
constexpr Directive Directive::in_order() const {
    using Bound = detail::CustomFunction<decltype(Function)>;
    Directive row = *this;
    row.settings = Bound::info();
    row.apply = &Bound::template call<Function>;
    return row;
}

template <auto Member>
constexpr Directive Directive::clears() const {
    Directive row = *this;
    row.merge = Merge::ReplaceList;
    row.clear = &detail::clear_member<Member>;
    return row;
}

}  // namespace moongate::conf
