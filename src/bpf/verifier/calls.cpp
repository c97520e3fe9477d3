// SPDX-License-Identifier: Apache-2.0
//
// Calls of helpers and of functions of the program.
#include "bpf/helpers.hpp"

#include <linux/bpf.h>
#include <unistd.h>

#include <cerrno>

#include "bpf/kfuncs.hpp"
#include "bpf/verifier/walk.hpp"

namespace taskwork::bpf::verifier {

namespace {

constexpr std::int64_t kErrnoMax = 4095;

bool has_lookup(const MapInfo& map) {
    switch (map.type) {
    case BPF_MAP_TYPE_RINGBUF:
    case BPF_MAP_TYPE_STACK_TRACE:
    case BPF_MAP_TYPE_PERF_EVENT_ARRAY:
    case BPF_MAP_TYPE_PROG_ARRAY:
    case BPF_MAP_TYPE_QUEUE:
    case BPF_MAP_TYPE_STACK:
    case BPF_MAP_TYPE_BLOOM_FILTER:
        return false;
    default:
        return true;
    }
}

bool has_walk(const MapInfo& map) {
    switch (map.type) {
    case BPF_MAP_TYPE_ARRAY:
    case BPF_MAP_TYPE_PERCPU_ARRAY:
    case BPF_MAP_TYPE_HASH:
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_LRU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
        return true;
    default:
        return false;
    }
}

/// What is wrong with what is given where a trusted struct is wanted; empty: nothing. Stricter than
/// the kernel's: the callee's loads do not ask whether there is something, so that a pointer that
/// was walked to, which may be null here, will not do, not even inside an RCU section.
std::string mismatch(const Register& given, unsigned number, const ArgumentInfo& wanted) {
    const bool trusted = given.type == Type::kernel_struct &&
                         (given.trust == Trust::trusted || given.reference != 0);
    if (!trusted || (given.or_null && wanted.non_null)) {
        return text_of("R%u type=%s expected=ptr_, trusted_ptr_, rcu_ptr_", number,
                       type_name(given).c_str());
    }
    const bool at_begin = given.offset == 0 && given.value == Scalar::constant(0);
    if (!at_begin || given.structure != wanted.structure) {
        return text_of("R%u is of type %s but %s is expected", number, name_of(given.structure),
                       name_of(wanted.structure));
    }
    return {};
}

}  // namespace

// ---- Functions of the program -------------------------------------------------------------------

bool Walk::call(bool& ended) {
    const bpf_insn& at = insn();
    const auto kind = static_cast<CallKind>(at.src_reg);
    const bool nowhere = (kind == CallKind::kfunc && at.imm == kCallNowhere) ||
                         (kind == CallKind::helper && is_poisoned(at.imm));
    const bool allowed_under_lock =
        kind == CallKind::subprogram ||
        (!nowhere &&
         (kind == CallKind::helper ? helper(at.imm).under_lock : kfunc(at.imm).under_lock));
    if (!allowed_under_lock && state_.holds_lock()) {
        return refuse(EINVAL, "function calls are not allowed while holding a lock");
    }
    if (nowhere) {
        return kind == CallKind::helper
                   ? refuse(EINVAL, "invalid func %s", helper_name(at.imm).c_str())
                   : refuse(EINVAL, "calling kernel function <unknown> is not allowed");
    }
    switch (kind) {
    case CallKind::subprogram:
        return call_function(structure_.function_at(callee_of(at, insn_)));
    case CallKind::kfunc:
        return call_kfunc(at.imm);
    case CallKind::helper:
    case CallKind::tail:  // only the loader writes it, after the walk
        break;
    }
    if (at.imm == BPF_FUNC_tail_call) {
        return call_program(ended);
    }
    const std::uint32_t here = insn_;
    if (!call_helper(at.imm)) {
        return false;
    }
    if (insn_ == here) {
        ++insn_;
    }
    ended = false;
    return true;
}

bool Walk::call_function(std::uint32_t number) {
    const Function& function = structure_.functions[number];
    if (function.is_global()) {
        return call_global(number);
    }
    if (state_.frames.size() == kFramesMax) {
        return refuse(E2BIG, "the call stack of %u frames is too deep", kFramesMax + 1);
    }
    Frame callee;
    callee.function = number;
    callee.kind = FrameKind::called;
    callee.call_site = insn_;
    for (unsigned i = BPF_REG_1; i <= BPF_REG_5; ++i) {
        callee.registers[i] = reg(i);
    }
    callee.registers[BPF_REG_10] = Register::pointer(Type::stack);
    callee.registers[BPF_REG_10].frame = static_cast<std::uint8_t>(state_.frames.size());
    forget_arguments();
    state_.frames.push_back(std::move(callee));
    print_call();
    state_.written[state_.depth()] = 0;
    insn_ = function.begin;
    return true;
}

bool Walk::call_global(std::uint32_t number) {
    Function& function = structure_.functions[number];
    if (state_.holds_lock()) {
        return refuse(EINVAL,
                      "global function calls are not allowed while holding a lock, use static "
                      "function instead");
    }
    if (!function.info->returns_scalar) {
        return refuse(EINVAL,
                      "Global function %s() doesn't return scalar. Only those are supported.",
                      function.name());
    }
    if (function.may_sleep && (!state_.may_sleep || state_.rcu_locks != 0 ||
                               state_.preempt_locks != 0 || state_.holds(HeldKind::irq_flag))) {
        return refuse(EINVAL,
                      "global functions that may sleep are not allowed in non-sleepable context");
    }
    for (const ArgumentInfo& argument : function.info->arguments) {
        if (argument.kind == ArgumentInfo::Kind::unsupported) {
            return refuse(EINVAL, "%s", argument.why.c_str());
        }
    }
    for (unsigned i = 0; i < function.info->arguments.size() && i < 5; ++i) {
        const unsigned number_of = BPF_REG_1 + i;
        const Register& argument = reg(number_of);
        const ArgumentInfo& wanted = function.info->arguments[i];
        const auto fails = [&] {
            note("Caller passes invalid args into func#%u ('%s')", number, function.name());
        };
        if (!may_read(number_of)) {
            return false;
        }
        switch (wanted.kind) {
        case ArgumentInfo::Kind::scalar:
            if (!argument.is_scalar()) {
                fails();
                return refuse(EINVAL, "R%u is not a scalar", number_of);
            }
            break;
        case ArgumentInfo::Kind::context:
            if (argument.type != Type::context) {
                fails();
                return refuse(EINVAL, "arg#%u expects pointer to ctx", i);
            }
            break;
        case ArgumentInfo::Kind::memory: {
            if (wanted.non_null && (argument.or_null || argument.is_null())) {
                fails();
                return refuse(EINVAL, "arg#%u is expected to be non-NULL", i);
            }
            if (argument.is_null()) {
                make_precise(number_of);
                break;
            }
            // One that may be null is judged as what it is otherwise.
            const Register as_is = argument;
            reg(number_of).or_null = false;
            if (!check_memory_argument(number_of, wanted.size, Access::read, false) ||
                !check_memory_argument(number_of, wanted.size, Access::write, false)) {
                return false;
            }
            reg(number_of) = as_is;
            break;
        }
        case ArgumentInfo::Kind::trusted_struct:
            if (argument.is_null() && !wanted.non_null) {
                make_precise(number_of);
            } else if (const std::string text = mismatch(argument, number_of, wanted);
                       !text.empty()) {
                fails();
                return refuse(EACCES, "%s", text.c_str());
            }
            break;
        case ArgumentInfo::Kind::unsupported:  // refused above
            break;
        }
    }
    if (input_.log_level != 0) {
        print(text_of("Func#%u ('%s') is global and assumed valid.", number, function.name()));
    }
    apply_writes();
    function.is_called_global[state_.may_sleep ? 1 : 0] = true;
    forget_arguments();
    reg(BPF_REG_0) = Register::unknown();
    ++insn_;
    return true;
}

// ---- Helpers ------------------------------------------------------------------------------------

bool Walk::call_helper(std::int32_t id) {
    const Prototype& prototype = prototype_of(id);
    const std::string name = helper_name(id);
    if (!prototype.known ||
        (id == BPF_FUNC_get_attach_cookie && input_.type == BPF_PROG_TYPE_SYSCALL)) {
        return refuse(EINVAL, "program of this type cannot use helper %s", name.c_str());
    }
    if (helper(id).sleepable) {
        if (!state_.may_sleep) {
            return refuse(EINVAL, "helper call might sleep in a non-sleepable prog");
        }
        if (state_.rcu_locks != 0) {
            return refuse(EINVAL, "sleepable helper %s in rcu_read_lock region", name.c_str());
        }
        if (state_.preempt_locks != 0) {
            return refuse(EINVAL, "sleepable helper %s in non-preemptible region", name.c_str());
        }
        if (state_.holds(HeldKind::irq_flag)) {
            return refuse(EINVAL, "sleepable helper %s in IRQ-disabled region", name.c_str());
        }
    }
    Call call;
    call.name = name.c_str();
    call_name_ = name.substr(0, name.find('#'));
    writes_.clear();
    for (unsigned i = 0; i < 5 && prototype.arguments[i] != Argument::none; ++i) {
        if (!check_argument(prototype, i, id, call)) {
            return false;
        }
    }
    if (call.map != nullptr && !check_map_kind(call, id)) {
        return false;
    }
    if (id == BPF_FUNC_spin_lock || id == BPF_FUNC_spin_unlock) {
        if (!(id == BPF_FUNC_spin_lock ? lock(BPF_REG_1, false, false)
                                       : unlock(BPF_REG_1, false, false))) {
            return false;
        }
    }
    note_call(id, call);
    apply_writes();
    if (call.released != 0 && !release(call.released)) {
        return false;
    }
    if (structure_.round[insn_] == Round::callback) {
        bool ended = false;
        return call_back(id, call, ended);
    }
    forget_arguments();
    return set_result(prototype, id, call);
}

/// What native code needs no helper for.
void Walk::note_call(std::int32_t id, const Call& call) {
    KnownCall known{.insn = insn_};
    if (id == BPF_FUNC_map_lookup_elem && call.map->type == BPF_MAP_TYPE_ARRAY) {
        known.map = call.map->map;
    } else if (id == BPF_FUNC_loop && reg(BPF_REG_4).is_null()) {
        make_precise(BPF_REG_4);
        known.callback = structure_.functions[call.function].begin;
    } else if (id != BPF_FUNC_map_lookup_elem && id != BPF_FUNC_loop) {
        return;
    }
    const auto [place, is_new] = known_calls_.try_emplace(insn_, known);
    if (!is_new && (place->second.map != known.map || place->second.callback != known.callback)) {
        place->second = {.insn = insn_};
    }
}

/// Goes on behind the call, as if there were no program; and, from a function, where it was called,
/// with whatever the program returns.
bool Walk::call_program(bool& ended) {
    ended = false;
    if (!call_helper(BPF_FUNC_tail_call) || !check_leaks("tail_call")) {
        return false;
    }
    if (state_.depth() == 0) {
        ++insn_;
        return true;
    }
    if (!push(state_, insn_ + 1)) {
        return false;
    }
    reg(BPF_REG_0) = Register::unknown();
    return exit(ended);
}

bool Walk::check_map_kind(const Call& call, std::int32_t id) {
    const MapInfo& map = *call.map;
    bool fits = true;
    switch (id) {
    case BPF_FUNC_ringbuf_output:
    case BPF_FUNC_ringbuf_reserve:
    case BPF_FUNC_ringbuf_query:
        fits = map.type == BPF_MAP_TYPE_RINGBUF;
        break;
    case BPF_FUNC_get_stackid:
        fits = map.type == BPF_MAP_TYPE_STACK_TRACE;
        break;
    case BPF_FUNC_perf_event_output:
        fits = map.type == BPF_MAP_TYPE_PERF_EVENT_ARRAY;
        break;
    case BPF_FUNC_tail_call:
        if (map.type != BPF_MAP_TYPE_PROG_ARRAY) {
            return refuse(EINVAL, "expected prog array map for tail call");
        }
        break;
    case BPF_FUNC_map_pop_elem:
        fits = map.type == BPF_MAP_TYPE_QUEUE || map.type == BPF_MAP_TYPE_STACK;
        break;
    case BPF_FUNC_map_push_elem:
    case BPF_FUNC_map_peek_elem:
        fits = map.type == BPF_MAP_TYPE_QUEUE || map.type == BPF_MAP_TYPE_STACK ||
               map.type == BPF_MAP_TYPE_BLOOM_FILTER;
        break;
    case BPF_FUNC_map_lookup_percpu_elem:
        fits = map.type == BPF_MAP_TYPE_PERCPU_ARRAY || map.type == BPF_MAP_TYPE_PERCPU_HASH ||
               map.type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
        break;
    case BPF_FUNC_for_each_map_elem:
        if (!has_walk(map) && map.inner == nullptr && has_lookup(map)) {
            return refuse(ENOTSUP, "callback function not allowed for map");
        }
        fits = has_walk(map);
        break;
    case BPF_FUNC_map_lookup_elem:
        fits = has_lookup(map);
        break;
    default:
        fits = has_lookup(map) && map.inner == nullptr;
        break;
    }
    if (!fits) {
        return refuse(EINVAL, "cannot pass map_type %u into func %s", map.type, call.name);
    }
    const bool writes = id == BPF_FUNC_map_update_elem || id == BPF_FUNC_map_delete_elem ||
                        id == BPF_FUNC_map_push_elem || id == BPF_FUNC_map_pop_elem;
    if (writes && (map.flags & BPF_F_RDONLY_PROG) != 0) {
        return refuse(EACCES, "write into map forbidden");
    }
    return true;
}

bool Walk::set_result(const Prototype& prototype, std::int32_t id, const Call& call) {
    Register& result = reg(BPF_REG_0);
    switch (prototype.result) {
    case Result::nothing:
        return true;
    case Result::trusted_task:
        result = Register::pointer(Type::kernel_struct);
        result.trust = Trust::trusted;
        return true;
    case Result::map_value_or_null:
        result = Register::pointer(Type::map_value);
        result.map = call.map;
        result.id = new_id();
        result.or_null = call.key < 0 || call.key >= call.map->max_entries;
        if (call.map->fields.task_work != map::kNoField) {
            result.map_uid = call.map_uid;
        }
        return true;
    case Result::record_or_null: {
        const std::uint32_t reference = new_id();
        state_.held.push_back({.kind = HeldKind::reference, .id = reference, .insn = insn_});
        result = Register::pointer(Type::record);
        result.or_null = true;
        result.id = reference;
        result.reference = reference;
        result.size = call.alloc_size;
        return true;
    }
    case Result::integer:
        break;
    }
    result = Register::unknown();
    switch (id) {
    case BPF_FUNC_get_stack:
    case BPF_FUNC_probe_read_str:
    case BPF_FUNC_probe_read_kernel_str:
    case BPF_FUNC_probe_read_user_str:
        result = Register::number(Scalar::signed_between(-kErrnoMax, call.size_max));
        break;
    case BPF_FUNC_get_smp_processor_id:
        result = Register::number(
            Scalar::between(0, static_cast<std::uint64_t>(sysconf(_SC_NPROCESSORS_CONF)) - 1));
        break;
    default:
        break;
    }
    return true;
}

// ---- References ---------------------------------------------------------------------------------

bool Walk::release(std::uint32_t reference) {
    const auto count = std::erase_if(state_.held, [reference](const Held& held) {
        return held.kind == HeldKind::reference && held.id == reference;
    });
    if (count == 0) {
        return refuse(EINVAL, "reference has not been acquired before");
    }
    state_.for_each_register([reference](Register& each) {
        if (each.reference == reference) {
            each = Register::unknown();
        }
    });
    return true;
}

/// At the end of an outermost frame nothing may be held; when a function calls a program, only what
/// it will give back, or its callers.
bool Walk::check_leaks(const char* what) {
    if (state_.holds_lock()) {
        return refuse(EINVAL, "%s cannot be used inside bpf_spin_lock-ed region", what);
    }
    bool leaks = false;
    for (const Held& held : state_.held) {
        if (held.kind == HeldKind::reference && state_.depth() == 0) {
            note("Unreleased reference id=%u alloc_insn=%u", held.id, held.insn);
            leaks = true;
        }
    }
    if (leaks) {
        return refuse(EINVAL, "%s would lead to reference leak", what);
    }
    if (state_.holds(HeldKind::irq_flag)) {
        return refuse(EACCES, "%s cannot be used inside bpf_local_irq_save-ed region", what);
    }
    if (state_.rcu_locks != 0) {
        return refuse(EINVAL, "%s cannot be used inside bpf_rcu_read_lock-ed region", what);
    }
    if (state_.preempt_locks != 0) {
        return refuse(EINVAL, "%s cannot be used inside bpf_preempt_disable-ed region", what);
    }
    return true;
}

}  // namespace taskwork::bpf::verifier
