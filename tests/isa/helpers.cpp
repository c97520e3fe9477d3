// SPDX-License-Identifier: Apache-2.0
#include "tests/isa/helpers.hpp"

#include <cstring>
#include <iterator>

#include "bpf/helpers.hpp"
#include "bpf/interpreter.hpp"

namespace taskwork {

namespace {

using bpf::FaultKind;
using bpf::Machine;
using bpf::jit::NativeState;

bool unwound = false;

// ---- What they do -------------------------------------------------------------------------------

using Arguments = const std::uint64_t*;

std::uint64_t gather_bytes(Arguments arguments) noexcept {
    std::uint64_t gathered = 0;
    for (int i = 0; i < 5; ++i) {
        gathered = gathered << 8 | (arguments[i] & 0xff);
    }
    return gathered;
}

std::uint64_t memfrob(Arguments arguments) noexcept {
    auto* const bytes = reinterpret_cast<std::uint8_t*>(arguments[0]);
    for (std::uint64_t i = 0; i < arguments[1]; ++i) {
        bytes[i] ^= 42;
    }
    return arguments[0];
}

std::uint64_t no_op(Arguments) noexcept { return 0; }

std::uint64_t sqrti(Arguments arguments) noexcept {
    const std::uint64_t square = static_cast<std::uint32_t>(arguments[0]);
    std::uint64_t root = 0;
    for (std::uint64_t bit = 1U << 15; bit != 0; bit >>= 1) {
        if ((root | bit) * (root | bit) <= square) {
            root |= bit;
        }
    }
    return root;
}

std::uint64_t compare(Arguments arguments) noexcept {
    return bpf::as_result(std::strcmp(reinterpret_cast<const char*>(arguments[0]),
                                      reinterpret_cast<const char*>(arguments[1])));
}

std::uint64_t unwind(Arguments arguments) noexcept { return arguments[0]; }

// ---- For the interpreter ------------------------------------------------------------------------

template <std::uint64_t (*function)(Arguments) noexcept>
std::uint64_t interpreted(Machine&, Arguments arguments) noexcept {
    return function(arguments);
}

std::uint64_t checked_memfrob(Machine& machine, Arguments arguments) noexcept {
    return machine.may_write(arguments[0], arguments[1]) ? memfrob(arguments)
                                                         : machine.fault(FaultKind::bad_argument);
}

bool may_read_string(Machine& machine, std::uint64_t address) noexcept {
    while (machine.may_read(address, 1)) {
        if (*reinterpret_cast<const char*>(address++) == '\0') {
            return true;
        }
    }
    return false;
}
std::uint64_t checked_compare(Machine& machine, Arguments arguments) noexcept {
    return may_read_string(machine, arguments[0]) && may_read_string(machine, arguments[1])
               ? compare(arguments)
               : machine.fault(FaultKind::bad_argument);
}

/// A fault ends an execution from inside a helper; this one is none.
std::uint64_t interpreted_unwind(Machine& machine, Arguments arguments) noexcept {
    if (unwind(arguments) == 0) {
        unwound = true;
        machine.fault(FaultKind::bad_call);
    }
    return unwind(arguments);
}

// ---- For translated code ------------------------------------------------------------------------

template <std::uint64_t (*function)(Arguments) noexcept>
std::uint64_t native(std::uint64_t r1, std::uint64_t r2, std::uint64_t r3, std::uint64_t r4,
                     std::uint64_t r5, NativeState* state) {
    const std::uint64_t arguments[] = {r1, r2, r3, r4, r5};
    const std::uint64_t r0 = function(arguments);
    if (function == unwind && r0 == 0) {
        bpf::jit::taskwork_leave_native(state);
    }
    return r0;
}

constexpr bpf::Helper kTable[] = {{interpreted<gather_bytes>}, {checked_memfrob},
                                  {interpreted<no_op>},        {interpreted<sqrti>},
                                  {checked_compare},           {interpreted_unwind}};
constexpr bpf::jit::NativeHelper kNativeTable[] = {native<gather_bytes>, native<memfrob>,
                                                   native<no_op>,        native<sqrti>,
                                                   native<compare>,      native<unwind>};
static_assert(std::size(kTable) == std::size(kNativeTable));
constexpr const char* kNames[] = {"gather_bytes", "memfrob", "no_op", "sqrti", "strcmp", "unwind"};
constexpr bpf::Helper kNoHelper{};

bool exists(std::int32_t id) { return id >= 0 && static_cast<std::size_t>(id) < std::size(kTable); }

}  // namespace

namespace isa {

bool has_unwound() { return unwound; }
void forget_unwinding() { unwound = false; }

void give_helpers(bpf::jit::NativeState& state) {
    state.helpers = kNativeTable;
    state.helper_count = std::size(kNativeTable);
}

}  // namespace isa

namespace bpf {

const Helper& helper(std::int32_t id) noexcept { return exists(id) ? kTable[id] : kNoHelper; }

std::string helper_name(std::int32_t id) {
    return (exists(id) ? kNames[id] : "unknown") + ("#" + std::to_string(id));
}

}  // namespace bpf

}  // namespace taskwork
