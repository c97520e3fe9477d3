// SPDX-License-Identifier: Apache-2.0
//
// Arithmetic: on numbers what scalar.hpp says; pointers move by numbers, within limits.
#include <cerrno>
#include <cinttypes>

#include "bpf/verifier/walk.hpp"

namespace taskwork::bpf::verifier {

namespace {

/// No pointer is moved further than this by one step or in sum.
constexpr std::int64_t kOffsetMax = std::int64_t{1} << 29;

Alu operation_of(const bpf_insn& insn) {
    const bool is_signed = insn.off == kSignedDivision;
    switch (BPF_OP(insn.code)) {
    case BPF_ADD:
        return Alu::add;
    case BPF_SUB:
        return Alu::sub;
    case BPF_MUL:
        return Alu::mul;
    case BPF_DIV:
        return is_signed ? Alu::sdiv : Alu::div;
    case BPF_MOD:
        return is_signed ? Alu::smod : Alu::mod;
    case BPF_OR:
        return Alu::bit_or;
    case BPF_AND:
        return Alu::bit_and;
    case BPF_XOR:
        return Alu::bit_xor;
    case BPF_LSH:
        return Alu::lsh;
    case BPF_RSH:
        return Alu::rsh;
    default:
        return Alu::arsh;
    }
}

}  // namespace

bool Walk::alu() {
    const bpf_insn& at = insn();
    const bool wide = BPF_CLASS(at.code) == BPF_ALU64;
    const unsigned operation = BPF_OP(at.code);
    if (operation == BPF_MOV) {
        return move(at, wide);
    }
    const bool unary = operation == BPF_NEG || operation == BPF_END;
    if (!unary && BPF_SRC(at.code) == BPF_X && !may_read(at.src_reg)) {
        return false;
    }
    if (!may_read(at.dst_reg)) {
        return false;
    }
    Register& dst = reg(at.dst_reg);
    if (!unary) {
        return arithmetic(at, wide);
    }
    if (!dst.is_scalar()) {
        dst = Register::unknown();
    } else if (operation == BPF_NEG) {
        dst = Register::number(negate(wide, dst.value));
    } else {
        const bool swapped = wide || BPF_SRC(at.code) == BPF_TO_BE;
        dst = Register::number(byte_swap(dst.value, static_cast<unsigned>(at.imm), swapped));
    }
    return true;
}

bool Walk::move(const bpf_insn& at, bool wide) {
    Register& dst = reg(at.dst_reg);
    if (BPF_SRC(at.code) == BPF_K) {
        dst = Register::constant(wide ? static_cast<std::uint64_t>(std::int64_t{at.imm})
                                      : static_cast<std::uint32_t>(at.imm));
        return true;
    }
    if (!may_read(at.src_reg)) {
        return false;
    }
    Register& src = reg(at.src_reg);
    if (src.is_pointer()) {
        dst = wide && at.off == 0 ? src : Register::unknown();
        return true;
    }
    if (at.off != 0) {
        dst = Register::number(sign_extend(src.value, static_cast<unsigned>(at.off), wide));
        return true;
    }
    if (wide || src.value.u64.max <= UINT32_MAX) {
        if (src.id == 0 && !src.value.is_constant()) {
            src.id = new_id();
        }
        dst = src;
    } else {
        dst = Register::number(low_word(src.value));
    }
    return true;
}

bool Walk::arithmetic(const bpf_insn& at, bool wide) {
    Register& dst = reg(at.dst_reg);
    const Register src = BPF_SRC(at.code) == BPF_X
                             ? reg(at.src_reg)
                             : Register::constant(static_cast<std::uint64_t>(std::int64_t{at.imm}));
    const unsigned operation = BPF_OP(at.code);
    if (dst.is_scalar() && src.is_scalar()) {
        Register result = Register::number(apply(operation_of(at), wide, dst.value, src.value));
        // A sum with a constant says as much of the other numbers of its id.
        if (wide && operation == BPF_ADD && BPF_SRC(at.code) == BPF_K && dst.id != 0) {
            const std::int64_t delta = std::int64_t{dst.delta} + at.imm;
            if (delta == static_cast<std::int32_t>(delta)) {
                result.id = dst.id;
                result.delta = static_cast<std::int32_t>(delta);
            }
        }
        dst = result;
        return true;
    }
    if (!wide) {
        if (operation == BPF_SUB) {
            dst = Register::unknown();
            return true;
        }
        return refuse(EACCES, "R%d 32-bit pointer arithmetic prohibited", at.dst_reg);
    }
    if (dst.is_pointer() && src.is_pointer()) {
        if (operation == BPF_SUB) {
            dst = Register::unknown();
            return true;
        }
        return refuse(EACCES, "R%d pointer %s pointer prohibited", at.dst_reg,
                      operator_of(at.code));
    }
    const bool number_is_source = src.is_scalar();
    if (number_is_source && BPF_SRC(at.code) == BPF_X) {
        make_precise(at.src_reg);
    } else if (!number_is_source) {
        make_precise(at.dst_reg);
    }
    const Register pointer = number_is_source ? dst : src;
    const Register number = number_is_source ? src : dst;
    if (!number_is_source && operation == BPF_SUB) {
        return refuse(EACCES, "R%d tried to subtract pointer from scalar", at.dst_reg);
    }
    return add_to_pointer(at.dst_reg, pointer, number, operation,
                          number_is_source ? at.dst_reg : at.src_reg);
}

/// Whether a pointer with this number in its offset is within what can be reasoned about.
bool Walk::check_offset(const Register& number, const Register& pointer) {
    const Scalar& value = number.value;
    const std::string type = type_name(pointer);
    const std::int64_t min = value.s64.min;
    if (value.is_constant() && (min >= kOffsetMax || min <= -kOffsetMax)) {
        return refuse(EINVAL, "math between %s pointer and %" PRId64 " is not allowed",
                      type.c_str(), min);
    }
    if (pointer.offset >= kOffsetMax || pointer.offset <= -kOffsetMax) {
        return refuse(EINVAL, "%s pointer offset %d is not allowed", type.c_str(), pointer.offset);
    }
    // What the kernel does not follow as far is unbounded to it, and better called so.
    constexpr std::int64_t far = -(std::int64_t{1} << 33);
    if (!value.is_constant() && min < far) {
        return refuse(
            EINVAL, "math between %s pointer and register with unbounded min value is not allowed",
            type.c_str());
    }
    if (min >= kOffsetMax || min <= -kOffsetMax) {
        return refuse(EINVAL, "value %" PRId64 " makes %s pointer be out of bounds", min,
                      type.c_str());
    }
    return true;
}

bool Walk::add_to_pointer(unsigned dst, const Register& pointer, const Register& number,
                          unsigned operation, unsigned pointer_number) {
    const bool subtracts = operation == BPF_SUB;
    if (pointer.or_null) {
        return refuse(EACCES, "R%u pointer arithmetic on %s prohibited, null-check it first",
                      pointer_number, type_name(pointer).c_str());
    }
    if (pointer.type == Type::function ||
        (pointer.type == Type::map_pointer && !number.is_null())) {
        return refuse(EACCES, "R%u pointer arithmetic on %s prohibited", pointer_number,
                      type_name(pointer).c_str());
    }
    if (subtracts && pointer.type == Type::stack) {
        return refuse(EACCES, "R%u subtraction from stack pointer prohibited", dst);
    }
    if (operation == BPF_AND || operation == BPF_OR || operation == BPF_XOR) {
        return refuse(EACCES, "R%u bitwise operator %s on pointer prohibited", dst,
                      operator_of(operation));
    }
    if (operation != BPF_ADD && !subtracts) {
        return refuse(EACCES, "R%u pointer arithmetic with %s operator prohibited", dst,
                      operator_of(operation));
    }
    if (!check_offset(number, pointer)) {
        return false;
    }
    Register result = pointer;
    if (number.value.is_constant()) {
        const std::int64_t delta = number.value.s64.min;
        result.offset += static_cast<std::int32_t>(subtracts ? -delta : delta);
    } else {
        result.value = apply(subtracts ? Alu::sub : Alu::add, true, pointer.value, number.value);
    }
    Register sum = Register::number(result.value);
    if (!check_offset(sum, result)) {
        return false;
    }
    reg(dst) = result;
    return true;
}

}  // namespace taskwork::bpf::verifier
