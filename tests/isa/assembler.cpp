// SPDX-License-Identifier: Apache-2.0
#include "tests/isa/assembler.hpp"

#include <linux/bpf.h>

#include <cstring>
#include <map>
#include <optional>
#include <string_view>

#include "bpf/isa.hpp"
#include "tests/isa/text.hpp"

namespace taskwork::isa {

namespace {

using bpf::CallKind;
using bpf::Pseudo;

struct Operator {
    std::string_view token;
    int code;
    std::int16_t off = 0;
};
// No token comes after one that it begins with.
constexpr Operator kAssignments[] = {{"s>>=", BPF_ARSH},
                                     {"s/=", BPF_DIV, bpf::kSignedDivision},
                                     {"s%=", BPF_MOD, bpf::kSignedDivision},
                                     {"+=", BPF_ADD},
                                     {"-=", BPF_SUB},
                                     {"*=", BPF_MUL},
                                     {"/=", BPF_DIV},
                                     {"%=", BPF_MOD},
                                     {"|=", BPF_OR},
                                     {"&=", BPF_AND},
                                     {"^=", BPF_XOR},
                                     {"<<=", BPF_LSH},
                                     {">>=", BPF_RSH}};
constexpr Operator kComparisons[] = {{"s>=", BPF_JSGE}, {"s<=", BPF_JSLE}, {"s>", BPF_JSGT},
                                     {"s<", BPF_JSLT},  {"==", BPF_JEQ},   {"!=", BPF_JNE},
                                     {">=", BPF_JGE},   {"<=", BPF_JLE},   {">", BPF_JGT},
                                     {"<", BPF_JLT},    {"&", BPF_JSET}};
constexpr Operator kWidths[] = {{"u8", BPF_B}, {"u16", BPF_H}, {"u32", BPF_W}, {"u64", BPF_DW},
                                {"s8", BPF_B}, {"s16", BPF_H}, {"s32", BPF_W}};
constexpr Operator kFetches[] = {{"fetch_add", BPF_ADD | BPF_FETCH},
                                 {"fetch_or", BPF_OR | BPF_FETCH},
                                 {"fetch_and", BPF_AND | BPF_FETCH},
                                 {"fetch_xor", BPF_XOR | BPF_FETCH},
                                 {"xchg", BPF_XCHG},
                                 {"cmpxchg", BPF_CMPXCHG}};

template <std::size_t N>
const Operator* take_operator(Text& text, const Operator (&table)[N]) {
    for (const Operator& one : table) {
        if (text.take(one.token)) {
            return &one;
        }
    }
    return nullptr;
}

class Assembler {
public:
    std::vector<std::uint8_t> assemble(const std::vector<std::string>& lines) {
        for (std::size_t i = 0; i < lines.size(); ++i) {
            try {
                statement(lines[i]);
            } catch (const Wrong& wrong) {
                throw Wrong("'" + lines[i] + "': " + wrong.what());
            }
        }
        resolve();
        return std::move(bytes_);
    }

private:
    static constexpr std::uint64_t kTimesMax = 100'000;
    enum class Field : std::uint8_t { offset, immediate };
    struct Reference {
        std::size_t at;    ///< Byte of the instruction.
        std::size_t from;  ///< Byte that the distance counts from.
        Field field;
        std::string label;
    };

    void emit(unsigned code, unsigned dst, unsigned src, int off, std::int32_t imm) {
        const auto bits = static_cast<std::uint16_t>(off);
        std::uint8_t insn[8] = {
            static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(dst | src << 4),
            static_cast<std::uint8_t>(bits & 0xff), static_cast<std::uint8_t>(bits >> 8)};
        std::memcpy(insn + 4, &imm, 4);
        bytes_.insert(bytes_.end(), insn, insn + 8);
    }
    void emit_wide(unsigned dst, Pseudo pseudo, std::uint64_t value) {
        emit(bpf::kLoadImmediate64, dst, static_cast<unsigned>(pseudo), 0,
             static_cast<std::int32_t>(value));
        emit(0, 0, 0, 0, static_cast<std::int32_t>(value >> 32));
    }

    void statement(std::string_view line) {
        Text text(line);
        if (text.at_end()) {
            return;
        }
        if (line.ends_with(':')) {
            label(text);
            return;
        }
        if (text.take("raw")) {
            Result<std::vector<std::uint8_t>> raw = bytes_of_hex(std::string(text.rest()));
            if (!raw) {
                throw Wrong(raw.error().text);
            }
            bytes_.insert(bytes_.end(), raw->begin(), raw->end());
            return;
        }
        if (text.take("times")) {
            const std::uint64_t times = text.need_number();
            if (times > kTimesMax) {
                throw Wrong("more than " + std::to_string(kTimesMax) + " times");
            }
            for (std::uint64_t i = 0; i < times; ++i) {
                statement(text.rest());
            }
            return;
        }
        instruction(text);
        if (!text.at_end()) {
            text.fail("the end of the line");
        }
    }
    void label(Text& text) {
        const std::string name(text.take_word());
        text.need(":");
        if (name.empty() || !text.at_end() || !labels_.emplace(name, bytes_.size()).second) {
            throw Wrong("no label, or one that is there already");
        }
    }
    void instruction(Text& text) {
        if (text.take("exit")) {
            emit(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
        } else if (text.take("goto")) {
            target(text, BPF_JMP | BPF_JA, Field::offset);
        } else if (text.take("gotol")) {
            target(text, BPF_JMP32 | BPF_JA, Field::immediate);
        } else if (text.take("may_goto")) {
            target(text, BPF_JMP | bpf::kOpConditionalPseudo, Field::offset);
        } else if (text.take("if")) {
            jump(text);
        } else if (text.take("callx")) {
            emit(BPF_JMP | BPF_CALL | BPF_X, text.need_register('r'), 0, 0, 0);
        } else if (text.take("call")) {
            call(text);
        } else if (text.take("lock")) {
            locked(text);
        } else if (text.take("store_release")) {
            text.need("(");
            const Place place = need_place(text);
            text.need(",");
            emit(BPF_STX | bpf::kModeAtomic | place.size, place.base, text.need_register('r'),
                 place.off, bpf::kAtomicStoreRelease);
            text.need(")");
        } else if (text.next() == '*') {
            store(text);
        } else {
            assignment(text);
        }
    }

    struct Place {
        int size;
        bool is_signed;
        unsigned base;
        std::int16_t off;
    };
    /// "(u32 *)(r1 +4)"
    static Place need_place(Text& text) {
        text.need("(");
        const bool is_signed = text.next() == 's';
        const Operator* width = take_operator(text, kWidths);
        if (width == nullptr) {
            text.fail("u8, u16, u32, u64, s8, s16 or s32");
        }
        text.need("*");
        text.need(")");
        text.need("(");
        const unsigned base = text.need_register('r');
        const std::int16_t off = text.need_offset();
        text.need(")");
        return {width->code, is_signed, base, off};
    }

    /// A distance or a label: the rest of a jump or call, which is emitted.
    void target(Text& text, unsigned code, Field field, unsigned dst = 0, unsigned src = 0,
                std::int32_t imm = 0) {
        const bool relative = text.take("pc") || text.next() == '+' || text.next() == '-';
        if (relative && field == Field::offset) {
            emit(code, dst, src, text.need_offset(), imm);
        } else if (relative) {
            emit(code, dst, src, 0, text.need_immediate());
        } else {
            refer(text, bytes_.size() + 8, field);
            emit(code, dst, src, 0, imm);
        }
    }
    void refer(Text& text, std::size_t from, Field field) {
        const std::string name(text.take_word());
        if (name.empty()) {
            text.fail("a distance or a label");
        }
        references_.push_back({bytes_.size(), from, field, name});
    }
    void jump(Text& text) {
        const char letter = text.next();
        const unsigned dst = text.need_register(letter == 'w' ? 'w' : 'r');
        const Operator* comparison = take_operator(text, kComparisons);
        if (comparison == nullptr) {
            text.fail("a comparison");
        }
        const unsigned code =
            static_cast<unsigned>(comparison->code) | (letter == 'w' ? BPF_JMP32 : BPF_JMP);
        const std::optional<unsigned> src = text.take_register(letter);
        const std::int32_t imm = src ? 0 : text.need_immediate();
        text.need("goto");
        target(text, code | (src ? BPF_X : BPF_K), Field::offset, dst, src.value_or(0), imm);
    }
    void call(Text& text) {
        const char next = text.next();
        if (next >= '0' && next <= '9') {
            emit(BPF_JMP | BPF_CALL, 0, 0, 0, text.need_immediate());
            return;
        }
        Text behind = text;
        behind.take_word();
        if (behind.take("#")) {  // name#number, as the log has it
            text = behind;
            emit(BPF_JMP | BPF_CALL, 0, 0, 0, text.need_immediate());
            return;
        }
        target(text, BPF_JMP | BPF_CALL, Field::immediate, 0,
               static_cast<unsigned>(CallKind::subprogram));
    }
    void locked(Text& text) {
        text.need("*");
        const Place place = need_place(text);
        const Operator* operation = take_operator(text, kAssignments);
        if (operation == nullptr) {
            text.fail("an operator");
        }
        emit(BPF_STX | bpf::kModeAtomic | place.size, place.base, text.need_register('r'),
             place.off, operation->code);
    }
    void store(Text& text) {
        text.need("*");
        const Place place = need_place(text);
        text.need("=");
        if (const std::optional<unsigned> src = text.take_register('r')) {
            emit(BPF_STX | BPF_MEM | place.size, place.base, *src, place.off, 0);
        } else {
            emit(BPF_ST | BPF_MEM | place.size, place.base, 0, place.off, text.need_immediate());
        }
    }

    void assignment(Text& text) {
        const bool wide = text.next() != 'w';
        const char letter = wide ? 'r' : 'w';
        const unsigned dst = text.need_register(letter);
        const unsigned width = wide ? BPF_ALU64 : BPF_ALU;
        const Operator* operation = take_operator(text, kAssignments);
        if (operation == nullptr) {
            text.need("=");
            value(text, dst, letter, width);
            return;
        }
        const unsigned code = width | static_cast<unsigned>(operation->code);
        if (const std::optional<unsigned> src = text.take_register(letter)) {
            emit(code | BPF_X, dst, *src, operation->off, 0);
        } else {
            emit(code | BPF_K, dst, 0, operation->off, text.need_immediate());
        }
    }
    /// What stands behind "r1 =".
    void value(Text& text, unsigned dst, char letter, unsigned width) {
        if (const std::optional<unsigned> src = text.take_register(letter)) {
            emit(width | BPF_MOV | BPF_X, dst, *src, 0, 0);
        } else if (text.next() == '(') {
            sign_extension(text, dst, letter, width);
        } else if (text.next() == '*') {
            text.need("*");
            const Place place = need_place(text);
            const unsigned mode = place.is_signed ? bpf::kModeLoadSigned : BPF_MEM;
            emit(BPF_LDX | mode | static_cast<unsigned>(place.size), dst, place.base, place.off, 0);
        } else if (text.take("&")) {
            refer(text, bytes_.size() + 8, Field::immediate);
            emit_wide(dst, Pseudo::function, 0);
        } else if (text.take("load_acquire")) {
            text.need("(");
            const Place place = need_place(text);
            text.need(")");
            emit(BPF_STX | bpf::kModeAtomic | place.size, dst, place.base, place.off,
                 bpf::kAtomicLoadAcquire);
        } else if (!fetch(text, dst) && !byte_swap(text, dst)) {
            negation_or_number(text, dst, letter, width);
        }
    }
    void sign_extension(Text& text, unsigned dst, char letter, unsigned width) {
        text.need("(");
        const int bits = text.take("s8") ? 8 : text.take("s16") ? 16 : text.take("s32") ? 32 : 0;
        if (bits == 0) {
            text.fail("s8, s16 or s32");
        }
        text.need(")");
        emit(width | BPF_MOV | BPF_X, dst, text.need_register(letter), bits, 0);
    }
    bool fetch(Text& text, unsigned dst) {
        Text behind = text;
        std::string_view word = behind.take_word();
        if (!word.starts_with("atomic")) {
            return false;
        }
        const bool wide = word.starts_with("atomic64_");
        word.remove_prefix(
            std::min(word.size(), std::string_view(wide ? "atomic64_" : "atomic_").size()));
        for (const Operator& operation : kFetches) {
            if (word == operation.token) {
                text = behind;
                fetch(text, dst, wide, operation.code);
                return true;
            }
        }
        text.fail("an atomic operation");
    }
    void fetch(Text& text, unsigned dst, bool wide, std::int32_t operation) {
        text.need("(");
        const Place place = need_place(text);
        text.need(",");
        const bool compares = operation == BPF_CMPXCHG;
        if (compares) {
            text.need("r0");
            text.need(",");
        }
        const unsigned src = text.need_register('r');
        text.need(")");
        if (place.size != (wide ? BPF_DW : BPF_W) || dst != (compares ? 0 : src)) {
            throw Wrong("there is no such atomic instruction");
        }
        emit(BPF_STX | bpf::kModeAtomic | place.size, place.base, src, place.off, operation);
    }
    /// "be16 r1": the register is the one that is assigned.
    bool byte_swap(Text& text, unsigned dst) {
        struct Kind {
            const char* name;
            unsigned code;
        };
        static constexpr Kind kinds[] = {{"bswap", BPF_ALU64 | BPF_END},
                                         {"be", BPF_ALU | BPF_END | BPF_TO_BE},
                                         {"le", BPF_ALU | BPF_END | BPF_TO_LE}};
        for (const Kind& kind : kinds) {
            for (const int bits : {16, 32, 64}) {
                if (text.take(kind.name + std::to_string(bits))) {
                    if (text.need_register('r') != dst) {
                        throw Wrong("the register is another one");
                    }
                    emit(kind.code, dst, 0, 0, bits);
                    return true;
                }
            }
        }
        return false;
    }
    void negation_or_number(Text& text, unsigned dst, char letter, unsigned width) {
        Text behind = text;
        if (behind.take("-") && behind.take_register(letter) == dst) {
            text = behind;
            emit(width | BPF_NEG, dst, 0, 0, 0);
            return;
        }
        const std::uint64_t number = text.need_number();
        if (letter == 'r' && text.take("ll")) {
            emit_wide(dst, Pseudo::none, number);
        } else {
            emit(width | BPF_MOV | BPF_K, dst, 0, 0, text.to_immediate(number));
        }
    }

    void resolve() {
        for (const Reference& reference : references_) {
            const auto found = labels_.find(reference.label);
            if (found == labels_.end()) {
                throw Wrong("there is no label '" + reference.label + "'");
            }
            const auto distance = (static_cast<std::int64_t>(found->second) -
                                   static_cast<std::int64_t>(reference.from)) /
                                  8;
            const bool is_offset = reference.field == Field::offset;
            if (is_offset && (distance < INT16_MIN || distance > INT16_MAX)) {
                throw Wrong("label '" + reference.label + "' is too far away");
            }
            std::memcpy(&bytes_[reference.at + (is_offset ? 2 : 4)], &distance, is_offset ? 2 : 4);
        }
    }

    std::vector<std::uint8_t> bytes_;
    std::map<std::string, std::size_t> labels_;
    std::vector<Reference> references_;
};

}  // namespace

Result<std::vector<std::uint8_t>> assemble(const std::vector<std::string>& lines) {
    try {
        return Assembler().assemble(lines);
    } catch (const Wrong& wrong) {
        return Error{std::errc::invalid_argument, wrong.what()};
    }
}

}  // namespace taskwork::isa
