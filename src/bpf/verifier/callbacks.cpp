// SPDX-License-Identifier: Apache-2.0
//
// Callbacks. Those that a helper calls in place (bpf_loop, bpf_for_each_map_elem) are walked as
// often as states differ: the call goes on behind itself, or into the callback, whose end leads to
// the call again. Those that run later are entries of their own, each walked once for a map:
// nothing of the scheduling path, its regions or whether it may sleep is known in them.
#include <cerrno>
#include <cinttypes>

#include "bpf/verifier/walk.hpp"

namespace taskwork::bpf::verifier {

bool Walk::call_back(std::int32_t id, const Call& call, bool& ended) {
    ended = false;
    const Function& function = structure_.functions[call.function];
    bool may_enter = true;
    if (id == BPF_FUNC_loop) {
        make_precise(BPF_REG_1);
        may_enter = reg(BPF_REG_1).is_pointer() ||
                    state_.frame().callback_calls < reg(BPF_REG_1).value.u64.max;
    }
    if (may_enter) {
        if (state_.frames.size() == kFramesMax) {
            return refuse(E2BIG, "the call stack of %u frames is too deep", kFramesMax + 1);
        }
        State inside = state_;
        ++inside.frame().callback_calls;
        inside.history.back().callback = true;
        Frame callee;
        callee.function = call.function;
        callee.kind = FrameKind::callback;
        callee.call_site = insn_;
        auto& registers = callee.registers;
        if (id == BPF_FUNC_loop) {
            registers[BPF_REG_1] = Register::unknown();
            registers[BPF_REG_2] = reg(BPF_REG_3);
        } else {
            registers[BPF_REG_1] = Register::pointer(Type::map_pointer);
            registers[BPF_REG_2] = Register::pointer(Type::map_key);
            registers[BPF_REG_3] = Register::pointer(Type::map_value);
            registers[BPF_REG_3].id =
                map::lock_of(call.map->fields) == map::kNoField ? 0 : new_id();
            for (unsigned i = BPF_REG_1; i <= BPF_REG_3; ++i) {
                registers[i].map = call.map;
                registers[i].map_uid = call.map_uid;
            }
            registers[BPF_REG_4] = reg(BPF_REG_3);
        }
        registers[BPF_REG_10] = Register::pointer(Type::stack);
        registers[BPF_REG_10].frame = static_cast<std::uint8_t>(inside.frames.size());
        inside.frames.push_back(std::move(callee));
        inside.written[inside.depth()] = 0;
        shown_ = kAllRegisters;
        shown_slots_ = kAllSlots;
        if (!push(std::move(inside), function.begin)) {
            return false;
        }
    }
    state_.frame().callback_calls = 0;
    forget_arguments();
    reg(BPF_REG_0) = Register::unknown();
    ++insn_;
    return true;
}

bool Walk::check_result(const char* when, std::int64_t min, std::int64_t max) {
    const Register& result = reg(BPF_REG_0);
    if (!may_read(BPF_REG_0)) {
        return false;
    }
    if (!result.is_scalar()) {
        return refuse(EINVAL, "R0 not a scalar value");
    }
    make_precise(BPF_REG_0);
    const Range<std::int64_t>& s = result.value.s64;
    if (min <= s.min && s.max <= max) {
        return true;
    }
    std::string text = text_of("%s the register R0 has", when);
    if (s.min != INT64_MIN) {
        text += text_of(" smin=%" PRId64, s.min);
    }
    if (s.max != INT64_MAX) {
        text += text_of(" smax=%" PRId64, s.max);
    }
    if (s.min == INT64_MIN && s.max == INT64_MAX) {
        text += " unknown scalar value";
    }
    return refuse(EINVAL, "%s should have been in [%" PRId64 ", %" PRId64 "]", text.c_str(), min,
                  max);
}

bool Walk::return_from_callback(bool& ended) {
    ended = false;
    if (!check_result("At callback return", 0, 1)) {
        return false;
    }
    state_.history.back().callback = true;
    print_return();
    insn_ = state_.frame().call_site;
    state_.frames.pop_back();
    // Numbers that change with each call and do not matter are given up, or the walk would not end.
    if (const Checkpoint* before = earlier_round(nullptr)) {
        widen(before->state, state_);
    }
    return true;
}

/// K110, K111, K115: map, read-only key, value; may sleep, whoever schedules.
bool Walk::schedule_callback(const Call& call) {
    Function& function = structure_.functions[call.function];
    function.is_async_callback = true;
    if (!async_entries_.insert({call.function, call.map}).second) {
        return true;
    }
    State entry;
    entry.frames.emplace_back();
    Frame& frame = entry.frame();
    frame.function = call.function;
    frame.kind = FrameKind::async_callback;
    frame.registers[BPF_REG_1] = Register::pointer(Type::map_pointer);
    frame.registers[BPF_REG_2] = Register::pointer(Type::map_key);
    frame.registers[BPF_REG_3] = Register::pointer(Type::map_value);
    for (unsigned i = BPF_REG_1; i <= BPF_REG_3; ++i) {
        frame.registers[i].map = call.map;
        frame.registers[i].map_uid = call.map_uid;
    }
    frame.registers[BPF_REG_3].id = new_id();
    frame.registers[BPF_REG_10] = Register::pointer(Type::stack);
    entry.may_sleep = true;
    shown_ = kAllRegisters;
    shown_slots_ = kAllSlots;
    entry.entry = static_cast<std::uint32_t>(async_entries_.size());
    return push(std::move(entry), function.begin, " for async cb");
}

}  // namespace taskwork::bpf::verifier
