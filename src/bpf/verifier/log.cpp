// SPDX-License-Identifier: Apache-2.0
#include "bpf/verifier/log.hpp"

#include <cinttypes>
#include <cstdio>
#include <iterator>

#include "bpf/helpers.hpp"
#include "bpf/instruction.hpp"
#include "bpf/kfuncs.hpp"

namespace taskwork::bpf::verifier {

std::string text_of(const char* format, std::va_list arguments) {
    char buffer[512];
    const int length = std::vsnprintf(buffer, sizeof buffer, format, arguments);
    return length < 0 ? std::string() : std::string(buffer);
}

std::string text_of(const char* format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    std::string text = text_of(format, arguments);
    va_end(arguments);
    return text;
}

const char* name_of(Struct structure) {
    return structure == Struct::task ? "task_struct" : "mm_struct";
}

std::string describe(Tnum bits) {
    return bits.is_constant() ? std::to_string(static_cast<std::int64_t>(bits.value))
                              : text_of("(0x%" PRIx64 "; 0x%" PRIx64 ")", bits.value, bits.mask);
}

std::string type_name(const Register& reg) {
    const std::string suffix = reg.or_null ? "_or_null" : "";
    switch (reg.type) {
    case Type::none:
        return "?";
    case Type::scalar:
        return "scalar";
    case Type::context:
        return "ctx" + suffix;
    case Type::stack:
        return "fp";
    case Type::map_pointer:
        return "map_ptr";
    case Type::map_value:
        return "map_value" + suffix;
    case Type::map_key:
        return "map_key";
    case Type::memory:
        return (reg.read_only ? "rdonly_mem" : "mem") + suffix;
    case Type::record:
        return "ringbuf_mem" + suffix;
    case Type::function:
        return "func";
    case Type::kernel_struct:
        break;
    }
    static constexpr const char* prefixes[] = {"", "trusted_", "rcu_", "untrusted_"};
    return std::string(prefixes[static_cast<unsigned>(reg.trust)]) + "ptr_" +
           (reg.or_null ? "or_null_" : "");
}

namespace {

void add(std::string& list, const std::string& item) {
    if (!list.empty()) {
        list += ',';
    }
    list += item;
}

/// Decimal where the kernel has it so.
std::string of_signed(std::int64_t number) {
    return number >= INT16_MIN && number <= INT16_MAX
               ? std::to_string(number)
               : text_of("0x%" PRIx64, static_cast<std::uint64_t>(number));
}
std::string of_unsigned(std::uint64_t number) {
    return number <= UINT16_MAX ? std::to_string(number) : text_of("0x%" PRIx64, number);
}

/// The limits that say something, least ones and largest ones in turn; of those of a kind that are
/// the same number the first names it: "smin=smin32=0".
void add_ranges(std::string& list, const Scalar& v) {
    // Beyond the decimal ones the 32-bit limits are shown as the words that they are.
    const auto word = [](std::int32_t number) {
        return number >= INT16_MIN && number <= INT16_MAX
                   ? static_cast<std::uint64_t>(std::int64_t{number})
                   : std::uint64_t{static_cast<std::uint32_t>(number)};
    };
    struct Limit {
        const char* name;
        std::uint64_t number;
        bool is_said;
        [[nodiscard]] bool is_signed() const { return name[0] == 's'; }
        [[nodiscard]] bool is_negative() const {
            return is_signed() && static_cast<std::int64_t>(number) < 0;
        }
    };
    Limit limits[] = {
        {"smin", static_cast<std::uint64_t>(v.s64.min), v.s64.min == INT64_MIN},
        {"smax", static_cast<std::uint64_t>(v.s64.max), v.s64.max == INT64_MAX},
        {"umin", v.u64.min, v.u64.min == 0},
        {"umax", v.u64.max, v.u64.max == UINT64_MAX},
        {"smin32", word(v.s32.min), v.s32.min == INT32_MIN},
        {"smax32", word(v.s32.max), v.s32.max == INT32_MAX},
        {"umin32", v.u32.min, v.u32.min == 0},
        {"umax32", v.u32.max, v.u32.max == UINT32_MAX},
    };
    constexpr unsigned count = std::size(limits);
    for (unsigned i = 0; i < count; ++i) {
        const Limit& first = limits[i];
        if (first.is_said) {
            continue;
        }
        std::string names = std::string(first.name) + "=";
        for (unsigned j = i + 2; j < count; j += 2) {
            Limit& other = limits[j];
            if (!other.is_said && other.number == first.number &&
                other.is_negative() == first.is_negative()) {
                other.is_said = true;
                names += std::string(other.name) + "=";
            }
        }
        add(list, names + (first.is_signed() ? of_signed(static_cast<std::int64_t>(first.number))
                                             : of_unsigned(first.number)));
    }
    if (!v.bits.is_unknown()) {
        add(list, "var_off=" + describe(v.bits));
    }
}

/// Whether it matters which other registers are the same: of a value that was checked only where
/// it has a lock.
bool shows_id(const Register& reg) {
    return reg.id != 0 && (reg.type != Type::map_value || reg.or_null || reg.map == nullptr ||
                           map::lock_of(reg.map->fields) != map::kNoField);
}

std::string width_name(unsigned code, bool is_signed = false) {
    const char* sign = is_signed ? "s" : "u";
    switch (BPF_SIZE(code)) {
    case BPF_B:
        return std::string(sign) + "8";
    case BPF_H:
        return std::string(sign) + "16";
    case BPF_W:
        return std::string(sign) + "32";
    default:
        return std::string(sign) + "64";
    }
}

std::string alu_text(const bpf_insn& insn) {
    const bool wide = BPF_CLASS(insn.code) == BPF_ALU64;
    const char r = wide ? 'r' : 'w';
    const bool by_register = BPF_SRC(insn.code) == BPF_X;
    switch (BPF_OP(insn.code)) {
    case BPF_END: {
        const char* kind = wide ? "bswap" : by_register ? "be" : "le";
        return text_of("r%d = %s%d r%d", insn.dst_reg, kind, insn.imm, insn.dst_reg);
    }
    case BPF_NEG:
        return text_of("%c%d = -%c%d", r, insn.dst_reg, r, insn.dst_reg);
    default:
        break;
    }
    const bool is_mov = BPF_OP(insn.code) == BPF_MOV;
    const char* sign = !is_mov && insn.off == kSignedDivision ? "s" : "";
    if (!by_register) {
        return text_of("%c%d %s%s %d", r, insn.dst_reg, sign, operator_of(insn.code), insn.imm);
    }
    if (is_mov && insn.off != 0) {
        return text_of("%c%d = (s%d)%c%d", r, insn.dst_reg, insn.off, r, insn.src_reg);
    }
    return text_of("%c%d %s%s %c%d", r, insn.dst_reg, sign, operator_of(insn.code), r,
                   insn.src_reg);
}

std::string atomic_text(const bpf_insn& insn) {
    const std::string width = width_name(insn.code);
    const std::string place = text_of("(%s *)(r%d %+d)", width.c_str(), insn.dst_reg, insn.off);
    const char* bits = BPF_SIZE(insn.code) == BPF_DW ? "64" : "";
    if (insn.imm == kAtomicLoadAcquire) {
        return text_of("r%d = load_acquire((%s *)(r%d %+d))", insn.dst_reg, width.c_str(),
                       insn.src_reg, insn.off);
    }
    if (insn.imm == kAtomicStoreRelease) {
        return text_of("store_release(%s, r%d)", place.c_str(), insn.src_reg);
    }
    if (insn.imm == BPF_CMPXCHG) {
        return text_of("r0 = atomic%s_cmpxchg(%s, r0, r%d)", bits, place.c_str(), insn.src_reg);
    }
    if (insn.imm == BPF_XCHG) {
        return text_of("r%d = atomic%s_xchg(%s, r%d)", insn.src_reg, bits, place.c_str(),
                       insn.src_reg);
    }
    if ((insn.imm & BPF_FETCH) != 0) {
        const unsigned operation =
            static_cast<unsigned>(insn.imm) & ~static_cast<unsigned>(BPF_FETCH);
        const char* name = operation == BPF_ADD   ? "add"
                           : operation == BPF_AND ? "and"
                           : operation == BPF_OR  ? "or"
                                                  : "xor";
        return text_of("r%d = atomic%s_fetch_%s(%s, r%d)", insn.src_reg, bits, name, place.c_str(),
                       insn.src_reg);
    }
    return text_of("lock *%s %s r%d", place.c_str(), operator_of(static_cast<unsigned>(insn.imm)),
                   insn.src_reg);
}

std::string jump_text(const bpf_insn& insn) {
    const bool wide = BPF_CLASS(insn.code) == BPF_JMP;
    switch (BPF_OP(insn.code)) {
    case BPF_CALL:
        if (insn.src_reg == static_cast<unsigned>(CallKind::subprogram)) {
            return text_of("call pc%+d", insn.imm);
        }
        if (insn.imm == kCallNowhere) {
            return "call unknown";
        }
        if (insn.src_reg == static_cast<unsigned>(CallKind::kfunc)) {
            return text_of("call %s#%d", kfunc(insn.imm).name, insn.imm);
        }
        return "call " + helper_name(insn.imm);
    case BPF_EXIT:
        return "exit";
    case BPF_JA:
        return wide ? text_of("goto pc%+d", insn.off) : text_of("gotol pc%+d", insn.imm);
    case kOpConditionalPseudo:
        return text_of("may_goto pc%+d", insn.off);
    default:
        break;
    }
    static constexpr const char* names[16] = {
        "", "==", ">", ">=", "&", "!=", "s>", "s>=", "", "", "<", "<=", "s<", "s<=", "", ""};
    const char r = wide ? 'r' : 'w';
    const char* compare = names[BPF_OP(insn.code) >> 4];
    if (BPF_SRC(insn.code) == BPF_X) {
        return text_of("if %c%d %s %c%d goto pc%+d", r, insn.dst_reg, compare, r, insn.src_reg,
                       insn.off);
    }
    return text_of("if %c%d %s 0x%x goto pc%+d", r, insn.dst_reg, compare,
                   static_cast<unsigned>(insn.imm), insn.off);
}

}  // namespace

const char* operator_of(unsigned code) {
    static constexpr const char* names[16] = {"+=",   "-=",     "*=",  "/=", "|=", "&=",
                                              "<<=",  ">>=",    "neg", "%=", "^=", "=",
                                              "s>>=", "endian", "",    ""};
    return names[BPF_OP(code) >> 4];
}

std::string describe(const Register& reg, unsigned frame) {
    const std::string precise = reg.precise ? "P" : "";
    if (reg.type == Type::scalar && reg.value.is_constant()) {
        return precise + of_signed(static_cast<std::int64_t>(reg.value.bits.value));
    }
    std::string name = type_name(reg);
    if (reg.type == Type::stack) {
        name += reg.frame == frame ? "" : text_of("[%d]", reg.frame);
        if (reg.value.is_constant()) {
            return name + of_signed(reg.offset);
        }
    }
    std::string list;
    if (shows_id(reg)) {
        add(list, "id=" + std::to_string(reg.id));
        if (reg.is_scalar() && reg.delta != 0) {
            list += text_of("%+d", reg.delta);
        }
    }
    if (reg.reference != 0) {
        add(list, "ref_obj_id=" + std::to_string(reg.reference));
    }
    if (reg.map != nullptr) {
        add(list, "map=" + reg.map->name +
                      text_of(",ks=%u,vs=%u", reg.map->key_size, reg.map->value_size));
    }
    if (reg.is_pointer() && reg.offset != 0) {
        add(list, "off=" + of_signed(reg.offset));
    }
    if (reg.type == Type::memory || reg.type == Type::record) {
        add(list, "sz=" + of_unsigned(reg.size));
    }
    if (reg.is_scalar() || !reg.value.is_constant()) {
        add_ranges(list, reg.value);
    }
    if (reg.type == Type::kernel_struct) {
        name += name_of(reg.structure);
    }
    return precise + name + "(" + list + ")";
}

namespace {

/// " fp-8=0000????"; empty if nothing was written there.
std::string describe_slot(const Slot& slot, unsigned index, unsigned frame) {
    static constexpr char letters[] = {'?', 'm', '0', 'r', 'f', 'i'};
    const int offset = -8 * static_cast<int>(index + 1);
    if (slot.bytes[0] == Byte::iterator) {
        return text_of(" fp%d=iter_num(ref_id=%u,state=%s,depth=%u)", offset, slot.spilled.id,
                       slot.drained ? "drained" : "active", slot.depth);
    }
    // From the highest byte on; a register that was spilled comes last.
    const unsigned spilled = slot.is_spilled() ? slot.spilled_bytes() : 0;
    std::string bytes;
    bool any = spilled != 0;
    for (unsigned b = 8; b-- > spilled;) {
        bytes += letters[static_cast<unsigned>(slot.bytes[b])];
        any = any || slot.bytes[b] != Byte::unwritten;
    }
    if (!any) {
        return {};
    }
    return text_of(" fp%d=%s", offset, bytes.c_str()) +
           (spilled != 0 ? describe(slot.spilled, frame) : "");
}

}  // namespace

std::string describe_frame(const State& state, unsigned number, std::uint32_t registers,
                           std::uint64_t slots) {
    const Frame& frame = state.frames[number];
    std::string text = number != 0 ? text_of(" frame%u:", number) : "";
    for (unsigned i = 0; i < MAX_BPF_REG; ++i) {
        if (frame.registers[i].type != Type::none && (registers >> i & 1) != 0) {
            text += " R" + std::to_string(i) + "=" + describe(frame.registers[i], number);
        }
    }
    for (unsigned i = 0; i < frame.stack.size(); ++i) {
        if ((slots >> i & 1) != 0) {
            text += describe_slot(frame.stack[i], i, number);
        }
    }
    const char* separator = " refs=";
    for (const Held& held : state.held) {
        if (held.kind == HeldKind::reference) {
            text += separator + std::to_string(held.id);
            separator = ",";
        }
    }
    return text + (frame.kind == FrameKind::callback         ? " cb"
                   : frame.kind == FrameKind::async_callback ? " async_cb"
                                                             : "");
}

std::string describe(const State& state, std::uint32_t registers, std::uint64_t slots) {
    return describe_frame(state, state.depth(), registers, slots);
}

std::uint32_t registers_of(const bpf_insn& insn) {
    constexpr std::uint32_t results = 0x3f;  // R0-R5
    const std::uint32_t dst = 1U << insn.dst_reg;
    const std::uint32_t src = 1U << insn.src_reg;
    const std::uint32_t operand = BPF_SRC(insn.code) == BPF_X ? src : 0;
    const unsigned operation = BPF_OP(insn.code);
    switch (BPF_CLASS(insn.code)) {
    case BPF_ALU:
    case BPF_ALU64:
        return operation == BPF_END || operation == BPF_NEG ? dst : dst | operand;
    case BPF_LD:
    case BPF_ST:
        return dst;
    case BPF_LDX:
        return dst | src;
    case BPF_STX:
        return dst | src | (BPF_MODE(insn.code) == kModeAtomic && insn.imm == BPF_CMPXCHG ? 1 : 0);
    default:
        break;
    }
    switch (operation) {
    case BPF_CALL:
        return results;
    case BPF_EXIT:
    case BPF_JA:
    case kOpConditionalPseudo:
        return 0;
    default:
        return dst | operand;
    }
}

std::string describe(const std::vector<bpf_insn>& insns, std::uint32_t index) {
    const bpf_insn& insn = insns[index];
    std::string text = "(" + hex_byte(insn.code) + ") ";
    switch (BPF_CLASS(insn.code)) {
    case BPF_ALU:
    case BPF_ALU64:
        return text + alu_text(insn);
    case BPF_JMP:
    case BPF_JMP32:
        return text + jump_text(insn);
    case BPF_LD: {
        const std::uint64_t word = static_cast<std::uint32_t>(insn.imm) |
                                   std::uint64_t{static_cast<std::uint32_t>(insns[index + 1].imm)}
                                       << 32;
        return text + text_of("r%d = 0x%" PRIx64, insn.dst_reg, word);
    }
    case BPF_LDX:
        return text + text_of("r%d = *(%s *)(r%d %+d)", insn.dst_reg,
                              width_name(insn.code, BPF_MODE(insn.code) == kModeLoadSigned).c_str(),
                              insn.src_reg, insn.off);
    case BPF_ST:
        return text + text_of("*(%s *)(r%d %+d) = %d", width_name(insn.code).c_str(), insn.dst_reg,
                              insn.off, insn.imm);
    default:
        if (BPF_MODE(insn.code) == kModeAtomic) {
            return text + atomic_text(insn);
        }
        return text + text_of("*(%s *)(r%d %+d) = r%d", width_name(insn.code).c_str(), insn.dst_reg,
                              insn.off, insn.src_reg);
    }
}

}  // namespace taskwork::bpf::verifier
