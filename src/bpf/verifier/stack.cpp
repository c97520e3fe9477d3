// SPDX-License-Identifier: Apache-2.0
//
// The stack: registers spilled to it keep what is known of them, other bytes are anything or zero.
// Reading what was never written is allowed, as to all who may load programs of these types.
#include <algorithm>
#include <cerrno>
#include <cinttypes>

#include "bpf/verifier/walk.hpp"

namespace taskwork::bpf::verifier {

namespace {

// Addresses are negative: relative to the frame's end.
unsigned slot_of(std::int32_t at) { return static_cast<unsigned>(~at) >> 3; }
unsigned byte_of(std::int32_t at) { return static_cast<unsigned>(at) & 7; }

/// What is left of a slot of which a part is overwritten.
void break_up(Slot& slot) {
    for (Byte& byte : slot.bytes) {
        if (byte == Byte::spill || is_special(byte)) {
            byte = Byte::misc;
        }
    }
    slot.spilled = Register{};
}

Scalar truncated(const Scalar& value, unsigned bytes) {
    if (bytes == 1) {
        return apply(Alu::bit_and, true, value, Scalar::constant(0xff));
    }
    return byte_swap(value, bytes * 8, false);
}

}  // namespace

bool Walk::stack_range(const Register& reg_of, unsigned number, std::int32_t offset,
                       std::uint32_t bytes, Access access, StackRange& range) {
    const char* how = access == Access::read ? "read from" : "write to";
    const std::int64_t fixed = std::int64_t{reg_of.offset} + offset;
    const Scalar& value = reg_of.value;
    constexpr std::int64_t bound = 1 << 29;
    if (value.s64.max >= bound || value.s64.min <= -bound) {
        return refuse(EACCES, "invalid unbounded variable-offset %s stack R%u", how, number);
    }
    const std::int64_t min = fixed + value.s64.min;
    const std::int64_t max = fixed + value.s64.max;
    if (min < -std::int64_t{kFrameBytes} || max + bytes > 0 || (bytes == 0 && max > 0)) {
        if (value.is_constant()) {
            return refuse(EACCES, "invalid %s stack R%u off=%" PRId64 " size=%u", how, number, min,
                          bytes);
        }
        return refuse(EACCES, "invalid variable-offset %s stack R%u var_off=%s off=%d size=%u", how,
                      number, describe(value.bits).c_str(), offset, bytes);
    }
    range = {static_cast<std::int32_t>(min), static_cast<std::int32_t>(max)};
    const State& state = state_;
    Function& function = structure_.functions[state.frames[reg_of.frame].function];
    function.stack_bytes = std::max(function.stack_bytes, static_cast<std::uint32_t>(-min));
    return true;
}

/// Who came here by other paths depends on this slot.
void Walk::read_slot(unsigned frame, unsigned slot) {
    const std::uint64_t bit = std::uint64_t{1} << slot;
    if ((state_.written[frame] & bit) != 0) {
        return;
    }
    SlotMasks read{};
    read[frame] = bit;
    merge_read(state_.parent, read);
}

bool Walk::merge_read(Checkpoint* from, SlotMasks read) {
    bool any_news = false;
    for (Checkpoint* at = from; at != nullptr; at = at->state.parent) {
        bool news = false;
        for (unsigned frame = 0; frame < read.size(); ++frame) {
            news = news || (read[frame] & ~at->read[frame]) != 0;
            at->read[frame] |= read[frame];
        }
        if (!news) {
            return any_news;
        }
        any_news = true;
        // What the way to this checkpoint wrote, earlier ones need not have.
        for (unsigned frame = 0; frame < read.size(); ++frame) {
            read[frame] &= ~at->state.written[frame];
        }
    }
    return any_news;
}

/// Nothing in the range is a flag or an iterator, which nobody may look into.
bool Walk::check_plain(const Register& reg_of, unsigned number, const StackRange& range,
                       std::uint32_t bytes, bool by_helper) {
    const std::vector<Slot>& stack = state_.frames[reg_of.frame].stack;
    const auto end = range.max + static_cast<std::int32_t>(bytes);
    for (std::int32_t at = range.min; at < end; ++at) {
        const unsigned index = slot_of(at);
        if (index >= stack.size() || !is_special(stack[index].bytes[byte_of(at)])) {
            continue;
        }
        const std::int32_t within = at - range.min;
        if (!range.is_fixed()) {
            return refuse(EACCES, "invalid read from stack R%u var_off %s+%d size %u", number,
                          describe(reg_of.value.bits).c_str(), within, bytes);
        }
        return by_helper ? refuse(EACCES, "invalid read from stack R%u off %d+%d size %u", number,
                                  range.min, within, bytes)
                         : refuse(EACCES, "invalid read from stack off %d+%d size %u", range.min,
                                  within, bytes);
    }
    return true;
}

bool Walk::load_stack(const Register& reg_of, unsigned number, std::int32_t offset, unsigned bytes,
                      bool sign_extended, Register& result) {
    StackRange range{};
    if (!stack_range(reg_of, number, offset, bytes, Access::read, range)) {
        return false;
    }
    const auto last = static_cast<std::int32_t>(range.max + static_cast<std::int32_t>(bytes) - 1);
    for (unsigned index = slot_of(last); index <= slot_of(range.min); ++index) {
        read_slot(reg_of.frame, index);
    }
    if (!check_plain(reg_of, number, range, bytes, false)) {
        return false;
    }
    if (!range.is_fixed()) {
        return true;
    }
    const unsigned index = slot_of(range.min);
    shown_slots_ |= std::uint64_t{1} << index;
    Slot& slot = state_.slot(reg_of.frame, index);
    if (slot.is_spilled()) {
        const unsigned spilled = slot.spilled_bytes();
        if (slot.spilled.is_pointer()) {
            if (bytes != 8) {
                return refuse(EACCES, "invalid size of register fill");
            }
            result = slot.spilled;
            state_.history.back().slot = static_cast<std::uint8_t>(index);
            state_.history.back().slot_frame = reg_of.frame;
            return true;
        }
        if (byte_of(range.min) == 0 && bytes <= spilled) {
            result = slot.spilled;
            if (bytes < spilled && result.value.u64.max >> (bytes * 8) != 0) {
                result = Register::number(truncated(result.value, bytes));
            }
            if (sign_extended && bytes < 8) {
                result = Register::number(sign_extend(result.value, bytes * 8, true));
            }
            state_.history.back().slot = static_cast<std::uint8_t>(index);
            state_.history.back().slot_frame = reg_of.frame;
            return true;
        }
    }
    bool zero = true;
    for (unsigned i = 0; i < bytes; ++i) {
        zero = zero && slot.bytes[byte_of(range.min) + i] == Byte::zero;
    }
    if (zero) {
        result = Register::constant(0);
    }
    return true;
}

/// [at, at + bytes) of a frame may be anything from now on.
void Walk::scribble(unsigned frame, std::int32_t at, std::uint32_t bytes) {
    for (std::uint32_t i = 0; i < bytes; ++i) {
        const std::int32_t address = at + static_cast<std::int32_t>(i);
        shown_slots_ |= std::uint64_t{1} << slot_of(address);
        Slot& slot = state_.slot(frame, slot_of(address));
        break_up(slot);
        slot.bytes[byte_of(address)] = Byte::misc;
    }
}

bool Walk::store_stack(const Register& reg_of, unsigned number, std::int32_t offset, unsigned bytes,
                       const Register* value, unsigned value_number) {
    StackRange range{};
    if (!stack_range(reg_of, number, offset, bytes, Access::write, range)) {
        return false;
    }
    if (value != nullptr && value->is_pointer() && bytes != 8) {
        return refuse(EACCES, "invalid size of register spill");
    }
    if (value != nullptr && value->type == Type::stack && reg_of.frame != state_.depth()) {
        return refuse(EINVAL, "cannot spill pointers to stack into stack frame of the caller");
    }
    if (!range.is_fixed()) {
        scribble(reg_of.frame, range.min,
                 static_cast<std::uint32_t>(range.max - range.min) + bytes);
        return true;
    }
    const unsigned index = slot_of(range.min);
    const unsigned first = byte_of(range.min);
    shown_slots_ |= std::uint64_t{1} << index;
    Slot& slot = state_.slot(reg_of.frame, index);
    if (first == 0 && bytes == 8) {
        state_.written[reg_of.frame] |= std::uint64_t{1} << index;
    }
    const bool spills = value != nullptr && first == 0 && (value->is_scalar() || bytes == 8);
    break_up(slot);
    if (spills) {
        slot.spilled = *value;
        slot.spilled.precise = false;
        if (bytes < 8 && value->value.u64.max >> (bytes * 8) != 0) {
            slot.spilled = Register::number(truncated(value->value, bytes));
        }
        std::fill_n(slot.bytes.begin(), bytes, Byte::spill);
        state_.history.back().slot = static_cast<std::uint8_t>(index);
        state_.history.back().slot_frame = reg_of.frame;
        return true;
    }
    const bool zero = value != nullptr && value->is_null();
    if (zero && value_number < MAX_BPF_REG) {
        make_precise(value_number);
    }
    for (unsigned i = 0; i < bytes; ++i) {
        slot.bytes[first + i] = zero ? Byte::zero : Byte::misc;
    }
    return true;
}

}  // namespace taskwork::bpf::verifier
