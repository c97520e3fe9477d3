// SPDX-License-Identifier: Apache-2.0
//
// Calls of kfuncs, and the special fields that they take: struct bpf_task_work here, locks in
// locks.cpp. The rules and phrases for task work are K106-K115's.
#include "bpf/kfuncs.hpp"

#include <cerrno>
#include <cinttypes>

#include "bpf/verifier/walk.hpp"

namespace taskwork::bpf::verifier {

bool Walk::call_kfunc(std::int32_t number) {
    const KfuncPrototype* prototype = kfunc_prototype_of(number);
    if (prototype == nullptr) {
        return refuse(EACCES, "calling kernel function %s is not allowed", kfunc(number).name);
    }
    if (kfunc(number).sleepable) {
        if (!state_.may_sleep) {
            return refuse(EACCES, "program must be sleepable to call sleepable kfunc %s",
                          prototype->name);
        }
        if (state_.rcu_locks != 0) {
            return refuse(EACCES, "kernel func %s is sleepable within rcu_read_lock region",
                          prototype->name);
        }
        if (state_.preempt_locks != 0) {
            return refuse(EACCES, "kernel func %s is sleepable within non-preemptible region",
                          prototype->name);
        }
        if (state_.holds(HeldKind::irq_flag)) {
            return refuse(EACCES, "kernel func %s is sleepable within IRQ-disabled region",
                          prototype->name);
        }
    }
    if (prototype->kind == KfuncKind::res_lock || prototype->kind == KfuncKind::res_unlock) {
        return call_lock_kfunc(*prototype);
    }
    Call call;
    call.name = prototype->name;
    call_name_ = prototype->name;
    writes_.clear();
    for (unsigned i = 0; i < 5 && prototype->arguments[i] != KfuncArgument::none; ++i) {
        if (!kfunc_argument(*prototype, i, call)) {
            return false;
        }
    }
    if (!enter_or_leave(*prototype)) {
        return false;
    }
    if (prototype->kind == KfuncKind::schedule && !schedule_callback(call)) {
        const std::string text =
            text_of("kfunc %s#%d failed callback verification", prototype->name, number);
        print(text);
        verdict_.reason += "; " + text;
        return false;
    }
    apply_writes();
    if (call.released != 0 && !release(call.released)) {
        return false;
    }
    forget_arguments();
    switch (prototype->result) {
    case KfuncResult::nothing:
        break;
    case KfuncResult::integer:
        reg(BPF_REG_0) = Register::unknown();
        break;
    case KfuncResult::acquired_task: {
        const std::uint32_t reference = new_id();
        state_.held.push_back({.kind = HeldKind::reference, .id = reference, .insn = insn_});
        Register task = Register::pointer(Type::kernel_struct);
        task.or_null = true;
        task.id = reference;
        task.reference = reference;
        reg(BPF_REG_0) = task;
        break;
    }
    case KfuncResult::iterated:
        if (!iterate(call)) {
            return false;
        }
        break;
    }
    ++insn_;
    return true;
}

/// Regions.
bool Walk::enter_or_leave(const KfuncPrototype& prototype) {
    switch (prototype.kind) {
    case KfuncKind::rcu_lock:
        if (state_.rcu_locks != 0) {
            return refuse(EINVAL, "nested rcu read lock (kernel function %s)", prototype.name);
        }
        ++state_.rcu_locks;
        return true;
    case KfuncKind::rcu_unlock:
        return rcu_unlock(prototype.name);
    case KfuncKind::preempt_disable:
        ++state_.preempt_locks;
        return true;
    case KfuncKind::preempt_enable:
        if (state_.preempt_locks == 0) {
            return refuse(EINVAL, "unmatched attempt to enable preemption (kernel function %s)",
                          prototype.name);
        }
        --state_.preempt_locks;
        return true;
    default:
        return true;
    }
}

bool Walk::rcu_unlock(const char* name) {
    if (state_.rcu_locks == 0) {
        return refuse(EINVAL, "unmatched rcu read unlock (kernel function %s)", name);
    }
    if (--state_.rcu_locks == 0) {
        state_.for_each_register([](Register& each) {
            if (each.type == Type::kernel_struct && each.trust == Trust::rcu) {
                each.trust = Trust::untrusted;
                each.or_null = false;
            }
        });
    }
    return true;
}

bool Walk::kfunc_argument(const KfuncPrototype& prototype, unsigned index, Call& call) {
    const unsigned number = BPF_REG_1 + index;
    const KfuncArgument argument = prototype.arguments[index];
    if (argument == KfuncArgument::ignored) {
        return true;  // what the kernel fills in itself
    }
    const Register& given = reg(number);
    const bool wants_number = argument == KfuncArgument::number || argument == KfuncArgument::size;
    if (wants_number && !given.is_scalar()) {
        return refuse(EINVAL, "R%u is not a scalar", number);
    }
    if (argument == KfuncArgument::number) {
        return true;
    }
    if (!may_read(number)) {
        return false;
    }
    if (argument == KfuncArgument::user_address) {
        return true;
    }
    if (argument == KfuncArgument::iterator) {
        return iterator_argument(prototype, number, call);
    }
    if (argument == KfuncArgument::size) {
        static constexpr Prototype as_helper{
            Result::integer, {Argument::memory_out, Argument::size_or_zero}, true};
        return check_size(number, Argument::size_or_zero, as_helper, call);
    }
    if (argument == KfuncArgument::memory_out) {
        return true;  // with its size
    }
    if (given.is_null() || given.or_null) {
        return refuse(EACCES, "Possibly NULL pointer passed to trusted R%u", number);
    }
    switch (argument) {
    case KfuncArgument::work_slot:
        return check_slot(number, call);
    case KfuncArgument::map:
        if (given.type != Type::map_pointer) {
            return given.type == Type::map_value
                       ? refuse(EINVAL, "R%u must be referenced or trusted", number)
                       : refuse(EINVAL, "pointer in R%u isn't map pointer", number);
        }
        // Compared as maps, whatever fields they have: a map without any is just another one.
        if (given.map != call.map || given.map_uid != call.map_uid) {
            return refuse(EINVAL,
                          "bpf_task_work pointer in R2 map_uid=%u doesn't match map pointer in R3 "
                          "map_uid=%u",
                          call.map_uid, given.map_uid);
        }
        return true;
    case KfuncArgument::callback:
        if (given.type != Type::function) {
            return refuse(EINVAL, "arg%u expected pointer to func", index);
        }
        call.function = given.size;
        return true;
    default:
        return kfunc_task(prototype, number, given, call);
    }
}

bool Walk::kfunc_task(const KfuncPrototype& prototype, unsigned number, const Register& given,
                      Call& call) {
    const unsigned index = number - BPF_REG_1;
    const KfuncArgument argument = prototype.arguments[index];
    if (given.type != Type::kernel_struct) {
        return refuse(EINVAL,
                      "arg#%u pointer type STRUCT task_struct must point to scalar, or struct with "
                      "scalar",
                      index);
    }
    const bool trusted = given.trust == Trust::trusted || given.reference != 0;
    if (argument == KfuncArgument::task_rcu && !trusted && given.trust != Trust::rcu) {
        return refuse(EINVAL, "R%u must be a rcu pointer", number);
    }
    if (argument == KfuncArgument::task && !trusted) {
        return refuse(EINVAL, "R%u must be referenced or trusted", number);
    }
    if (argument == KfuncArgument::task_owned && given.reference == 0) {
        return refuse(EINVAL, "release kernel function %s expects refcounted PTR_TO_BTF_ID",
                      prototype.name);
    }
    if (given.structure != Struct::task) {
        return refuse(EINVAL,
                      "kernel function %s args#%u expected pointer to STRUCT task_struct but R%u "
                      "has a pointer to STRUCT %s",
                      prototype.name, index, number, name_of(given.structure));
    }
    if (given.offset != 0) {
        return refuse(
            EINVAL, "R%u must have zero offset when passed to release func or trusted arg to kfunc",
            number);
    }
    if (!check_fixed(given, number, true)) {
        return false;
    }
    if (argument == KfuncArgument::task_owned) {
        call.released = given.reference;
    }
    return true;
}

/// K107: exactly the slot of a value, by a constant offset.
bool Walk::check_slot(unsigned number, Call& call) {
    const Register& given = reg(number);
    if (given.type != Type::map_value) {
        return refuse(EINVAL, "R%u doesn't point to a map value", number);
    }
    const MapInfo& map = *given.map;
    if (!given.value.is_constant()) {
        return refuse(EINVAL,
                      "R%u doesn't have constant offset. bpf_task_work has to be at the constant "
                      "offset",
                      number);
    }
    if (!map.has_types) {
        return refuse(EINVAL, "map '%s' has to have BTF in order to use bpf_task_work",
                      map.name.c_str());
    }
    if (map.fields.task_work == map::kNoField) {
        return refuse(EINVAL, "map '%s' has no valid bpf_task_work", map.name.c_str());
    }
    if (given.offset != map.fields.task_work) {
        return refuse(EINVAL, "off %d doesn't point to 'struct bpf_task_work' that is at %d",
                      given.offset, map.fields.task_work);
    }
    call.map = &map;
    call.map_uid = given.map_uid;
    return true;
}

}  // namespace taskwork::bpf::verifier
