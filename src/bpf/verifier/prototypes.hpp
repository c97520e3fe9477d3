// SPDX-License-Identifier: Apache-2.0
//
// What each helper and kfunc takes and gives, in one table each. Of this folder only.
//
// To add a helper or a kfunc: a line here, besides those in helpers.cpp or kfuncs.cpp.
#pragma once

#include <cstdint>

namespace taskwork::bpf::verifier {

enum class Argument : std::uint8_t {
    none,
    anything,  ///< Any register that has been written.
    context,
    map_pointer,
    map_key,
    map_value,      ///< Memory of the size of a value, read
    map_value_out,  ///< or written.
    memory,         ///< Read; its size is the next argument.
    memory_or_null,
    memory_out,  ///< Written.
    memory_out_or_null,
    size,
    size_or_zero,
    constant_size,  ///< Of a record.
    record,         ///< Of a ring buffer: given back.
    string,         ///< Constant, in a read-only map.
    callback,
    stack_or_null,
    spin_lock,
};

enum class Result : std::uint8_t {
    integer,
    nothing,
    map_value_or_null,
    record_or_null,
    trusted_task,
};

struct Prototype {
    Result result = Result::integer;
    Argument arguments[5] = {};
    bool known = false;
};
/// Of the helper with this number; `known` is false if there is none.
const Prototype& prototype_of(std::int32_t helper);

enum class KfuncArgument : std::uint8_t {
    none,
    number,
    task,        ///< Trusted
    task_rcu,    ///< or of an RCU section,
    task_owned,  ///< or one that is released by it.
    work_slot,
    map,
    callback,
    memory_out,  ///< Its size is the next argument.
    size,
    user_address,
    lock,
    irq_flag,
    iterator,
    ignored,
};
enum class KfuncResult : std::uint8_t { integer, nothing, acquired_task, iterated };
enum class KfuncKind : std::uint8_t {
    plain,
    schedule,
    rcu_lock,
    rcu_unlock,
    res_lock,
    res_unlock,
    iter_new,
    iter_next,
    iter_destroy,
    preempt_disable,
    preempt_enable,
};
struct KfuncPrototype {
    const char* name;
    KfuncResult result;
    KfuncArgument arguments[5];
    KfuncKind kind = KfuncKind::plain;
    bool irq_save = false;
};
/// Of the kfunc with this number; nullptr if the table lacks it.
const KfuncPrototype* kfunc_prototype_of(std::int32_t number);

}  // namespace taskwork::bpf::verifier
