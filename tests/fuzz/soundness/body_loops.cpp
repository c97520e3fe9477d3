// SPDX-License-Identifier: Apache-2.0
//
// Of the generator: loops of which the verifier need not know how often they go round.
#include "tests/fuzz/soundness/body.hpp"

namespace taskwork::fuzz {

using namespace bpf::test;

namespace {

/// In the value of the direct map, where programs write, too: the verifier knows nothing of it.
constexpr std::uint32_t kRoundsAt = 112;
constexpr std::uint32_t kRoundsAtFirst = 120;

constexpr bpf_insn may_goto() { return make(BPF_JMP | bpf::kOpConditionalPseudo, 0, 0, 0, 0); }

}  // namespace

/// Pointers must be there in each round.
void Body::keep_for_rounds() {
    for (unsigned i = 0; i < 4; ++i) {
        if (!known_.registers[i].is_number()) {
            locked_ |= 1U << i;
        }
    }
    forget_slots();
}

void Body::jump_back(std::size_t head) { emit(jump(-static_cast<int>(here() - head + 1))); }

/// After a few rounds, which memory counts.
void Body::leave_some_time(std::uint32_t counter, Jumps& ends) {
    const auto fd = static_cast<std::uint32_t>(plan_.maps.direct);
    emit(wide(R3, std::uint64_t{counter} << 32 | fd, BPF_PSEUDO_MAP_VALUE));
    emit(load(BPF_DW, R4, R3, 0));
    emit(add(R4, 1));
    emit(store(BPF_DW, R3, 0, R4));
    emit(alu(BPF_AND, R4, choices_.one_in(3) ? 7 : 3));
    ends.push_back(here());
    emit(jump_if(BPF_JEQ, R4, 0, 0));
}

/// Ends by a number that nobody knows, now and then by one that is counted down, or by may_goto
/// alone, where nobody compares when that ends it.
void Body::may_goto_loop() {
    if (nesting_ >= 2) {
        return arithmetic();
    }
    ++nesting_;
    const unsigned locked = locked_;
    const unsigned how = choices_.below(24);
    const Register counter = how < 8 ? writable() : R5;
    if (counter != R5) {
        emit(choices_.one_in(2) ? set(counter, choices_.below(6)) : copy(counter, any_number()));
        put_number(counter);
        emit(alu(BPF_AND, counter, 3));
        locked_ |= 1U << (counter - R6);
    }
    keep_for_rounds();
    const Known before = known_;
    const std::size_t head = here();
    if (choices_.one_in(4)) {
        statement();
        merge(before);
    }
    Jumps ends{here()};
    emit(may_goto());
    if (counter != R5) {
        ends.push_back(here());
        emit(jump_if(BPF_JEQ, counter, 0, 0));
        emit(add(counter, -1));
    } else if (how < 23 || plan_.audience != Audience::ours) {
        leave_some_time(kRoundsAt, ends);
    }
    end_rounds(head, before, ends);
    locked_ = locked;
    --nesting_;
}

/// What a round does, one way out more or none, and the way back.
void Body::end_rounds(std::size_t head, const Known& before, Jumps& ends) {
    statements(1 + choices_.below(3));
    merge(before);
    if (choices_.one_in(3)) {
        const bpf_insn compare = comparison();
        ends.push_back(here());
        emit(compare);
    }
    jump_back(head);
    land(ends);
}

/// By an iterator over a few numbers.
void Body::iterator_loop() {
    if (nesting_ >= 2) {
        return arithmetic();
    }
    ++nesting_;
    const unsigned locked = locked_;
    const int at = special_slot();
    const auto on_iterator = [this, at](const char* kfunc) {
        emit(copy(R1, R10));
        emit(add(R1, at));
        emit_kfunc(kfunc);
    };
    if (choices_.one_in(3)) {
        emit(copy(R2, any_number()));
        emit(copy(R3, R2));
        emit(add(R3, choices_.below(5)));
    } else {
        emit(set(R2, choices_.one_in(16) ? choices_.number() : choices_.below(4)));
        emit(copy(R3, any_number()));
        emit(alu(BPF_AND, R3, 3));
    }
    on_iterator("bpf_iter_num_new");
    keep_for_rounds();
    const Known before = known_;
    const std::size_t head = here();
    on_iterator("bpf_iter_num_next");
    Jumps ends{here()};
    emit(jump_if(BPF_JEQ, R0, 0, 0));
    if (choices_.below(4) != 0) {
        touch(R0, 0, 4, {Holds::What::read_only, 4});
    }
    end_rounds(head, before, ends);
    if (!choices_.one_in(40)) {
        on_iterator("bpf_iter_num_destroy");
    }
    --special_;
    locked_ = locked;
    --nesting_;
}

/// Its head is the first instruction of the function; the arguments stay, but for the first if it
/// is a number.
void Body::loop_at_first() {
    using Kind = Signature::Kind;
    const bool takes_number = signature_.kind == Kind::function ||
                              signature_.kind == Kind::global || signature_.kind == Kind::loop;
    if (takes_number && choices_.one_in(2)) {
        emit(add(R1, 1 + choices_.below(3)));
        const int limit = 1 + static_cast<int>(choices_.below(12));
        emit(choices_.one_in(3) ? jump32_if(BPF_JLT, R1, limit, -2)
                                : jump_if(BPF_JLT, R1, limit, -2));
        return;
    }
    // R1 to R4 are arguments.
    const Jumps end{here()};
    emit(may_goto());
    const auto fd = static_cast<std::uint32_t>(plan_.maps.direct);
    emit(wide(R5, std::uint64_t{kRoundsAtFirst} << 32 | fd, BPF_PSEUDO_MAP_VALUE));
    emit(load(BPF_DW, R0, R5, 0));
    emit(add(R0, 1));
    emit(store(BPF_DW, R5, 0, R0));
    emit(jump_if(BPF_JSET, R0, choices_.one_in(3) ? 7 : 3, -static_cast<int>(here()) - 1));
    land(end);
}

}  // namespace taskwork::fuzz
