// SPDX-License-Identifier: Apache-2.0
//
// Memory in a function of the generator.
#include "tests/fuzz/soundness/body.hpp"

namespace taskwork::fuzz {

using namespace bpf::test;
using What = Holds::What;

namespace {

constexpr int kSizes[] = {BPF_B, BPF_H, BPF_W, BPF_DW};
constexpr unsigned bytes_of(int size) { return bpf::access_bytes(static_cast<unsigned>(size)); }

}  // namespace

// ---- The stack ----------------------------------------------------------------------------------

int Body::stack_offset(int size) {
    const auto bytes = static_cast<int>(bytes_of(size));
    const int slot = -8 * static_cast<int>(1 + choices_.below(8));
    return slot + bytes * static_cast<int>(choices_.below(static_cast<unsigned>(8 / bytes)));
}

/// Slots that hold pointers hold numbers from now on.
void Body::forget_slots() {
    for (unsigned i = 0; i < 8; ++i) {
        if (!known_.slots[i].is_number()) {
            emit(store_imm(BPF_DW, R10, -8 * static_cast<int>(i + 1), choices_.number()));
            known_.slots[i] = {};
        }
    }
}

void Body::spill_or_fill() {
    const int size = choices_.below(3) == 0 ? choices_.of(kSizes) : BPF_DW;
    const int at = stack_offset(size);
    Holds& slot = known_.slots[static_cast<unsigned>(-at - 1) / 8];
    const unsigned how = choices_.below(5);
    if (is_for_kernel() && how < 3 && size != BPF_DW && !slot.is_number()) {
        emit(store_imm(BPF_DW, R10, at & ~7, choices_.number()));  // Nothing of the pointer stays.
    }
    switch (how) {
    case 0:
    case 1:
        emit(store(size, R10, at, any_number()));
        slot = {};
        break;
    case 2:
        emit(store_imm(size, R10, at, choices_.one_in(2) ? 0 : choices_.number()));
        slot = {};
        break;
    default: {
        const Register dst = writable();
        if (slot.is_number()) {
            if (size != BPF_DW && choices_.one_in(3)) {
                emit(load_signed(size, dst, R10, at));
            } else {
                emit(load(size, dst, R10, at));
            }
            if (dst != R5) {
                put_number(dst);
            }
        } else if (dst != R5) {
            emit(load(BPF_DW, dst, R10, at & ~7));
            put(dst, slot);
        }
        break;
    }
    }
}

void Body::spill_pointer() {
    const auto from = static_cast<Register>(R6 + choices_.below(4));
    const unsigned slot = choices_.below(8);
    emit(store(BPF_DW, R10, -8 * static_cast<int>(slot + 1), from));
    known_.slots[slot] = known_.registers[from - R6];
}

void Body::variable_stack() {
    forget_slots();
    Jumps skips;
    emit(copy(R1, any_number()));
    const int size = choices_.one_in(2) ? BPF_B : choices_.of(kSizes);
    const unsigned bytes = bytes_of(size);
    const Known before = known_;
    if (size == BPF_B && choices_.one_in(2)) {
        bound(R1, 31, skips);
    } else {
        emit(alu(BPF_AND, R1, (choices_.one_in(12) ? 127 : 31) & ~static_cast<int>(bytes - 1)));
    }
    emit(copy(R2, R10));
    emit(alu(BPF_ADD, R2, R1));
    if (choices_.one_in(2)) {
        emit(store(size, R2, -64, any_number()));
    } else {
        const Register dst = writable();
        emit(load(size, dst, R2, choices_.one_in(2) ? -64 : -32));
        if (dst != R5) {
            put_number(dst);
        }
    }
    land(skips);
    merge(before);
}

// ---- Memory behind pointers ---------------------------------------------------------------------

/// Makes the number one of 0 to `most`, in one of the ways in which programs do.
void Body::bound(Register reg, unsigned most, Jumps& skips) {
    if (choices_.one_in(16)) {
        most += 1 + choices_.below(8);  // an error
    }
    const auto limit = static_cast<int>(most);
    const auto skip = [this, &skips](const bpf_insn& jump_insn) {
        skips.push_back(here());
        emit(jump_insn);
    };
    switch (choices_.below(12)) {
    case 0:
    case 1: {
        int mask = 1;
        while (mask * 2 - 1 <= limit) {
            mask *= 2;
        }
        emit(choices_.one_in(2) ? alu(BPF_AND, reg, mask - 1) : alu32(BPF_AND, reg, mask - 1));
        break;
    }
    case 2:
        emit(alu(BPF_AND, reg, limit & choices_.byte()));
        break;
    case 3:
        skip(jump_if(BPF_JGT, reg, limit, 0));
        break;
    case 4:
        skip(jump_if(BPF_JSGT, reg, limit, 0));
        skip(jump_if(BPF_JSLT, reg, 0, 0));
        break;
    case 5:
        emit(alu32(BPF_MOV, reg, reg));
        skip(jump32_if(BPF_JGT, reg, limit, 0));
        break;
    case 6:
        emit(choices_.one_in(2) ? alu(BPF_MOD, reg, limit + 1) : alu32(BPF_MOD, reg, limit + 1));
        if (is_for_kernel()) {
            skip(jump_if(BPF_JGT, reg, limit, 0));  // Linux 6.18 knows nothing of a remainder.
        }
        break;
    case 7: {
        int bits = 0;
        while ((2 << bits) - 1 <= limit) {
            ++bits;
        }
        emit(bits == 0 ? set(reg, 0) : alu(BPF_RSH, reg, 64 - bits));
        break;
    }
    case 8:  // through the stack
        emit(store(BPF_DW, R10, -72, reg));
        skip(jump_if(BPF_JGE, reg, limit + 1, 0));
        emit(load(BPF_DW, reg, R10, -72));
        break;
    case 9: {  // by another that is bounded
        const Register other = any_number();
        emit(copy(R4, other));
        emit(alu(BPF_AND, R4, limit));
        skip(choices_.one_in(2) ? jump_if(BPF_JGT, reg, R4, 0) : jump_if(BPF_JGE, reg, R4, 0));
        break;
    }
    case 10:
        skip(jump32_if(BPF_JSGT, reg, limit, 0));
        skip(jump32_if(BPF_JSLT, reg, 0, 0));
        emit(alu32(BPF_MOV, reg, reg));
        break;
    default: {  // one of two
        const auto one = static_cast<int>(choices_.below(most + 1 > 256 ? 256 : most + 1));
        const Jumps equal{here()};
        emit(jump_if(BPF_JEQ, reg, one, 0));
        skip(jump_if(BPF_JNE, reg, limit, 0));
        land(equal);
        break;
    }
    }
}

/// An access to [offset, offset + room) behind the pointer.
void Body::touch(Register pointer, int offset, unsigned room, Holds holds) {
    int size = choices_.of(kSizes);
    while (bytes_of(size) > room) {
        size = size == BPF_DW ? BPF_W : size == BPF_W ? BPF_H : BPF_B;
    }
    const unsigned bytes = bytes_of(size);
    unsigned slack = room - bytes;
    unsigned inside = choices_.below((slack > 255 ? 255 : slack) + 1);
    if (holds.what == What::stack || choices_.one_in(2)) {
        inside &= ~(bytes - 1);
    }
    const int at = offset + static_cast<int>(inside);
    const unsigned how = choices_.below(holds.what == What::read_only ? 2 : 5);
    if (how < 2) {
        const Register dst = writable();
        const Register to = dst == R5 ? R4 : dst;
        if (how == 1 && size != BPF_DW) {
            emit(load_signed(size, to, pointer, at));
        } else {
            emit(load(size, to, pointer, at));
        }
        if (dst != R5) {
            put_number(dst);
        }
    } else if (how == 2) {
        emit(store(size, pointer, at, any_number()));
    } else if (how == 3) {
        emit(store_imm(size, pointer, at, choices_.number()));
    } else {
        atomic_on(pointer, offset, room);
    }
}

void Body::atomic_on(Register pointer, int offset, unsigned room) {
    if (room < 8) {
        return;
    }
    static constexpr int operations[] = {BPF_ADD,
                                         BPF_OR,
                                         BPF_AND,
                                         BPF_XOR,
                                         BPF_ADD | BPF_FETCH,
                                         BPF_OR | BPF_FETCH,
                                         BPF_AND | BPF_FETCH,
                                         BPF_XOR | BPF_FETCH,
                                         BPF_XCHG,
                                         BPF_CMPXCHG,
                                         bpf::kAtomicLoadAcquire,
                                         bpf::kAtomicStoreRelease};
    const int operation = choices_.of(operations);
    const int size = choices_.one_in(2) ? BPF_W : BPF_DW;
    const int at = offset + static_cast<int>(choices_.below(room / 8) * 8);
    const Register reg = writable();
    if (reg != R5 && !known_.registers[reg - R6].is_number()) {
        return;
    }
    if (reg == R5) {
        emit(set(R5, choices_.number()));
    }
    if (operation == BPF_CMPXCHG) {
        if (pointer == R0) {
            return;
        }
        emit(set(R0, choices_.number()));
    }
    if (operation == bpf::kAtomicLoadAcquire) {
        emit(make(BPF_STX | bpf::kModeAtomic | static_cast<unsigned>(size), reg, pointer, at,
                  operation));
    } else {
        emit(atomic(size, pointer, at, reg, operation));
    }
}

/// Accesses `holds.size` bytes behind a pointer, at a constant or a variable offset.
void Body::use_memory(Register pointer, Holds holds) {
    if (choices_.below(3) == 0) {
        return touch(pointer, 0, holds.size, holds);
    }
    const Known before = known_;
    Jumps skips;
    emit(copy(R1, any_number()));
    const unsigned most = choices_.below(holds.size);
    if (holds.what == What::stack) {
        emit(alu(BPF_AND, R1, 7U < most ? static_cast<int>(most & ~7U) : 0));
    } else {
        bound(R1, most, skips);
    }
    emit(copy(R2, pointer));
    if (choices_.one_in(4) && holds.what != What::stack) {
        emit(add(R2, most));
        emit(alu(BPF_SUB, R2, R1));
    } else {
        emit(alu(BPF_ADD, R2, R1));
    }
    touch(R2, 0, holds.size - most, holds);
    land(skips);
    merge(before);
}

void Body::look_up() {
    const bool hash = choices_.one_in(2);
    const Holds holds{What::memory, hash ? 48U : 64U};
    if (choices_.one_in(2)) {
        emit(store_imm(BPF_W, R10, -76, choices_.below(hash ? 6 : 3)));
    } else {
        emit(copy(R1, any_number()));
        emit(alu(BPF_AND, R1, 3));
        emit(store(BPF_W, R10, -76, R1));
    }
    emit(copy(R2, R10));
    emit(add(R2, -76));
    emit_map(R1, hash ? plan_.maps.hash : plan_.maps.values);
    emit(call(BPF_FUNC_map_lookup_elem));
    const Known before = known_;
    const bool checked = !choices_.one_in(40);
    Jumps skips;
    if (checked) {
        skips.push_back(here());
        emit(jump_if(BPF_JEQ, R0, 0, 0));
    }
    const Register keep = writable();
    if (keep != R5 && choices_.below(3) == 0) {
        // Of value from here on, on the other way of the direct map.
        emit(copy(keep, R0));
        put(keep, holds);
        use_memory(keep, holds);
        if (nesting_ == 0 && choices_.one_in(2)) {
            statements(1 + choices_.below(3));
        }
    } else {
        use_memory(R0, holds);
    }
    land(skips);
    merge(before);
}

void Body::direct_value() {
    const bool constant = choices_.one_in(3);
    const auto fd = static_cast<std::uint32_t>(constant ? plan_.maps.constants : plan_.maps.direct);
    const unsigned offset = choices_.below(4) * 8;
    const Holds holds{constant ? What::read_only : What::memory, 128 - offset};
    const Register keep = writable();
    const Register pointer = keep == R5 || choices_.one_in(2) ? R3 : keep;
    emit(wide(pointer, std::uint64_t{offset} << 32 | fd, BPF_PSEUDO_MAP_VALUE));
    if (pointer != R3) {
        put(pointer, holds);
    }
    use_memory(pointer, holds);
}

void Body::kept_pointer() {
    for (unsigned i = 0, first = choices_.below(4); i < 4; ++i) {
        const unsigned at = (first + i) % 4;
        const Holds holds = known_.registers[at];
        if (holds.is_number() || holds.what == What::context || holds.what == What::task) {
            continue;
        }
        const unsigned locked = locked_;
        locked_ |= 1U << at;
        use_memory(static_cast<Register>(R6 + at), holds);
        locked_ = locked;
        return;
    }
    direct_value();
}

void Body::record() {
    const unsigned size = 8 * (1 + choices_.below(4));
    emit_map(R1, plan_.maps.ring);
    emit(set(R2, size));
    emit(set(R3, flags()));
    emit(call(BPF_FUNC_ringbuf_reserve));
    const Known before = known_;
    const Register keep = writable();
    if (keep == R5) {
        // Nothing is held on a way on which there is nothing.
        Jumps none{here()};
        emit(jump_if(BPF_JEQ, R0, 0, 0));
        emit(copy(R1, R0));
        emit(set(R2, flags()));
        emit(call(BPF_FUNC_ringbuf_discard));
        land(none);
        return;
    }
    emit(copy(keep, R0));
    Jumps none{here()};
    emit(jump_if(BPF_JEQ, choices_.one_in(2) ? R0 : keep, 0, 0));
    const Holds holds{What::memory, size};
    const unsigned locked = locked_;
    locked_ |= 1U << (keep - R6);
    put(keep, holds);
    if (is_for_kernel()) {
        fill_record(keep, size);
    }
    const unsigned uses = choices_.below(3);
    for (unsigned i = 0; i < uses; ++i) {
        use_memory(keep, holds);
    }
    locked_ = locked;
    if (!choices_.one_in(40)) {
        emit(copy(R1, keep));
        emit(set(R2, flags()));
        emit(call(choices_.one_in(2) ? BPF_FUNC_ringbuf_submit : BPF_FUNC_ringbuf_discard));
    }
    land(none);
    emit(set(keep, choices_.number()));
    put_number(keep);
    merge(before);
}

void Body::context() {
    for (unsigned at = 0; at < 4; ++at) {
        if (known_.registers[at].what != What::context) {
            continue;
        }
        const auto pointer = static_cast<Register>(R6 + at);
        const unsigned locked = locked_;
        locked_ |= 1U << at;
        const Register dst = writable();
        locked_ = locked;
        if (plan_.type != BPF_PROG_TYPE_SYSCALL) {
            emit(load(BPF_DW, dst, pointer, 8 * static_cast<int>(choices_.below(20))));
        } else {
            const int size = choices_.of(kSizes);
            const auto bytes = bytes_of(size);
            const int offset = static_cast<int>(choices_.below(64) & ~(bytes - 1));
            if (choices_.one_in(3)) {
                emit(store(size, pointer, offset, any_number()));
                return;
            }
            emit(load(size, dst, pointer, offset));
        }
        if (dst != R5) {
            put_number(dst);
        }
        return;
    }
    arithmetic();
}

}  // namespace taskwork::fuzz
