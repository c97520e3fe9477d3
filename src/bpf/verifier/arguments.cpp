// SPDX-License-Identifier: Apache-2.0
//
// Arguments of helpers: what a register must hold, and the memory that is read or written through
// it.
#include <linux/bpf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "bpf/format.hpp"
#include "bpf/verifier/walk.hpp"

namespace taskwork::bpf::verifier {

namespace {

constexpr std::uint64_t kSizeMax = std::uint64_t{1} << 29;
constexpr const char* kMemoryTypes =
    "fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_";

bool is_memory(Argument argument) {
    switch (argument) {
    case Argument::map_key:
    case Argument::map_value:
    case Argument::map_value_out:
    case Argument::memory:
    case Argument::memory_or_null:
    case Argument::memory_out:
    case Argument::memory_out_or_null:
        return true;
    default:
        return false;
    }
}

}  // namespace

bool Walk::check_type(unsigned number, Argument argument, bool or_null) {
    const Register& given = reg(number);
    const auto expected = [&](const char* types) {
        return refuse(EACCES, "R%u type=%s expected=%s", number, type_name(given).c_str(), types);
    };
    const bool non_null = !given.or_null;
    if (is_memory(argument)) {
        const bool memory = given.type == Type::stack || given.type == Type::map_key ||
                            given.type == Type::map_value || given.type == Type::memory ||
                            given.type == Type::record || given.type == Type::context ||
                            (given.type == Type::kernel_struct && given.trust == Trust::trusted);
        return memory && (non_null || or_null) ? true : expected(kMemoryTypes);
    }
    switch (argument) {
    case Argument::context:
        return given.type == Type::context && non_null ? true : expected("ctx");
    case Argument::map_pointer:
        return given.type == Type::map_pointer ? true : expected("map_ptr");
    case Argument::record:
        return given.type == Type::record && non_null ? true : expected("ringbuf_mem");
    case Argument::string:
        return given.type == Type::map_value && non_null ? true : expected("map_value");
    case Argument::callback:
        return given.type == Type::function ? true : expected("func");
    case Argument::stack_or_null:
        return given.type == Type::stack ? true : expected("fp");
    case Argument::spin_lock:
        return given.type == Type::map_value && non_null ? true : expected("map_value, ptr_");
    case Argument::size:
    case Argument::size_or_zero:
    case Argument::constant_size:
        return given.is_scalar() ? true : expected("scalar");
    default:
        return true;
    }
}

bool Walk::check_argument(const Prototype& prototype, unsigned index, std::int32_t id, Call& call) {
    const unsigned number = BPF_REG_1 + index;
    const Argument argument = prototype.arguments[index];
    if (!may_read(number)) {
        return false;
    }
    if (argument == Argument::anything) {
        return true;
    }
    const bool nullable = argument == Argument::memory_or_null ||
                          argument == Argument::memory_out_or_null ||
                          argument == Argument::stack_or_null;
    const Register& given = reg(number);
    if (nullable && given.is_null()) {
        make_precise(number);
        return true;
    }
    if (!check_type(number, argument, nullable) ||
        (given.type == Type::context && !check_fixed(given, number, false))) {
        return false;
    }
    switch (argument) {
    case Argument::map_pointer:
        call.map = given.map;
        call.map_uid = given.map_uid;
        return true;
    case Argument::map_key:
        if (!check_memory_argument(number, call.map->key_size, Access::read, false)) {
            return false;
        }
        if (call.map->type == BPF_MAP_TYPE_ARRAY || call.map->type == BPF_MAP_TYPE_PERCPU_ARRAY) {
            call.key = constant_key(given, call.map->key_size);
        }
        return true;
    case Argument::map_value:
        return check_memory_argument(number, call.map->value_size, Access::read, false);
    case Argument::map_value_out:
        return check_memory_argument(
            number, call.map->value_size,
            call.map->type == BPF_MAP_TYPE_BLOOM_FILTER ? Access::read : Access::write, false);
    case Argument::size:
    case Argument::size_or_zero:
        return check_size(number, argument, prototype, call);
    case Argument::constant_size:
        if (!given.is_constant()) {
            return refuse(EACCES, "R%u is not a known constant'", number);
        }
        make_precise(number);
        call.alloc_size =
            static_cast<std::uint32_t>(std::min<std::uint64_t>(given.value.bits.value, UINT32_MAX));
        return true;
    case Argument::record:
        if (given.offset != 0) {
            return refuse(EINVAL,
                          "R%u must have zero offset when passed to release func or trusted arg to "
                          "kfunc",
                          number);
        }
        if (!check_fixed(given, number, true)) {
            return false;
        }
        if (given.reference == 0) {
            return refuse(EINVAL, "R%u must be referenced when passed to release function", number);
        }
        call.released = given.reference;
        return true;
    case Argument::string:
        return check_string(number) && (id != BPF_FUNC_snprintf || check_format(number));
    case Argument::callback:
        call.function = given.size;
        return true;
    case Argument::spin_lock:
        return lock_argument(number, false);
    default:
        return true;
    }
}

bool Walk::check_size(unsigned number, Argument argument, const Prototype& prototype, Call& call) {
    const Scalar size = reg(number).value;
    const bool zero_allowed = argument == Argument::size_or_zero;
    const Argument memory = prototype.arguments[number - BPF_REG_1 - 1];
    const bool writes = memory == Argument::memory_out || memory == Argument::memory_out_or_null;
    call.size_max = static_cast<std::int64_t>(std::min<std::uint64_t>(size.u64.max, INT64_MAX));
    if (size.s64.min < 0) {
        return refuse(EACCES, "R%u min value is negative, either use unsigned or 'var &= const'",
                      number);
    }
    if (size.u64.min == 0 && !zero_allowed) {
        return refuse(EACCES, "R%u invalid zero-sized read: u64=[%llu,%llu]", number,
                      static_cast<unsigned long long>(size.u64.min),
                      static_cast<unsigned long long>(size.u64.max));
    }
    if (size.u64.max >= kSizeMax) {
        return refuse(EACCES,
                      "R%u unbounded memory access, use 'var &= const' or 'if (var < const)'",
                      number);
    }
    if (!check_memory_argument(number - 1, static_cast<std::uint32_t>(size.u64.max),
                               writes ? Access::write : Access::read, zero_allowed)) {
        return false;
    }
    make_precise(number);
    return true;
}

bool Walk::check_memory_argument(unsigned number, std::uint32_t bytes, Access access,
                                 bool zero_allowed) {
    const Register& given = reg(number);
    if (given.is_null() && bytes == 0 && zero_allowed) {
        return true;
    }
    if (given.type == Type::context) {
        return refuse(EACCES, "R%u type=ctx expected=fp", number);
    }
    if (given.is_scalar()) {
        return refuse(EACCES, "R%u type=scalar expected=%s", number, kMemoryTypes);
    }
    if (given.type == Type::kernel_struct && access == Access::write) {
        return refuse(EACCES, "%s() may write into memory pointed by R%u type=%s",
                      call_name_.c_str(), number, type_name(given).c_str());
    }
    if (given.type != Type::stack) {
        return check_access(given, number, 0, bytes, access, zero_allowed, true);
    }
    if (bytes == 0 && !zero_allowed) {
        return refuse(EACCES, "invalid zero-sized read");
    }
    StackRange range{};
    if (!stack_range(given, number, 0, bytes, access, range)) {
        return false;
    }
    if (bytes == 0) {
        return true;
    }
    // What is written at a place that is known may be anything.
    if ((access == Access::read || !range.is_fixed()) &&
        !check_plain(given, number, range, bytes, true)) {
        return false;
    }
    if (access == Access::write) {
        writes_.push_back({number, bytes});
        return true;
    }
    const std::int32_t last = range.max + static_cast<std::int32_t>(bytes) - 1;
    for (std::uint32_t slot = static_cast<std::uint32_t>(~last) >> 3;
         slot <= static_cast<std::uint32_t>(~range.min) >> 3; ++slot) {
        read_slot(given.frame, slot);
    }
    return true;
}

void Walk::apply_writes() {
    for (const MemoryWrite& write : writes_) {
        const Register& to = reg(write.number);
        if (to.type != Type::stack) {
            continue;
        }
        const auto min = static_cast<std::int32_t>(to.offset + to.value.s64.min);
        const auto max = static_cast<std::int32_t>(to.offset + to.value.s64.max);
        scribble(to.frame, min, static_cast<std::uint32_t>(max - min) + write.bytes);
    }
    writes_.clear();
}

bool Walk::check_string(unsigned number) {
    const Register& given = reg(number);
    if ((given.map->flags & BPF_F_RDONLY_PROG) == 0 || given.map->map == nullptr ||
        given.map->map->frozen.load(std::memory_order_relaxed) == 0) {
        return refuse(EACCES, "R%u does not point to a readonly map'", number);
    }
    if (!given.value.is_constant()) {
        return refuse(EACCES, "R%u is not a constant address'", number);
    }
    void* base = nullptr;
    std::size_t size = 0;
    if (map::direct_values(*given.map->map, &base, &size) != no_error) {
        return refuse(EACCES, "no direct value access support for this map type");
    }
    if (given.offset < 0 || static_cast<std::uint32_t>(given.offset) >= given.map->value_size) {
        return check_map_value(given, number, 0, 1, Access::read, false);
    }
    if (std::memchr(static_cast<const char*>(base) + given.offset, 0,
                    given.map->value_size - static_cast<std::uint32_t>(given.offset)) == nullptr) {
        return refuse(EINVAL, "string is not zero-terminated");
    }
    return true;
}

/// bpf_snprintf: R3 the format, R5 the bytes of its arguments.
bool Walk::check_format(unsigned number) {
    const Register& given = reg(number);
    const Register& bytes = reg(BPF_REG_5);
    void* base = nullptr;
    std::size_t size = 0;
    if (!bytes.is_constant() || map::direct_values(*given.map->map, &base, &size) != no_error) {
        return true;  // its size is judged in its turn
    }
    const auto offset = static_cast<std::uint32_t>(given.offset);
    if (!is_format(static_cast<const char*>(base) + offset, given.map->value_size - offset,
                   bytes.value.bits.value / 8)) {
        return refuse(EINVAL, "Invalid format string");
    }
    return true;
}

/// The key of an array, if it is known; -1 if not.
std::int64_t Walk::constant_key(const Register& key, std::uint32_t bytes) {
    if (key.type != Type::stack || !key.value.is_constant() || bytes != 4) {
        return -1;
    }
    const std::int32_t at = key.offset;
    const auto index = static_cast<unsigned>(~at) >> 3;
    const std::vector<Slot>& stack = state_.frames[key.frame].stack;
    if (at >= 0 || index >= stack.size()) {
        return -1;
    }
    const Slot& slot = stack[index];
    const unsigned first = static_cast<unsigned>(at) & 7;
    if (std::all_of(slot.bytes.begin() + first,
                    slot.bytes.begin() + std::min<unsigned>(first + 4, 8),
                    [](Byte byte) { return byte == Byte::zero; })) {
        return first + 4 <= 8 ? 0 : -1;
    }
    // A spilled number would have to be precise: only what an instruction wrote is taken.
    return -1;
}

}  // namespace taskwork::bpf::verifier
