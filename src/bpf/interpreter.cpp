// SPDX-License-Identifier: Apache-2.0
#include "bpf/interpreter.hpp"

#include <sched.h>

#include <cstddef>
#include <cstring>
#include <type_traits>

#include "bpf/checking.hpp"
#include "bpf/execution_observer.hpp"
#include "bpf/helpers.hpp"
#include "bpf/jit/code_region.hpp"
#include "bpf/kfuncs.hpp"
#include "map/program_array.hpp"
#include "map/ring_buffer.hpp"

namespace taskwork::bpf {

#ifdef TASKWORK_CHECKING
ExecutionObserver* ExecutionObserver::current = nullptr;
#endif

namespace {

// Arithmetic of both widths by overload, T = uint32_t or uint64_t. Shift counts are taken modulo
// the width; x / 0 = 0 and x % 0 = x; the most negative number divided by -1 is itself.

template <class T>
constexpr std::make_signed_t<T> as_signed(T value) noexcept {
    return static_cast<std::make_signed_t<T>>(value);
}
template <class T>
constexpr T shift_count(T count) noexcept {
    return count & (sizeof(T) * 8 - 1);
}
template <class T>
constexpr T shift_right_signed(T value, T count) noexcept {
    return static_cast<T>(as_signed(value) >> shift_count(count));
}
template <class T>
constexpr T divide(T a, T b, std::int16_t kind) noexcept {
    if (b == 0) {
        return 0;
    }
    if (kind != kSignedDivision) {
        return a / b;
    }
    return b == static_cast<T>(-1) ? static_cast<T>(0) - a
                                   : static_cast<T>(as_signed(a) / as_signed(b));
}
template <class T>
constexpr T modulo(T a, T b, std::int16_t kind) noexcept {
    if (b == 0) {
        return a;
    }
    if (kind != kSignedDivision) {
        return a % b;
    }
    return b == static_cast<T>(-1) ? 0 : static_cast<T>(as_signed(a) % as_signed(b));
}
/// mov and movsx: `bits` is 0 for a plain move.
template <class T>
constexpr T move(T value, std::int16_t bits) noexcept {
    switch (bits) {
    case 8:
        return static_cast<T>(static_cast<std::int8_t>(value));
    case 16:
        return static_cast<T>(static_cast<std::int16_t>(value));
    case 32:
        return static_cast<T>(static_cast<std::int32_t>(value));
    default:
        return value;
    }
}

constexpr std::uint64_t swap_bytes(std::uint64_t value, std::int32_t bits) noexcept {
    switch (bits) {
    case 16:
        return __builtin_bswap16(static_cast<std::uint16_t>(value));
    case 32:
        return __builtin_bswap32(static_cast<std::uint32_t>(value));
    default:
        return __builtin_bswap64(value);
    }
}
/// To little endian, on a little-endian machine: only the truncation remains.
constexpr std::uint64_t truncate(std::uint64_t value, std::int32_t bits) noexcept {
    switch (bits) {
    case 16:
        return static_cast<std::uint16_t>(value);
    case 32:
        return static_cast<std::uint32_t>(value);
    default:
        return value;
    }
}

// Programs on several threads share map values without locks, as they do in the kernel; an aligned
// access is one access there too.

template <class T>
T load(std::uint64_t address) noexcept {
    if (address % sizeof(T) == 0) {
        return __atomic_load_n(reinterpret_cast<const T*>(address), __ATOMIC_RELAXED);
    }
    T value;
    std::memcpy(&value, reinterpret_cast<const void*>(address), sizeof(T));
    return value;
}
/// A probe may stand for a load that acquires.
template <class T>
T load_acquire(std::uint64_t address) noexcept {
    return address % sizeof(T) == 0
               ? __atomic_load_n(reinterpret_cast<const T*>(address), __ATOMIC_ACQUIRE)
               : load<T>(address);
}
template <class T>
void store(std::uint64_t address, std::uint64_t value) noexcept {
    const T narrow = static_cast<T>(value);
    if (address % sizeof(T) == 0) {
        __atomic_store_n(reinterpret_cast<T*>(address), narrow, __ATOMIC_RELAXED);
        return;
    }
    std::memcpy(reinterpret_cast<void*>(address), &narrow, sizeof(T));
}

/// An atomic operation with full order. Returns false for an operation that does not exist.
template <class T>
bool modify(std::uint64_t address, std::int32_t operation, std::uint64_t& source,
            std::uint64_t& r0) noexcept {
    T* target = reinterpret_cast<T*>(address);
    const T operand = static_cast<T>(source);
    T old = 0;
    switch (operation & ~BPF_FETCH) {
    case BPF_ADD:
        old = __atomic_fetch_add(target, operand, __ATOMIC_SEQ_CST);
        break;
    case BPF_OR:
        old = __atomic_fetch_or(target, operand, __ATOMIC_SEQ_CST);
        break;
    case BPF_AND:
        old = __atomic_fetch_and(target, operand, __ATOMIC_SEQ_CST);
        break;
    case BPF_XOR:
        old = __atomic_fetch_xor(target, operand, __ATOMIC_SEQ_CST);
        break;
    case BPF_XCHG & ~BPF_FETCH:
        old = __atomic_exchange_n(target, operand, __ATOMIC_SEQ_CST);
        break;
    case BPF_CMPXCHG & ~BPF_FETCH: {
        T expected = static_cast<T>(r0);
        __atomic_compare_exchange_n(target, &expected, operand, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST);
        r0 = expected;
        return true;
    }
    default:
        return false;
    }
    if ((operation & BPF_FETCH) != 0) {
        source = old;
    }
    return true;
}

}  // namespace

// An operation of both widths with both kinds of operand; `a` and `b` are the operands.
#define TW_ALU(OPERATION, EXPRESSION)                                                              \
    case BPF_ALU64 | (OPERATION) | BPF_X: {                                                        \
        const std::uint64_t a = r[insn.dst_reg];                                                   \
        const std::uint64_t b = r[insn.src_reg];                                                   \
        static_cast<void>(a);                                                                      \
        r[insn.dst_reg] = (EXPRESSION);                                                            \
        break;                                                                                     \
    }                                                                                              \
    case BPF_ALU64 | (OPERATION) | BPF_K: {                                                        \
        const std::uint64_t a = r[insn.dst_reg];                                                   \
        const auto b = static_cast<std::uint64_t>(std::int64_t{insn.imm});                         \
        static_cast<void>(a);                                                                      \
        r[insn.dst_reg] = (EXPRESSION);                                                            \
        break;                                                                                     \
    }                                                                                              \
    case BPF_ALU | (OPERATION) | BPF_X: {                                                          \
        const auto a = static_cast<std::uint32_t>(r[insn.dst_reg]);                                \
        const auto b = static_cast<std::uint32_t>(r[insn.src_reg]);                                \
        static_cast<void>(a);                                                                      \
        r[insn.dst_reg] = static_cast<std::uint32_t>(EXPRESSION);                                  \
        break;                                                                                     \
    }                                                                                              \
    case BPF_ALU | (OPERATION) | BPF_K: {                                                          \
        const auto a = static_cast<std::uint32_t>(r[insn.dst_reg]);                                \
        const auto b = static_cast<std::uint32_t>(insn.imm);                                       \
        static_cast<void>(a);                                                                      \
        r[insn.dst_reg] = static_cast<std::uint32_t>(EXPRESSION);                                  \
        break;                                                                                     \
    }

#define TW_JUMP(OPERATION, CONDITION)                                                              \
    case BPF_JMP | (OPERATION) | BPF_X: {                                                          \
        const std::uint64_t a = r[insn.dst_reg];                                                   \
        const std::uint64_t b = r[insn.src_reg];                                                   \
        pc += (CONDITION) ? insn.off : 0;                                                          \
        break;                                                                                     \
    }                                                                                              \
    case BPF_JMP | (OPERATION) | BPF_K: {                                                          \
        const std::uint64_t a = r[insn.dst_reg];                                                   \
        const auto b = static_cast<std::uint64_t>(std::int64_t{insn.imm});                         \
        pc += (CONDITION) ? insn.off : 0;                                                          \
        break;                                                                                     \
    }                                                                                              \
    case BPF_JMP32 | (OPERATION) | BPF_X: {                                                        \
        const auto a = static_cast<std::uint32_t>(r[insn.dst_reg]);                                \
        const auto b = static_cast<std::uint32_t>(r[insn.src_reg]);                                \
        pc += (CONDITION) ? insn.off : 0;                                                          \
        break;                                                                                     \
    }                                                                                              \
    case BPF_JMP32 | (OPERATION) | BPF_K: {                                                        \
        const auto a = static_cast<std::uint32_t>(r[insn.dst_reg]);                                \
        const auto b = static_cast<std::uint32_t>(insn.imm);                                       \
        pc += (CONDITION) ? insn.off : 0;                                                          \
        break;                                                                                     \
    }

// A load of TYPE (signed: sign-extended), and both stores.
#define TW_LOAD(OPCODE, TYPE)                                                                      \
    case OPCODE: {                                                                                 \
        const std::uint64_t address = r[insn.src_reg] + as_offset(insn.off);                       \
        if (__builtin_expect(!is_readable(*this, address, sizeof(TYPE)), 0)) {                     \
            return stop(FaultKind::bad_load);                                                      \
        }                                                                                          \
        r[insn.dst_reg] = static_cast<std::uint64_t>(                                              \
            static_cast<TYPE>(load<std::make_unsigned_t<TYPE>>(address)));                         \
        break;                                                                                     \
    }
// As TW_LOAD, but 0 where there is nothing: a null pointer to a kernel struct, or one in it.
#define TW_PROBE(OPCODE, TYPE)                                                                     \
    case OPCODE: {                                                                                 \
        const std::uint64_t address = r[insn.src_reg] + as_offset(insn.off);                       \
        r[insn.dst_reg] = is_probed(*this, address, sizeof(TYPE))                                  \
                              ? static_cast<std::uint64_t>(static_cast<TYPE>(                      \
                                    load_acquire<std::make_unsigned_t<TYPE>>(address)))            \
                              : 0;                                                                 \
        break;                                                                                     \
    }
#define TW_STORE(SIZE, TYPE)                                                                       \
    case BPF_STX | BPF_MEM | (SIZE):                                                               \
    case BPF_ST | BPF_MEM | (SIZE): {                                                              \
        const std::uint64_t address = r[insn.dst_reg] + as_offset(insn.off);                       \
        if (__builtin_expect(!is_writable(*this, address, sizeof(TYPE)), 0)) {                     \
            return stop(FaultKind::bad_store);                                                     \
        }                                                                                          \
        store<TYPE>(address, BPF_CLASS(insn.code) == BPF_STX                                       \
                                 ? r[insn.src_reg]                                                 \
                                 : static_cast<std::uint64_t>(std::int64_t{insn.imm}));            \
        break;                                                                                     \
    }
#define TW_ATOMIC(SIZE, TYPE)                                                                      \
    case BPF_STX | kModeAtomic | (SIZE): {                                                         \
        if (insn.imm == kAtomicLoadAcquire) {                                                      \
            const std::uint64_t address = r[insn.src_reg] + as_offset(insn.off);                   \
            if (kIsChecking &&                                                                     \
                (address % sizeof(TYPE) != 0 || !may_read(address, sizeof(TYPE)))) {               \
                return stop(FaultKind::bad_load);                                                  \
            }                                                                                      \
            r[insn.dst_reg] = __atomic_load_n(reinterpret_cast<TYPE*>(address), __ATOMIC_ACQUIRE); \
            break;                                                                                 \
        }                                                                                          \
        const std::uint64_t address = r[insn.dst_reg] + as_offset(insn.off);                       \
        if (kIsChecking &&                                                                         \
            (address % sizeof(TYPE) != 0 || !may_modify_atomically(address, sizeof(TYPE)))) {      \
            return stop(FaultKind::bad_store);                                                     \
        }                                                                                          \
        if (insn.imm == kAtomicStoreRelease) {                                                     \
            __atomic_store_n(reinterpret_cast<TYPE*>(address), static_cast<TYPE>(r[insn.src_reg]), \
                             __ATOMIC_RELEASE);                                                    \
            break;                                                                                 \
        }                                                                                          \
        if (!modify<TYPE>(address, insn.imm, r[insn.src_reg], r[BPF_REG_0])) {                     \
            return stop(FaultKind::bad_instruction);                                               \
        }                                                                                          \
        break;                                                                                     \
    }

std::uint64_t Machine::interpret(std::uint32_t entry, std::uint64_t r1, std::uint64_t r2,
                                 std::uint64_t r3, std::uint64_t r4) noexcept {
    const unsigned base_depth = depth_;
    Program* const entered = program;
    insns_ = entered->insns;  // Native code may have called it.
    std::uint64_t r[MAX_BPF_REG] = {0, r1, r2, r3, r4};
    r[BPF_REG_10] = frames_ + std::uint64_t{kFrameBytes} * (depth_ + 1);
    std::int64_t pc = entry;
    std::uint32_t may_goto_left = kMayGotoMax;  // Of the frame in use.

    const auto as_offset = [](std::int16_t offset) noexcept {
        return static_cast<std::uint64_t>(std::int64_t{offset});
    };
    // `pc` stands behind the instruction at hand.
    const auto stop = [this, &pc](FaultKind kind) noexcept {
        fault(kind);
        if (fault_insn_ == 0) {
            fault_insn_ = static_cast<std::uint32_t>(pc);
        }
        return std::uint64_t{0};
    };
    // Goes on at `callee` in a frame of its own. False: there is none left.
    const auto enter = [this, &pc, &r, &may_goto_left](std::int64_t callee) noexcept {
        if (depth_ + 1 == kFramesMax) {
            return false;
        }
        Caller& caller = callers_[depth_];
        std::memcpy(caller.saved, &r[BPF_REG_6], sizeof(caller.saved));
        caller.program = program;
        caller.return_to = static_cast<std::uint32_t>(pc);
        caller.may_goto_left = may_goto_left;
        may_goto_left = kMayGotoMax;
        ++depth_;
        r[BPF_REG_10] += kFrameBytes;
        pc = callee;
        return true;
    };

    // The loader has checked every opcode, register and jump, and that the last instruction of a
    // function does not fall through, so `pc` stays inside the program.
    for (;;) {
        const bpf_insn insn = insns_[pc];
        if constexpr (kIsChecking) {
            if (!observe(static_cast<std::uint32_t>(pc), depth_, r)) {
                return stop(FaultKind::too_long);
            }
        }
        ++pc;
        if (__builtin_expect(native_.budget-- <= 0, 0)) {
            return stop(FaultKind::too_long);
        }
        switch (insn.code) {
            TW_ALU(BPF_ADD, a + b)
            TW_ALU(BPF_SUB, a - b)
            TW_ALU(BPF_MUL, a * b)
            TW_ALU(BPF_DIV, divide(a, b, insn.off))
            TW_ALU(BPF_MOD, modulo(a, b, insn.off))
            TW_ALU(BPF_OR, a | b)
            TW_ALU(BPF_AND, a & b)
            TW_ALU(BPF_XOR, a ^ b)
            TW_ALU(BPF_LSH, a << shift_count(b))
            TW_ALU(BPF_RSH, a >> shift_count(b))
            TW_ALU(BPF_ARSH, shift_right_signed(a, b))
            TW_ALU(BPF_MOV, move(b, insn.off))
        case BPF_ALU64 | BPF_NEG:
            r[insn.dst_reg] = 0 - r[insn.dst_reg];
            break;
        case BPF_ALU | BPF_NEG:
            r[insn.dst_reg] = static_cast<std::uint32_t>(0 - r[insn.dst_reg]);
            break;
        case BPF_ALU | BPF_END | BPF_TO_BE:
        case BPF_ALU64 | BPF_END | BPF_K:  // bswap of ISA v4
            r[insn.dst_reg] = swap_bytes(r[insn.dst_reg], insn.imm);
            break;
        case BPF_ALU | BPF_END | BPF_TO_LE:
            r[insn.dst_reg] = truncate(r[insn.dst_reg], insn.imm);
            break;

            TW_JUMP(BPF_JEQ, a == b)
            TW_JUMP(BPF_JNE, a != b)
            TW_JUMP(BPF_JGT, a > b)
            TW_JUMP(BPF_JGE, a >= b)
            TW_JUMP(BPF_JLT, a < b)
            TW_JUMP(BPF_JLE, a <= b)
            TW_JUMP(BPF_JSET, (a & b) != 0)
            TW_JUMP(BPF_JSGT, as_signed(a) > as_signed(b))
            TW_JUMP(BPF_JSGE, as_signed(a) >= as_signed(b))
            TW_JUMP(BPF_JSLT, as_signed(a) < as_signed(b))
            TW_JUMP(BPF_JSLE, as_signed(a) <= as_signed(b))
        case BPF_JMP | BPF_JA:
            pc += insn.off;
            break;
        case BPF_JMP32 | BPF_JA:  // gotol
            pc += insn.imm;
            break;
        case BPF_JMP | kOpConditionalPseudo:  // may_goto
            if (may_goto_left == 0 || native_.budget < native_.may_goto_reserve) {
                pc += insn.off;
            } else {
                --may_goto_left;
            }
            break;

            TW_LOAD(BPF_LDX | BPF_MEM | BPF_B, std::uint8_t)
            TW_LOAD(BPF_LDX | BPF_MEM | BPF_H, std::uint16_t)
            TW_LOAD(BPF_LDX | BPF_MEM | BPF_W, std::uint32_t)
            TW_LOAD(BPF_LDX | BPF_MEM | BPF_DW, std::uint64_t)
            TW_LOAD(BPF_LDX | kModeLoadSigned | BPF_B, std::int8_t)
            TW_LOAD(BPF_LDX | kModeLoadSigned | BPF_H, std::int16_t)
            TW_LOAD(BPF_LDX | kModeLoadSigned | BPF_W, std::int32_t)
            TW_PROBE(BPF_LDX | kModeProbe | BPF_B, std::uint8_t)
            TW_PROBE(BPF_LDX | kModeProbe | BPF_H, std::uint16_t)
            TW_PROBE(BPF_LDX | kModeProbe | BPF_W, std::uint32_t)
            TW_PROBE(BPF_LDX | kModeProbe | BPF_DW, std::uint64_t)
            TW_PROBE(BPF_LDX | kModeProbeSigned | BPF_B, std::int8_t)
            TW_PROBE(BPF_LDX | kModeProbeSigned | BPF_H, std::int16_t)
            TW_PROBE(BPF_LDX | kModeProbeSigned | BPF_W, std::int32_t)
            TW_STORE(BPF_B, std::uint8_t)
            TW_STORE(BPF_H, std::uint16_t)
            TW_STORE(BPF_W, std::uint32_t)
            TW_STORE(BPF_DW, std::uint64_t)
            TW_ATOMIC(BPF_B, std::uint8_t)
            TW_ATOMIC(BPF_H, std::uint16_t)
            TW_ATOMIC(BPF_W, std::uint32_t)
            TW_ATOMIC(BPF_DW, std::uint64_t)
        case kLoadImmediate64:
            r[insn.dst_reg] = static_cast<std::uint32_t>(insn.imm) |
                              std::uint64_t{static_cast<std::uint32_t>(insns_[pc].imm)} << 32;
            ++pc;
            break;

        case BPF_JMP | BPF_CALL:
            if (insn.src_reg == static_cast<unsigned>(CallKind::subprogram)) {
                if (!enter(pc + insn.imm)) {
                    return stop(FaultKind::too_deep);
                }
                break;
            }
            if (insn.src_reg == static_cast<unsigned>(CallKind::tail)) {
                if (Program* next = called_program(r[BPF_REG_2], r[BPF_REG_3])) {
                    // In this frame, and returns from it.
                    go_to(*next);
                    pc = 0;
                    may_goto_left = kMayGotoMax;
                }
            } else {
                r[BPF_REG_0] = insn.src_reg == static_cast<unsigned>(CallKind::helper)
                                   ? call_helper(*this, insn.imm, &r[BPF_REG_1])
                                   : call_kfunc(*this, insn.imm, &r[BPF_REG_1]);
            }
            if (__builtin_expect(faulted(), 0)) {
                return stop(fault_);
            }
            break;
        case BPF_JMP | BPF_CALL | BPF_X: {  // callx
            // A helper by its number, as conformance suites have it.
            const std::uint64_t callee = r[insn.dst_reg];
            const bool is_number = callee <= INT32_MAX;
            r[BPF_REG_0] = call_helper(
                *this, is_number ? static_cast<std::int32_t>(callee) : kCallNowhere, &r[BPF_REG_1]);
            if (__builtin_expect(faulted(), 0)) {
                return stop(fault_);
            }
            break;
        }
        case BPF_JMP | BPF_EXIT: {
            if (depth_ == base_depth) {
                go_to(*entered);
                return r[BPF_REG_0];
            }
            --depth_;
            const Caller& caller = callers_[depth_];
            go_to(*caller.program);
            std::memcpy(&r[BPF_REG_6], caller.saved, sizeof(caller.saved));
            r[BPF_REG_10] -= kFrameBytes;
            pc = caller.return_to;
            may_goto_left = caller.may_goto_left;
            break;
        }
        default:
            return stop(FaultKind::bad_instruction);
        }
    }
}

#undef TW_ALU
#undef TW_JUMP
#undef TW_LOAD
#undef TW_PROBE
#undef TW_STORE
#undef TW_ATOMIC

namespace {

/// An adapter (jit/adapter.hpp), but for what it counts as. The checking build has no use for it.
[[maybe_unused]] std::uint64_t interpret_called_natively(std::uint64_t r1, std::uint64_t,
                                                         std::uint64_t, std::uint64_t,
                                                         std::uint64_t,
                                                         jit::NativeState* state) noexcept {
    Machine& machine = *state->machine;
    machine.begin_native_call();
    const std::uint64_t result = machine.interpret_called(r1);
    if (machine.faulted()) {
        machine.leave_native(__builtin_return_address(0));
    }
    return result;
}

/// Where native code finds that nothing is left of the budget.
[[maybe_unused]] std::uint64_t end_too_long(std::uint64_t, std::uint64_t, std::uint64_t,
                                            std::uint64_t, std::uint64_t,
                                            jit::NativeState* state) noexcept {
    state->machine->fault(FaultKind::too_long);
    state->machine->leave_native(__builtin_return_address(0));
}

}  // namespace

Machine::Machine(Execution& e, Level l) noexcept
    : execution(e), program(e.program), task(*e.task), level(l), user_memory(e.ucontext),
      insns_(e.program->insns),
      is_native_(!kIsChecking && !e.interpret && e.program->native.code != nullptr &&
                 jit::CodeRegion::usable()),
      frames_(reinterpret_cast<std::uintptr_t>(e.task->bpf_stack[static_cast<unsigned>(l)])),
      writable_context_(e.context_writable ? e.context_size : 0) {
    static_assert(kFrameBytes * kFramesMax <= task::kBpfStackBytes);
    native_.budget =
        e.budget != 0 ? e.budget : static_cast<std::int64_t>(kInsnsMax[static_cast<unsigned>(l)]);
    native_.may_goto_reserve = native_.budget / kMayGotoReserve;
    // The checking build has neither native code nor, in tests/isa, a table of helpers for it.
    if constexpr (!kIsChecking) {
        if (!is_native_) {
            return;
        }
        native_.helpers = native_helpers();
        native_.kfuncs = native_kfuncs();
        native_.readable_start = sync::detail::arena_base;
        // As far as it is memory; a load of 8 bytes may begin at the last place.
        native_.readable_size =
            sync::Arena::header().committed.load(std::memory_order_relaxed) - sizeof(std::uint64_t);
        native_.machine = this;
        native_.current_task = reinterpret_cast<std::uint64_t>(task.view);
        native_.pid_tgid = std::uint64_t{static_cast<std::uint32_t>(task.pid)} << 32 |
                           static_cast<std::uint32_t>(task.tid);
        native_.frames_end = frames_ + std::uint64_t{kFrameBytes} * kFramesMax;
        native_.program = &program;
        native_.interpret = interpret_called_natively;
        native_.end_too_long = end_too_long;
    }
}

Machine::~Machine() {
    if (has_processor_) {
        map::MapTable::get().processors.release(processor_);
    }
}

std::uint32_t Machine::processor() noexcept {
    if (!has_processor_) {
        const auto current = static_cast<std::uint32_t>(sched_getcpu());
        map::Processors& processors = map::MapTable::get().processors;
        if (level == Level::nmi) {
            processor_ = processors.claim(task.process, current);
        } else {
            processor_.number = current % processors.count();
        }
        has_processor_ = true;
        native_.processor = static_cast<std::int32_t>(processor_.number);
    }
    return processor_.number;
}

std::uint64_t Machine::run(std::uint32_t entry, std::uint64_t r1, std::uint64_t r2,
                           std::uint64_t r3) noexcept {
    map::MapTable::get().locks.begin(task);
    std::uint64_t result = execute(entry, r1, r2, r3, 0);
    if (record_count_ != 0) {
        if (!faulted()) {
            fault(FaultKind::record_leaked);
        }
        discard_records();
    }
    if (lock_count_ != 0) {
        if (!faulted()) {
            fault(FaultKind::lock_leaked);
        }
        open_locks();
    }
    execution.faulted = faulted();
    execution.budget = native_.budget;
    if (faulted()) {
        program->last_fault_insn.store(fault_insn_, std::memory_order_relaxed);
        program->last_fault_kind.store(static_cast<std::uint64_t>(fault_),
                                       std::memory_order_relaxed);
        program->faults.fetch_add(1, std::memory_order_relaxed);
        result = 0;
    }
    return result;
}

std::uint64_t Machine::execute(std::uint32_t entry, std::uint64_t r1, std::uint64_t r2,
                               std::uint64_t r3, std::uint64_t r4) noexcept {
    if (!is_native_ || program->native.code == nullptr) {
        return interpret(entry, r1, r2, r3, r4);
    }
    // Whoever calls back may be interpreted, in a frame that native code has not noted.
    native_.frame = frames_ + std::uint64_t{kFrameBytes} * depth_;
    return jit::taskwork_enter_native(r1, r2, r3, r4, program->native.function(entry), &native_);
}

void Machine::leave_native(const void* returns_to) noexcept {
    if (fault_insn_ == 0) {
        fault_insn_ = program->native.call_before(returns_to);
    }
    jit::taskwork_leave_native(&native_);
}

std::uint64_t Machine::call(std::uint32_t entry, std::uint64_t r1, std::uint64_t r2,
                            std::uint64_t r3, std::uint64_t r4) noexcept {
    if (depth_ + 1 == kFramesMax) {
        return fault(FaultKind::too_deep);
    }
    const unsigned depth = depth_++;
    Program* const caller = program;
    const std::uint64_t result = execute(entry, r1, r2, r3, r4);
    depth_ = depth;
    // Native code notes which program runs, but not for the interpreter.
    go_to(*caller);
    insns_ = caller->insns;
    // Helpers are not called under a lock, so it is this function that has taken it.
    return lock_count_ == 0 ? result : fault(FaultKind::lock_leaked);
}

Program* Machine::called_program(std::uint64_t array, std::uint64_t index) noexcept {
    const map::Map* map = map_argument(*this, array);
    if (kIsChecking && (map == nullptr || map->type != BPF_MAP_TYPE_PROG_ARRAY)) {
        fault(FaultKind::bad_argument);
        return nullptr;
    }
    if (kIsChecking && holds_locks()) {
        fault(FaultKind::call_under_lock);
        return nullptr;
    }
    auto* const next =
        static_cast<Program*>(map::program_at(*map, static_cast<std::uint32_t>(index)));
    if (next == nullptr || native_.tail_calls == kTailCallsMax ||
        depth_ + next->frames > kFramesMax) {
        return nullptr;
    }
    ++native_.tail_calls;
    return next;
}

void Machine::go_to(Program& next) noexcept {
    if (&next == program) {
        return;
    }
    program = &next;
    insns_ = next.insns;
    // What the other one may touch.
    last_map_ = nullptr;
    for (Window& window : windows_) {
        window = {};
    }
}

void Machine::discard_records() noexcept {
    while (record_count_ != 0) {
        --record_count_;
        map::ring_discard(reinterpret_cast<void*>(records_[record_count_].start), 0);
    }
}

}  // namespace taskwork::bpf
