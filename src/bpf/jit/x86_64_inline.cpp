// SPDX-License-Identifier: Apache-2.0
//
// What needs no call: helpers whose result is in the state or behind an index, bpf_loop with a
// callback that is known, and calls of other programs.
#include <bit>
#include <cerrno>

#include "bpf/helpers.hpp"
#include "bpf/jit/x86_64.hpp"
#include "bpf/program.hpp"
#include "map/program_array.hpp"

namespace taskwork::bpf::jit {

namespace {

constexpr auto kMapEntries = static_cast<std::int32_t>(offsetof(map::Map, max_entries));
constexpr auto kMapImpl = static_cast<std::int32_t>(offsetof(map::Map, impl));
constexpr auto kProgramFrames = static_cast<std::int32_t>(offsetof(Program, frames));
constexpr auto kProgramCode =
    static_cast<std::int32_t>(offsetof(Program, native) + offsetof(NativeCode, code));

x86::Mem state_word(std::int32_t offset, std::uint32_t bytes = 8) {
    return x86::ptr(kStateRegister, offset, bytes);
}

}  // namespace

const KnownCall* Translator::known_call(std::uint32_t index) const {
    if (source_.known_calls == nullptr) {
        return nullptr;
    }
    const auto found = std::lower_bound(
        source_.known_calls->begin(), source_.known_calls->end(), index,
        [](const KnownCall& call, std::uint32_t wanted) { return call.insn < wanted; });
    return found != source_.known_calls->end() && found->insn == index ? &*found : nullptr;
}

const KnownCall* Translator::known_loop(std::uint32_t index) const {
    const KnownCall* const known = known_call(index);
    return known != nullptr && known->map == nullptr ? known : nullptr;
}

bool Translator::inlined(const bpf_insn& insn, std::uint32_t index) {
    if (source_.program == nullptr) {
        return false;  // its helpers may be others
    }
    switch (insn.imm) {
    case BPF_FUNC_get_current_task:
    case BPF_FUNC_get_current_task_btf:
        state_result(kStateCurrentTask, 8);
        return true;
    case BPF_FUNC_get_current_pid_tgid:
        state_result(kStatePidTgid, 8);
        return true;
    case BPF_FUNC_get_smp_processor_id: {
        // The first call finds out.
        const Aside unknown{out_.newLabel(), out_.newLabel(), index};
        state_result(kStateProcessor, 4);
        out_.test(x86::eax, x86::eax);
        out_.js(unknown.from);
        out_.bind(unknown.back);
        asides_.push_back(unknown);
        return true;
    }
    case BPF_FUNC_map_lookup_elem: {
        const KnownCall* const known = known_call(index);
        if (known == nullptr || known->map == nullptr || known->map->max_entries > INT32_MAX ||
            known->map->value_size > INT32_MAX - 7) {
            return false;
        }
        array_lookup(*known->map);
        return true;
    }
    case BPF_FUNC_loop: {
        const KnownCall* const known = known_loop(index);
        if (known == nullptr) {
            return false;
        }
        loop(insn, index, known->callback);
        return true;
    }
    default:
        return false;
    }
}

void Translator::state_result(std::int32_t offset, unsigned bytes) {
    out_.mov(kStateRegister, x86::ptr(x86::rbp, state_at_));
    out_.mov(part(x86::rax, bytes == 8), state_word(offset, bytes));
}

/// R2 is the key's address. Values do not move, and the map does not go before the program. Whether
/// something is found, the way there has one jump at most.
void Translator::array_lookup(const map::Map& map) {
    const Label outside = out_.newLabel();
    out_.mov(x86::r10d, x86::dword_ptr(x86::rsi));
    out_.xor_(x86::eax, x86::eax);
    out_.cmp(x86::r10d, asmjit::Imm(map.max_entries));
    out_.jae(outside);
    const std::uint64_t stride = (std::uint64_t{map.value_size} + 7) / 8 * 8;
    out_.mov(x86::r11, reinterpret_cast<std::uint64_t>(map.impl));
    if (stride == 8) {
        out_.lea(x86::rax, x86::ptr(x86::r11, x86::r10, 3));
    } else {
        if ((stride & (stride - 1)) == 0) {
            out_.shl(x86::r10, asmjit::Imm(std::countr_zero(stride)));
        } else {
            out_.imul(x86::r10, x86::r10, asmjit::Imm(stride));
        }
        out_.lea(x86::rax, x86::ptr(x86::r11, x86::r10));
    }
    out_.bind(outside);
}

/// Behind the function's last instruction.
void Translator::write_asides() {
    for (const Aside& aside : asides_) {
        out_.bind(aside.from);
        call_helper(source_.insns[aside.call], aside.call);
        out_.jmp(aside.back);
    }
    asides_.clear();
    for (const End& end : ends_) {
        out_.bind(end.from);
        // Nobody comes back here, wherever the stack is.
        out_.and_(x86::rsp, asmjit::Imm(-16));
        out_.call(state_word(kStateEndTooLong));
        calls_.push_back({end.insn, static_cast<std::uint32_t>(out_.offset())});
    }
    ends_.clear();
}

/// R1 rounds, R3 the callback's second argument.
void Translator::loop(const bpf_insn& insn, std::uint32_t index, std::uint32_t callback) {
    const Label next = out_.newLabel();
    const Label too_many = out_.newLabel();
    const Label too_long = out_.newLabel();
    const Label ended = out_.newLabel();
    const Label done = out_.newLabel();
    const x86::Mem rounds = x86::dword_ptr(x86::rbp, loop_at_);
    const x86::Mem round = x86::dword_ptr(x86::rbp, loop_at_ + 4);
    const x86::Mem argument = x86::ptr(x86::rbp, loop_at_ + 8, 8);

    // No rounds are not for nothing; each takes what its function does.
    out_.mov(kStateRegister, x86::ptr(x86::rbp, state_at_));
    out_.sub(state_word(kStateBudget), static_cast<std::int32_t>(kHelperCost));
    out_.jle(too_long);
    out_.cmp(x86::edi, asmjit::Imm(kMayGotoMax));
    out_.ja(too_many);
    out_.mov(rounds, x86::edi);
    out_.mov(round, asmjit::Imm(0));
    out_.mov(argument, x86::rdx);
    out_.bind(next);
    out_.mov(x86::edi, round);
    out_.cmp(x86::edi, rounds);
    out_.jae(ended);
    out_.mov(kStateRegister, x86::ptr(x86::rbp, state_at_));
    out_.mov(x86::rsi, argument);
    out_.call(label_at(callback));
    own_program_again();
    out_.add(round, asmjit::Imm(1));
    out_.test(x86::rax, x86::rax);
    out_.jz(next);
    out_.bind(ended);
    out_.mov(x86::eax, round);
    out_.jmp(done);
    out_.bind(too_many);
    out_.mov(x86::rax, asmjit::Imm(-E2BIG));
    out_.jmp(done);
    out_.bind(too_long);
    // The helper ends the execution: nothing is left.
    call_helper(insn, index);
    out_.bind(done);
}

/// R1 is the context still, R2 the array, R3 the index. Goes on if there is nothing to be called.
void Translator::tail_call(std::uint32_t index) {
    const Label on = out_.newLabel();
    const Label interpreted = out_.newLabel();
    out_.mov(kStateRegister, x86::ptr(x86::rbp, state_at_));
    out_.mov(x86::edx, x86::edx);
    out_.cmp(x86::edx, x86::dword_ptr(x86::rsi, kMapEntries));
    out_.jae(on);
    out_.cmp(state_word(kStateTailCalls, 4), asmjit::Imm(kTailCallsMax));
    out_.jae(on);
    out_.mov(x86::r11, x86::ptr(x86::rsi, kMapImpl));
    out_.mov(x86::r11, x86::ptr(x86::r11, x86::rdx, 3, map::kSeenOffset));
    out_.test(x86::r11, x86::r11);
    out_.jz(on);
    // Its frames, the first of them this one, must fit.
    out_.movzx(x86::r10d, x86::byte_ptr(x86::r11, kProgramFrames));
    out_.shl(x86::r10d, asmjit::Imm(std::countr_zero(kFrameBytes)));
    out_.lea(x86::r10, x86::ptr(x86::r10, kFrame, 0, -static_cast<std::int32_t>(kFrameBytes)));
    out_.cmp(x86::r10, state_word(kStateFramesEnd));
    out_.ja(on);
    out_.add(state_word(kStateTailCalls, 4), asmjit::Imm(1));
    out_.mov(x86::rcx, state_word(kStateProgram));
    out_.mov(x86::ptr(x86::rcx), x86::r11);
    out_.mov(x86::r10, x86::ptr(x86::r11, kProgramCode));
    out_.test(x86::r10, x86::r10);
    out_.jz(interpreted);
    give_back_frame();
    out_.jmp(x86::r10);
    out_.bind(interpreted);
    out_.mov(state_word(kStateFrame), kFrame);
    out_.call(state_word(kStateInterpret));
    calls_.push_back({index, static_cast<std::uint32_t>(out_.offset())});
    leave();
    out_.bind(on);
}

void Translator::own_program_again() {
    if (source_.program == nullptr || !calls_programs_) {
        return;
    }
    out_.mov(kStateRegister, x86::ptr(x86::rbp, state_at_));
    out_.mov(x86::r11, state_word(kStateProgram));
    out_.mov(x86::r10, reinterpret_cast<std::uint64_t>(source_.program));
    out_.mov(x86::ptr(x86::r11), x86::r10);
}

}  // namespace taskwork::bpf::jit
