// SPDX-License-Identifier: Apache-2.0
//
// Reads of memory that may not be there, and the user stack. "Kernel memory" is what the program
// may read anyhow (interpreter.hpp); everything else outside of the arena is user memory. A read
// that fails leaves zeros.
#include <linux/bpf.h>
#include <ucontext.h>

#include <cerrno>
#include <cstring>

#include "bpf/checking.hpp"
#include "bpf/helpers.hpp"
#include "map/stack_trace.hpp"
#include "sync/arena.hpp"

namespace taskwork::bpf {

namespace {

/// Frames that a stack has at most, those skipped included (kernel.perf_event_max_stack).
constexpr unsigned kStackDepthMax = 127;

/// Checks the destination in R1, R2. nullptr: the machine has faulted, or the size is 0 (fine).
bool destination(Machine& machine, const std::uint64_t* arguments) noexcept {
    if (is_writable(machine, arguments[0], arguments[1])) {
        machine.charge(arguments[1] / 8);
        return !machine.faulted();
    }
    machine.fault(FaultKind::bad_argument);
    return false;
}

void* pointer(std::uint64_t value) noexcept { return reinterpret_cast<void*>(value); }

std::uint64_t cleared_on_error(const std::uint64_t* arguments, long result) noexcept {
    if (result < 0 && arguments[1] != 0) {
        std::memset(pointer(arguments[0]), 0, arguments[1]);
    }
    return as_result(result);
}

/// Why `address` cannot be read as kernel memory: the arena is ours, all else is not kernel memory.
long not_readable(std::uint64_t address) noexcept {
    return sync::Arena::contains(address, 1) ? -EFAULT : -ERANGE;
}

long read_kernel(Machine& machine, void* to, std::uint64_t from, std::size_t size) noexcept {
    if (!machine.may_read(from, size)) {
        return not_readable(from);
    }
    if (size != 0) {
        std::memmove(to, pointer(from), size);
    }
    return 0;
}

long read_kernel_string(Machine& machine, char* to, std::uint64_t from, std::size_t size) noexcept {
    if (size == 0) {
        return 0;
    }
    for (std::size_t i = 0; i + 1 < size;) {
        // As much as may be read together.
        std::size_t bytes = size - 1 - i;
        while (bytes != 0 && !machine.may_read(from + i, bytes)) {
            bytes /= 2;
        }
        if (bytes == 0) {
            return not_readable(from);
        }
        if (const void* const end = ::memccpy(to + i, pointer(from + i), 0, bytes)) {
            const auto length = static_cast<const char*>(end) - to;
            to[length - 1] = '\0';  // Others may have written meanwhile.
            return static_cast<long>(length);
        }
        i += bytes;
    }
    to[size - 1] = '\0';
    return static_cast<long>(size);
}

}  // namespace

long read_any_string(Machine& machine, char* to, std::uint64_t from, std::size_t size) noexcept {
    return machine.may_read(from, 1) ? read_kernel_string(machine, to, from, size)
                                     : machine.user_memory.read_string(to, from, size);
}

std::uint64_t probe_read(Machine& machine, const std::uint64_t* arguments) noexcept {
    if (!destination(machine, arguments)) {
        return 0;
    }
    const long result =
        machine.may_read(arguments[2], arguments[1])
            ? read_kernel(machine, pointer(arguments[0]), arguments[2], arguments[1])
            : machine.user_memory.read(pointer(arguments[0]), arguments[2], arguments[1]);
    return cleared_on_error(arguments, result);
}

std::uint64_t probe_read_str(Machine& machine, const std::uint64_t* arguments) noexcept {
    if (!destination(machine, arguments)) {
        return 0;
    }
    return cleared_on_error(arguments,
                            read_any_string(machine, static_cast<char*>(pointer(arguments[0])),
                                            arguments[2], arguments[1]));
}

/// Also bpf_copy_from_user: ours never fails where that one would sleep.
std::uint64_t probe_read_user(Machine& machine, const std::uint64_t* arguments) noexcept {
    if (!destination(machine, arguments)) {
        return 0;
    }
    return cleared_on_error(
        arguments, machine.user_memory.read(pointer(arguments[0]), arguments[2], arguments[1]));
}

std::uint64_t probe_read_user_str(Machine& machine, const std::uint64_t* arguments) noexcept {
    if (!destination(machine, arguments)) {
        return 0;
    }
    return cleared_on_error(
        arguments, machine.user_memory.read_string(static_cast<char*>(pointer(arguments[0])),
                                                   arguments[2], arguments[1]));
}

std::uint64_t probe_read_kernel(Machine& machine, const std::uint64_t* arguments) noexcept {
    if (!destination(machine, arguments)) {
        return 0;
    }
    return cleared_on_error(
        arguments, read_kernel(machine, pointer(arguments[0]), arguments[2], arguments[1]));
}

std::uint64_t probe_read_kernel_str(Machine& machine, const std::uint64_t* arguments) noexcept {
    if (!destination(machine, arguments)) {
        return 0;
    }
    return cleared_on_error(arguments,
                            read_kernel_string(machine, static_cast<char*>(pointer(arguments[0])),
                                               arguments[2], arguments[1]));
}

namespace {

/// Hands the addresses of the interrupted user stack to `add`, innermost first, until it returns
/// false. The walk by frame pointers stops where a frame cannot be read or does not lie above the
/// one before. Our events interrupt user code only, so the kernel's part of a stack is empty.
template <class Add>
void walk_user_stack(Machine& machine, Add add) noexcept {
    const auto* context = static_cast<const ucontext_t*>(machine.execution.ucontext);
    const greg_t* registers = context->uc_mcontext.gregs;
    auto low = static_cast<std::uint64_t>(registers[REG_RSP]);
    auto frame = static_cast<std::uint64_t>(registers[REG_RBP]);
    bool more = add(static_cast<std::uint64_t>(registers[REG_RIP]));
    for (unsigned depth = 1;
         depth < kStackDepthMax && more && frame >= low && frame % sizeof(frame) == 0; ++depth) {
        struct {
            std::uint64_t next;
            std::uint64_t return_address;
        } found{};
        if (machine.user_memory.read(&found, frame, sizeof(found)) != 0 ||
            found.return_address == 0) {
            break;
        }
        more = add(found.return_address);
        low = frame + sizeof(found);
        frame = found.next;
    }
}

bool is_context(const Machine& machine, std::uint64_t value) noexcept {
    return !kIsChecking || (machine.execution.context != nullptr &&
                            value == reinterpret_cast<std::uint64_t>(machine.execution.context));
}

}  // namespace

/// R1 context, R2 buffer, R3 its size, R4 flags.
std::uint64_t get_stack(Machine& machine, const std::uint64_t* arguments) noexcept {
    const std::uint64_t size = arguments[2];
    const std::uint64_t flags = arguments[3];
    if (!is_context(machine, arguments[0]) || !is_writable(machine, arguments[1], size)) {
        return machine.fault(FaultKind::bad_argument);
    }
    machine.charge(size / 8);
    if (machine.faulted()) {
        return 0;
    }
    auto* buffer = static_cast<unsigned char*>(pointer(arguments[1]));
    const auto finish = [buffer, size](std::uint64_t used, long result) {
        if (used < size) {
            std::memset(buffer + used, 0, size - used);
        }
        return as_result(result);
    };
    if ((flags & ~static_cast<std::uint64_t>(BPF_F_SKIP_FIELD_MASK | BPF_F_USER_STACK)) != 0 ||
        size % sizeof(std::uint64_t) != 0) {
        return finish(0, -EINVAL);
    }
    if ((flags & BPF_F_USER_STACK) == 0 || size == 0) {
        return finish(0, 0);
    }
    if (machine.execution.ucontext == nullptr) {
        return finish(0, -EFAULT);
    }
    std::uint64_t skip = flags & BPF_F_SKIP_FIELD_MASK;
    std::uint64_t used = 0;
    walk_user_stack(machine, [&](std::uint64_t address) {
        if (skip != 0) {
            --skip;
            return true;
        }
        std::memcpy(buffer + used, &address, sizeof(address));
        used += sizeof(address);
        return used < size;
    });
    if (skip != 0) {
        return finish(0, -EFAULT);
    }
    return finish(used, static_cast<long>(used));
}

/// R1 context, R2 map, R3 flags.
std::uint64_t get_stackid(Machine& machine, const std::uint64_t* arguments) noexcept {
    map::Map* map = map_argument(machine, arguments[1]);
    const std::uint64_t flags = arguments[2];
    if (kIsChecking && (!is_context(machine, arguments[0]) || map == nullptr ||
                        map->type != BPF_MAP_TYPE_STACK_TRACE)) {
        return machine.fault(FaultKind::bad_argument);
    }
    if ((flags & ~static_cast<std::uint64_t>(BPF_F_SKIP_FIELD_MASK | BPF_F_USER_STACK |
                                             BPF_F_FAST_STACK_CMP | BPF_F_REUSE_STACKID)) != 0) {
        return as_result(-EINVAL);
    }
    if ((flags & BPF_F_USER_STACK) == 0 || machine.execution.ucontext == nullptr) {
        return as_result(-EFAULT);
    }
    const std::uint32_t depth_max = map::stack_depth_max(*map);
    machine.charge(depth_max);
    std::uint64_t* addresses =
        machine.faulted() ? nullptr : map::stack_claim(*map, machine.task.process);
    if (addresses == nullptr) {
        return as_result(-ENOMEM);
    }
    std::uint64_t skip = flags & BPF_F_SKIP_FIELD_MASK;
    std::uint32_t depth = 0;
    walk_user_stack(machine, [&](std::uint64_t address) {
        if (skip != 0) {
            --skip;
            return true;
        }
        // Readers may still look at what was here.
        __atomic_store_n(&addresses[depth++], address, __ATOMIC_RELAXED);
        return depth < depth_max;
    });
    return as_result(map::stack_store(*map, addresses, depth, flags));
}

/// bpf_strncmp: R1 string, R2 its size, R3 the string to compare with, in read-only memory.
std::uint64_t compare_strings(Machine& machine, const std::uint64_t* arguments) noexcept {
    if (!is_readable(machine, arguments[0], arguments[1])) {
        return machine.fault(FaultKind::bad_argument);
    }
    const auto* left = static_cast<const unsigned char*>(pointer(arguments[0]));
    for (std::uint64_t i = 0; i < arguments[1]; ++i) {
        if (!is_readable(machine, arguments[2] + i, 1)) {
            return machine.fault(FaultKind::bad_argument);
        }
        const unsigned char right = *static_cast<const unsigned char*>(pointer(arguments[2] + i));
        if (i % 8 == 7) {
            machine.charge(1);
            if (machine.faulted()) {
                return 0;
            }
        }
        if (left[i] != right) {
            return as_result(left[i] < right ? -1 : 1);
        }
        if (right == 0) {
            break;
        }
    }
    return 0;
}

}  // namespace taskwork::bpf
