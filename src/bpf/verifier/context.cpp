// SPDX-License-Identifier: Apache-2.0
//
// Contexts of the program types, and the fields of kernel structs that programs see (the structs of
// our BTF).
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <iterator>

#include "bpf/kernel_btf/task_struct.h"
#include "bpf/verifier/walk.hpp"

namespace taskwork::bpf::verifier {

namespace {

// struct bpf_perf_event_data: registers, then two words.
constexpr std::int64_t kRegistersEnd = 168;
constexpr std::int64_t kPerfEventEnd = 184;

enum class FieldKind : std::uint8_t { number, task, parent, mm };
struct Field {
    const char* name;
    const char* type;
    std::uint32_t offset;
    std::uint32_t size;
    FieldKind kind = FieldKind::number;
};

constexpr Field kTaskFields[] = {
    {"pid", "int", offsetof(task_struct, pid), 4},
    {"tgid", "int", offsetof(task_struct, tgid), 4},
    {"mm", "struct mm_struct *", offsetof(task_struct, mm), 8, FieldKind::mm},
    {"real_parent", "struct task_struct *", offsetof(task_struct, real_parent), 8,
     FieldKind::parent},
    {"parent", "struct task_struct *", offsetof(task_struct, parent), 8, FieldKind::task},
    {"group_leader", "struct task_struct *", offsetof(task_struct, group_leader), 8,
     FieldKind::parent},
    {"start_time", "u64", offsetof(task_struct, start_time), 8},
    {"start_boottime", "u64", offsetof(task_struct, start_boottime), 8},
    {"comm", "char[]", offsetof(task_struct, comm), sizeof(task_struct::comm)},
};

}  // namespace

bool Walk::check_context(const Register& reg_of, unsigned number, std::int32_t offset,
                         std::uint32_t bytes, Access access) {
    const bool is_syscall = input_.type == BPF_PROG_TYPE_SYSCALL;
    if (!check_fixed(reg_of, number, false)) {
        return false;
    }
    const std::int64_t fixed = std::int64_t{reg_of.offset} + offset;
    const std::int64_t min = fixed + reg_of.value.s64.min;
    const std::int64_t max = fixed + reg_of.value.s64.max;
    const auto size = static_cast<std::int64_t>(bytes);
    bool allowed = false;
    if (is_syscall) {
        allowed = reg_of.value.s64.min > -UINT16_MAX && reg_of.value.s64.max < UINT16_MAX &&
                  min >= 0 && max < UINT16_MAX &&
                  (size == 0 || !reg_of.value.is_constant() || min % size == 0);
    } else if (access == Access::read && min >= 0 && min + size <= kPerfEventEnd && size != 0 &&
               min % size == 0) {
        allowed = min >= kRegistersEnd || size == 8;
    }
    if (!allowed) {
        return refuse(EACCES, "invalid bpf_context access off=%lld size=%u",
                      static_cast<long long>(min), bytes);
    }
    if (is_syscall) {
        verdict_.context_bytes =
            std::max(verdict_.context_bytes, static_cast<std::uint32_t>(max + size));
    }
    return true;
}

bool Walk::load_field(const Register& reg_of, unsigned number, std::int32_t offset, unsigned bytes,
                      bool sign_extended, Register& result) {
    const char* name = name_of(reg_of.structure);
    const std::int64_t at = std::int64_t{reg_of.offset} + offset;
    if (at < 0) {
        return refuse(EACCES, "R%u is ptr_%s invalid negative access: off=%lld", number, name,
                      static_cast<long long>(at));
    }
    if (!reg_of.value.is_constant()) {
        return refuse(EACCES, "R%u is ptr_%s invalid variable offset: off=%d, var_off=%s", number,
                      name, offset, describe(reg_of.value.bits).c_str());
    }
    result = Register::number(Scalar::loaded(bytes, sign_extended));
    const bool is_task = reg_of.structure == Struct::task;
    const std::size_t size = is_task ? sizeof(task_struct) : sizeof(mm_struct);
    if (at + bytes > static_cast<std::int64_t>(size)) {
        return refuse(EACCES, "access beyond struct %s at off %lld size %u", name,
                      static_cast<long long>(at), bytes);
    }
    if (!is_task) {
        return at / 8 == (at + bytes - 1) / 8
                   ? true
                   : refuse(EACCES, "access beyond the end of member in struct %s at off %lld",
                            name, static_cast<long long>(at));
    }
    for (const Field& field : kTaskFields) {
        if (at < field.offset || at >= field.offset + field.size) {
            continue;
        }
        if (at + bytes > field.offset + field.size) {
            return refuse(EACCES,
                          "access beyond the end of member %s (mend:%u) in struct %s with type %s",
                          field.name, field.offset + field.size, name, field.type);
        }
        if (field.kind == FieldKind::number) {
            return true;
        }
        if (bytes != 8 || at != field.offset) {
            return refuse(EACCES,
                          "cannot access ptr member %s with moff %u in struct %s with off "
                          "%lld size %u",
                          field.name, field.offset, name, static_cast<long long>(at), bytes);
        }
        result = Register::pointer(Type::kernel_struct);
        result.structure = field.kind == FieldKind::mm ? Struct::mm : Struct::task;
        // What the kernel's types say of these fields: pointers that an RCU section protects.
        const bool protects =
            field.kind == FieldKind::parent &&
            (reg_of.trust == Trust::trusted || reg_of.trust == Trust::rcu || reg_of.reference != 0);
        result.trust = reg_of.trust == Trust::untrusted ? Trust::untrusted
                       : protects && in_rcu()           ? Trust::rcu
                                                        : Trust::walked;
        return true;
    }
    return true;
}

}  // namespace taskwork::bpf::verifier
