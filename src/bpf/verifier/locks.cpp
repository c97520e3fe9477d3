// SPDX-License-Identifier: Apache-2.0
//
// Regions of bpf_spin_lock and bpf_res_spin_lock. Which of two values is locked is told by their
// ids.
#include <algorithm>
#include <cerrno>
#include <cinttypes>

#include "bpf/kfuncs.hpp"
#include "bpf/verifier/walk.hpp"

namespace taskwork::bpf::verifier {

namespace {

constexpr std::int64_t kErrnoMax = 4095;

const char* name_of_lock(bool resilient) { return resilient ? "bpf_res_spin" : "bpf_spin"; }
HeldKind kind_of(bool resilient) {
    return resilient ? HeldKind::res_spin_lock : HeldKind::spin_lock;
}

}  // namespace

bool Walk::lock_argument(unsigned number, bool resilient) {
    const Register& given = reg(number);
    const char* name = name_of_lock(resilient);
    if (given.is_null() || given.or_null) {
        return refuse(EACCES, "Possibly NULL pointer passed to trusted R%u", number);
    }
    if (given.type != Type::map_value) {
        return refuse(EINVAL, "arg#%u doesn't point to map value or allocated object",
                      number - BPF_REG_1);
    }
    const MapInfo& map = *given.map;
    if (!given.value.is_constant()) {
        return refuse(EINVAL,
                      "R%u doesn't have constant offset. %s_lock has to be at the constant offset",
                      number, name);
    }
    if (!map.has_types) {
        return refuse(EINVAL, "map '%s' has to have BTF in order to use %s_lock", map.name.c_str(),
                      name);
    }
    const std::int32_t field = resilient ? map.fields.res_spin_lock : map.fields.spin_lock;
    if (field == map::kNoField) {
        return refuse(EINVAL, "map '%s' has no valid %s_lock", map.name.c_str(), name);
    }
    if (given.offset != field) {
        return refuse(EINVAL, "off %d doesn't point to 'struct %s_lock' that is at %d",
                      given.offset, name, field);
    }
    return true;
}

bool Walk::lock(unsigned number, bool resilient, bool irq_save) {
    const Register& value = reg(number);
    for (const Held& held : state_.held) {
        if (!resilient && held.kind == HeldKind::spin_lock) {
            return refuse(EINVAL, "Locking two bpf_spin_locks are not allowed");
        }
        if (resilient && held.kind == HeldKind::res_spin_lock && held.map == value.map &&
            held.value_id == value.id) {
            return refuse(EINVAL, "Acquiring the same lock again, AA deadlock detected");
        }
    }
    state_.held.push_back({.kind = kind_of(resilient),
                           .id = new_id(),
                           .insn = insn_,
                           .map = value.map,
                           .value_id = value.id,
                           .irq_save = irq_save});
    return true;
}

bool Walk::unlock(unsigned number, bool resilient, bool irq_save) {
    const Register& value = reg(number);
    const char* name = name_of_lock(resilient);
    const HeldKind kind = kind_of(resilient);
    if (!state_.holds(kind)) {
        return refuse(EINVAL, "%s_unlock without taking a lock", name);
    }
    const auto found = std::find_if(state_.held.begin(), state_.held.end(), [&](const Held& held) {
        return held.kind == kind && held.map == value.map && held.value_id == value.id &&
               held.irq_save == irq_save;
    });
    if (found == state_.held.end()) {
        return refuse(EINVAL, "%s_unlock of different lock", name);
    }
    if (std::any_of(found + 1, state_.held.end(),
                    [kind](const Held& held) { return held.kind == kind; })) {
        return refuse(EINVAL, "%s_unlock cannot be out of order", name);
    }
    state_.held.erase(found);
    return true;
}

bool Walk::irq_flag_argument(unsigned number, bool restore) {
    const Register& given = reg(number);
    const unsigned index = number - BPF_REG_1;
    if (given.type != Type::stack || !given.value.is_constant() || given.offset % 8 != 0) {
        return refuse(EINVAL, "arg#%u doesn't point to an irq flag on stack", index);
    }
    StackRange range{};
    if (!stack_range(given, number, 0, 8, restore ? Access::read : Access::write, range)) {
        return false;
    }
    const auto slot_number = static_cast<unsigned>(~range.min) >> 3;
    Slot& slot = state_.slot(given.frame, slot_number);
    const bool is_flag = slot.bytes[0] == Byte::irq_flag;
    if (restore != is_flag) {
        return restore ? refuse(EINVAL, "expected an initialized irq flag as arg#%u", index)
                       : refuse(EINVAL, "expected uninitialized irq flag as arg#%u", index);
    }
    if (!restore) {
        const std::uint32_t id = new_id();
        slot.bytes.fill(Byte::irq_flag);
        slot.spilled = Register{};
        slot.spilled.id = id;
        state_.held.push_back({.kind = HeldKind::irq_flag, .id = id, .insn = insn_});
        return true;
    }
    read_slot(given.frame, slot_number);
    const auto last = std::find_if(state_.held.rbegin(), state_.held.rend(), [](const Held& held) {
        return held.kind == HeldKind::irq_flag;
    });
    if (last == state_.held.rend() || last->id != slot.spilled.id) {
        return refuse(EACCES, "cannot restore irq state out of order");
    }
    state_.held.erase(std::next(last).base());
    slot.bytes.fill(Byte::misc);
    slot.spilled = Register{};
    return true;
}

bool Walk::call_lock_kfunc(const KfuncPrototype& prototype) {
    if (!may_read(BPF_REG_1) || !lock_argument(BPF_REG_1, true) ||
        (prototype.irq_save && !may_read(BPF_REG_2))) {
        return false;
    }
    if (prototype.kind == KfuncKind::res_unlock) {
        if (!unlock(BPF_REG_1, true, prototype.irq_save) ||
            (prototype.irq_save && !irq_flag_argument(BPF_REG_2, true))) {
            return false;
        }
        forget_arguments();
        ++insn_;
        return true;
    }
    State failed = state_;
    if (!lock(BPF_REG_1, true, prototype.irq_save) ||
        (prototype.irq_save && !irq_flag_argument(BPF_REG_2, false))) {
        return false;
    }
    for (unsigned i = BPF_REG_0; i <= BPF_REG_5; ++i) {
        failed.frame().registers[i] = Register{};
    }
    failed.frame().registers[BPF_REG_0] = Register::number(Scalar::signed_between(-kErrnoMax, -1));
    if (!push(std::move(failed), insn_ + 1)) {
        return false;
    }
    forget_arguments();
    reg(BPF_REG_0) = Register::constant(0);
    ++insn_;
    return true;
}

}  // namespace taskwork::bpf::verifier
