// SPDX-License-Identifier: Apache-2.0
//
// Loads, stores and atomics, and what of memory may be accessed, by kind of pointer. The stack is
// in stack.cpp, contexts and kernel structs in context.cpp.
#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstring>

#include "bpf/verifier/walk.hpp"

namespace taskwork::bpf::verifier {

namespace {

constexpr std::uint64_t kOffsetMax = std::uint64_t{1} << 29;

/// What the kernel has for maps of the type.
const char* struct_of(const MapInfo& map) {
    switch (map.type) {
    case BPF_MAP_TYPE_HASH:
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_LRU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
    case BPF_MAP_TYPE_HASH_OF_MAPS:
        return "bpf_htab";
    case BPF_MAP_TYPE_ARRAY:
    case BPF_MAP_TYPE_PERCPU_ARRAY:
    case BPF_MAP_TYPE_ARRAY_OF_MAPS:
    case BPF_MAP_TYPE_PROG_ARRAY:
    case BPF_MAP_TYPE_PERF_EVENT_ARRAY:
        return "bpf_array";
    case BPF_MAP_TYPE_LPM_TRIE:
        return "lpm_trie";
    case BPF_MAP_TYPE_QUEUE:
    case BPF_MAP_TYPE_STACK:
        return "bpf_queue_stack";
    case BPF_MAP_TYPE_STACK_TRACE:
        return "bpf_stack_map";
    case BPF_MAP_TYPE_RINGBUF:
        return "bpf_ringbuf_map";
    case BPF_MAP_TYPE_BLOOM_FILTER:
        return "bpf_bloom_filter";
    default:
        return "bpf_map";
    }
}

}  // namespace

// ---- Instructions -------------------------------------------------------------------------------

bool Walk::load_instruction() {
    const bpf_insn& at = insn();
    if (!may_read(at.src_reg)) {
        return false;
    }
    Register result;
    if (!load(at.src_reg, at.off, access_bytes(at.code), BPF_MODE(at.code) == kModeLoadSigned,
              result) ||
        !use_pointer(reg(at.src_reg))) {
        return false;
    }
    reg(at.dst_reg) = result;
    return true;
}

bool Walk::store_instruction() {
    const bpf_insn& at = insn();
    const bool by_register = BPF_CLASS(at.code) == BPF_STX;
    if ((by_register && !may_read(at.src_reg)) || !may_read(at.dst_reg)) {
        return false;
    }
    if (!by_register) {
        const Register value = Register::constant(static_cast<std::uint64_t>(std::int64_t{at.imm}));
        return store(at.dst_reg, at.off, access_bytes(at.code), &value, MAX_BPF_REG) &&
               use_pointer(reg(at.dst_reg));
    }
    Register& src = reg(at.src_reg);
    // A copy on the stack is the same number.
    if (reg(at.dst_reg).type == Type::stack && src.is_scalar() && src.id == 0 &&
        !src.value.is_constant()) {
        src.id = new_id();
    }
    const Register value = src;
    return store(at.dst_reg, at.off, access_bytes(at.code), &value, at.src_reg) &&
           use_pointer(reg(at.dst_reg));
}

bool Walk::atomic() {
    const bpf_insn& at = insn();
    const unsigned bytes = access_bytes(at.code);
    const unsigned pointer = at.imm == kAtomicLoadAcquire ? at.src_reg : at.dst_reg;
    const unsigned other = at.imm == kAtomicLoadAcquire ? at.dst_reg : at.src_reg;
    if (at.imm != kAtomicLoadAcquire && !may_read(other)) {
        return false;
    }
    if (!may_read(pointer)) {
        return false;
    }
    if (at.imm == BPF_CMPXCHG && !may_read(BPF_REG_0)) {
        return false;
    }
    const Register& place = reg(pointer);
    if (place.type == Type::context) {
        return refuse(EACCES, "BPF_ATOMIC %s R%u %s is not allowed",
                      at.imm == kAtomicLoadAcquire ? "loads from" : "stores into", pointer,
                      type_name(place).c_str());
    }
    if (place.type == Type::kernel_struct && !place.or_null && at.imm != kAtomicLoadAcquire) {
        return refuse(EACCES, "only read is supported");
    }
    Register loaded;
    if (at.imm == kAtomicLoadAcquire) {
        if (!load(pointer, at.off, bytes, false, loaded, true) || !use_pointer(reg(pointer))) {
            return false;
        }
        reg(other) = loaded;
        return true;
    }
    if (at.imm == kAtomicStoreRelease) {
        const Register value = reg(other);
        return store(pointer, at.off, bytes, &value, other, true) && use_pointer(reg(pointer));
    }
    if (!load(pointer, at.off, bytes, false, loaded, true)) {
        return false;
    }
    if (place.type == Type::stack && !place.value.is_constant()) {
        return refuse(EACCES,
                      "variable offset stack pointer cannot be passed into helper function; "
                      "var_off=%s off=%d size=%u",
                      describe(place.value.bits).c_str(), place.offset + at.off, bytes);
    }
    if (!store(pointer, at.off, bytes, nullptr, MAX_BPF_REG, true) || !use_pointer(reg(pointer))) {
        return false;
    }
    if (at.imm == BPF_CMPXCHG) {
        reg(BPF_REG_0) = Register::number(Scalar::loaded(bytes));
    } else if ((at.imm & BPF_FETCH) != 0) {
        reg(other) = Register::number(Scalar::loaded(bytes));
    }
    return true;
}

/// Whether a load is a probe depends on the pointer, and there is one translation of it.
bool Walk::use_pointer(const Register& pointer) {
    const bool is_struct = pointer.type == Type::kernel_struct;
    const PointerUse use = pointer.type == Type::context     ? PointerUse::context
                           : !is_struct                      ? PointerUse::memory
                           : pointer.trust == Trust::trusted ? PointerUse::trusted_struct
                                                             : PointerUse::struct_or_null;
    PointerUse& known = pointer_uses_[insn_];
    if (known != PointerUse::none && known != use &&
        !(is_struct && known >= PointerUse::trusted_struct)) {
        return refuse(EINVAL, "same insn cannot be used with different pointers");
    }
    known = std::max(known, use);
    return true;
}

// ---- Loads and stores ---------------------------------------------------------------------------

/// Only where the processor needs it: of the stack, and of atomics.
bool Walk::check_alignment(const Register& reg_of, std::int32_t offset, unsigned bytes) {
    const Tnum sum =
        reg_of.value.bits +
        Tnum::constant(static_cast<std::uint64_t>(std::int64_t{reg_of.offset} + offset));
    if (sum.is_aligned(bytes)) {
        return true;
    }
    const char* kind = reg_of.type == Type::stack       ? "stack "
                       : reg_of.type == Type::map_value ? "value "
                       : reg_of.type == Type::context   ? "context "
                                                        : "";
    // Of numbers all is the offset.
    return refuse(EACCES, "misaligned %saccess off %s+%d+%d size %u", kind,
                  describe(reg_of.value.bits).c_str(), reg_of.offset, offset, bytes);
}

bool Walk::load(unsigned number, std::int32_t offset, unsigned bytes, bool sign_extended,
                Register& result, bool aligned) {
    const Register from = reg(number);
    result = Register::number(Scalar::loaded(bytes, sign_extended));
    if ((aligned || from.type == Type::stack) && !check_alignment(from, offset, bytes)) {
        return false;
    }
    if (from.type == Type::stack) {
        return load_stack(from, number, offset, bytes, sign_extended, result);
    }
    if (from.type == Type::kernel_struct && !from.or_null) {
        return load_field(from, number, offset, bytes, sign_extended, result);
    }
    if (!check_access(from, number, offset, bytes, Access::read, false, false)) {
        return false;
    }
    fold_constant(from, offset, bytes, sign_extended, result);
    return true;
}

bool Walk::store(unsigned number, std::int32_t offset, unsigned bytes, const Register* value,
                 unsigned value_number, bool aligned) {
    const Register to = reg(number);
    if ((aligned || to.type == Type::stack) && !check_alignment(to, offset, bytes)) {
        return false;
    }
    if (to.type == Type::stack) {
        return store_stack(to, number, offset, bytes, value, value_number);
    }
    return check_access(to, number, offset, bytes, Access::write, false, false);
}

/// A map that nobody can write any more says already what a load will find.
bool Walk::fold_constant(const Register& from, std::int32_t offset, unsigned bytes,
                         bool sign_extended, Register& result) {
    if (from.type != Type::map_value || !from.value.is_constant() || from.map->map == nullptr ||
        (from.map->flags & BPF_F_RDONLY_PROG) == 0 ||
        from.map->map->frozen.load(std::memory_order_relaxed) == 0 || from.map->max_entries != 1) {
        return false;
    }
    void* base = nullptr;
    std::size_t size = 0;
    if (map::direct_values(*from.map->map, &base, &size) != no_error) {
        return false;
    }
    const std::int64_t at = std::int64_t{from.offset} + offset;
    std::uint64_t word = 0;
    std::memcpy(&word, static_cast<const char*>(base) + at, bytes);
    result = Register::constant(word);
    if (sign_extended && bytes < 8) {
        result = Register::number(sign_extend(result.value, bytes * 8, true));
    }
    return true;
}

// ---- What may be accessed -----------------------------------------------------------------------

/// A pointer that must be as it came.
bool Walk::check_fixed(const Register& reg_of, unsigned number, bool offset_allowed) {
    const std::string type = type_name(reg_of);
    if (!offset_allowed && reg_of.offset != 0) {
        return refuse(EACCES, "dereference of modified %s ptr R%u off=%d disallowed", type.c_str(),
                      number, reg_of.offset);
    }
    if (reg_of.offset < 0) {
        return refuse(EACCES, "negative offset %s ptr R%u off=%d disallowed", type.c_str(), number,
                      reg_of.offset);
    }
    if (!reg_of.value.is_constant()) {
        return refuse(EACCES, "variable %s access var_off=%s disallowed", type.c_str(),
                      describe(reg_of.value.bits).c_str());
    }
    return true;
}

bool Walk::check_bounds(const Register& reg_of, std::int64_t offset, std::uint32_t bytes,
                        std::uint32_t region, bool zero_allowed) {
    const bool size_ok = bytes > 0 || zero_allowed;
    if (offset >= 0 && size_ok && offset + bytes <= region) {
        return true;
    }
    const auto shown = static_cast<int>(offset);
    switch (reg_of.type) {
    case Type::map_key:
        note("invalid access to map key, key_size=%u off=%d size=%u", region, shown, bytes);
        break;
    case Type::map_value:
        note("invalid access to map value, value_size=%u off=%d size=%u", region, shown, bytes);
        break;
    default:
        note("invalid access to memory, mem_size=%u off=%d size=%u", region, shown, bytes);
        break;
    }
    return false;
}

bool Walk::check_region(const Register& reg_of, unsigned number, std::int32_t offset,
                        std::uint32_t bytes, std::uint32_t region, bool zero_allowed) {
    const std::int64_t fixed = std::int64_t{reg_of.offset} + offset;
    const std::int64_t min = reg_of.value.s64.min;
    if (min < 0 && (min == INT64_MIN || fixed + min < 0 || fixed + min > INT32_MAX)) {
        return refuse(EACCES,
                      "R%u min value is negative, either use unsigned index or do a if (index >=0) "
                      "check.",
                      number);
    }
    if (!check_bounds(reg_of, fixed + min, bytes, region, zero_allowed)) {
        return refuse(EACCES, "R%u min value is outside of the allowed memory range", number);
    }
    const std::uint64_t max = reg_of.value.u64.max;
    if (max >= kOffsetMax) {
        return refuse(EACCES,
                      "R%u unbounded memory access, make sure to bounds check any such access",
                      number);
    }
    if (!check_bounds(reg_of, fixed + static_cast<std::int64_t>(max), bytes, region,
                      zero_allowed)) {
        return refuse(EACCES, "R%u max value is outside of the allowed memory range", number);
    }
    return true;
}

bool Walk::check_map_value(const Register& reg_of, unsigned number, std::int32_t offset,
                           std::uint32_t bytes, Access access, bool zero_allowed) {
    const MapInfo& map = *reg_of.map;
    const std::uint32_t forbidden = access == Access::write ? BPF_F_RDONLY_PROG : BPF_F_WRONLY_PROG;
    if ((map.flags & forbidden) != 0) {
        return refuse(EACCES, "%s map forbidden, value_size=%u off=%" PRId64 " size=%u",
                      access == Access::write ? "write into" : "read from", map.value_size,
                      reg_of.value.s64.min + reg_of.offset + offset, bytes);
    }
    if (!check_region(reg_of, number, offset, bytes, map.value_size, zero_allowed)) {
        return false;
    }
    const std::int64_t fixed = std::int64_t{reg_of.offset} + offset;
    const std::int64_t first = fixed + reg_of.value.s64.min;
    const std::int64_t end = fixed + static_cast<std::int64_t>(reg_of.value.u64.max) + bytes;
    const char* field = nullptr;
    map::for_each_field(map.fields, [&](const map::SpecialField& kind, std::int32_t at) {
        if (first < std::int64_t{at} + kind.bytes && at < end) {
            field = kind.type;
        }
    });
    if (field != nullptr) {
        return refuse(EACCES, "%s cannot be accessed directly by load/store", field);
    }
    return true;
}

bool Walk::check_access(const Register& reg_of, unsigned number, std::int32_t offset,
                        std::uint32_t bytes, Access access, bool zero_allowed, bool by_helper) {
    if (reg_of.or_null) {
        return refuse(EACCES, "R%u invalid mem access '%s'", number, type_name(reg_of).c_str());
    }
    const bool writes = access == Access::write;
    switch (reg_of.type) {
    case Type::context:
        return check_context(reg_of, number, offset, bytes, access);
    case Type::map_value:
        return check_map_value(reg_of, number, offset, bytes, access, zero_allowed);
    case Type::map_key:
        if (writes) {
            return refuse(EACCES,
                          by_helper ? "R%u cannot write into map_key"
                                    : "write to change key R%u not allowed",
                          number);
        }
        return check_region(reg_of, number, offset, bytes, reg_of.map->key_size, zero_allowed);
    case Type::memory:
        if (writes && reg_of.read_only) {
            return refuse(EACCES, "R%u cannot write into %s", number, type_name(reg_of).c_str());
        }
        [[fallthrough]];
    case Type::record:
        return check_region(reg_of, number, offset, bytes, reg_of.size, zero_allowed);
    case Type::kernel_struct:
        if (writes) {
            return refuse(EACCES, "only read is supported");
        }
        {
            Register ignored;
            return load_field(reg_of, number, offset, bytes, false, ignored);
        }
    case Type::map_pointer:
        // Our maps are opaque: there is nothing that could be read.
        if (writes) {
            return refuse(EACCES, "only read from %s is supported", struct_of(*reg_of.map));
        }
        if (reg_of.offset + offset < 0) {
            return refuse(EACCES, "R%u is %s invalid negative access: off=%d", number,
                          struct_of(*reg_of.map), reg_of.offset + offset);
        }
        return refuse(EACCES, "access beyond struct %s at off %d size %u", struct_of(*reg_of.map),
                      reg_of.offset + offset, bytes);
    default:
        return refuse(EACCES, "R%u invalid mem access '%s'", number, type_name(reg_of).c_str());
    }
}

}  // namespace taskwork::bpf::verifier
