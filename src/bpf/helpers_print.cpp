// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <cstring>

#include "bpf/checking.hpp"
#include "bpf/format.hpp"
#include "bpf/helpers.hpp"
#include "bpf/trace.hpp"

namespace taskwork::bpf {

namespace {

/// Arguments that bpf_trace_vprintk() and bpf_snprintf() take at most.
constexpr std::size_t kArgumentsMax = 12;

std::uint64_t print(Machine& machine, std::uint64_t format, std::uint64_t format_size,
                    const std::uint64_t* values, std::size_t count) noexcept {
    if (!is_readable(machine, format, format_size)) {
        return machine.fault(FaultKind::bad_argument);
    }
    machine.charge(format_size);
    if (machine.faulted()) {
        return 0;
    }
    TraceRing& ring = *ProgramTable::get().trace;
    TraceLine* line = ring.begin(machine.task);
    // Without a line the result is the same, and the loss is counted.
    char nothing = '\0';
    const long length = format_text(
        machine, line != nullptr ? line->text : &nothing, line != nullptr ? sizeof(line->text) : 0,
        reinterpret_cast<const char*>(format), format_size, values, count);
    if (line != nullptr) {
        if (length >= 0) {
            ring.commit(*line);
        } else {
            ring.abandon(*line);
        }
    }
    return as_result(length);
}

/// Copies the packed arguments (R `data`, R `size`) of the v-variants. Negative: an error, or the
/// machine has faulted.
long copy_arguments(Machine& machine, std::uint64_t data, std::uint64_t size,
                    std::uint64_t* values) noexcept {
    if (size % sizeof(std::uint64_t) != 0 || size > kArgumentsMax * sizeof(std::uint64_t)) {
        return -EINVAL;
    }
    if (!is_readable(machine, data, size)) {
        machine.fault(FaultKind::bad_argument);
        return -EFAULT;
    }
    if (size != 0) {
        std::memcpy(values, reinterpret_cast<const void*>(data), size);
    }
    return static_cast<long>(size / sizeof(std::uint64_t));
}

}  // namespace

std::uint64_t trace_printk(Machine& machine, const std::uint64_t* arguments) noexcept {
    return print(machine, arguments[0], arguments[1], arguments + 2, 3);
}

std::uint64_t trace_vprintk(Machine& machine, const std::uint64_t* arguments) noexcept {
    std::uint64_t values[kArgumentsMax];
    const long count = copy_arguments(machine, arguments[2], arguments[3], values);
    if (count < 0) {
        return as_result(count);
    }
    return print(machine, arguments[0], arguments[1], values, static_cast<std::size_t>(count));
}

/// R1 buffer, R2 its size, R3 format, R4 arguments, R5 their size. Returns the length with the NUL.
std::uint64_t snprintf(Machine& machine, const std::uint64_t* arguments) noexcept {
    std::uint64_t values[kArgumentsMax];
    const long count = copy_arguments(machine, arguments[3], arguments[4], values);
    if (count < 0) {
        return as_result(count);
    }
    // The format comes without a size: it is as long as its string.
    std::size_t format_size = 0;
    do {
        if (!is_readable(machine, arguments[2] + format_size, 1)) {
            return machine.fault(FaultKind::bad_argument);
        }
        ++format_size;
        machine.charge(1);
        if (machine.faulted()) {
            return 0;
        }
    } while (*reinterpret_cast<const char*>(arguments[2] + format_size - 1) != '\0');
    if (!is_writable(machine, arguments[0], arguments[1])) {
        return machine.fault(FaultKind::bad_argument);
    }
    const long length = format_text(machine, reinterpret_cast<char*>(arguments[0]), arguments[1],
                                    reinterpret_cast<const char*>(arguments[2]), format_size,
                                    values, static_cast<std::size_t>(count));
    return as_result(length < 0 ? length : length + 1);
}

}  // namespace taskwork::bpf
