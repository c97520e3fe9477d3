// SPDX-License-Identifier: Apache-2.0
//
// Helpers and kfuncs as native code calls them.
#pragma once

#include <cstdint>
#include <type_traits>

#include "bpf/interpreter.hpp"
#include "bpf/jit/native.hpp"

namespace taskwork::bpf::jit {

/// Whether there is a function. By its type: GCC 12 with -fsanitize=undefined takes no comparison
/// of a function's address for a constant.
template <auto>
struct Constant;
template <auto function>
inline constexpr bool exists =
    !std::is_same_v<Constant<function>, Constant<decltype(function){nullptr}>>;

/// nullptr for `function`: a call of it ends the execution.
template <auto function, std::uint64_t cost>
std::uint64_t adapter(std::uint64_t r1, std::uint64_t r2, std::uint64_t r3, std::uint64_t r4,
                      std::uint64_t r5, NativeState* state) {
    Machine& machine = *state->machine;
    std::uint64_t result = 0;
    if constexpr (!exists<function>) {
        machine.fault(FaultKind::bad_call);
    } else {
        const std::uint64_t arguments[] = {r1, r2, r3, r4, r5};
        machine.begin_native_call();
        machine.charge(cost);
        if (!machine.faulted()) {
            result = function(machine, arguments);
        }
    }
    if (__builtin_expect(machine.faulted(), 0)) {
        // Nothing here has a destructor.
        machine.leave_native(__builtin_return_address(0));
    }
    return result;
}

/// Of a helper that cannot fail and looks at no frame (Helper::Needs): what it counts as ends the
/// execution at a later call, if at all.
template <auto function, std::uint64_t cost>
std::uint64_t brief_adapter(std::uint64_t r1, std::uint64_t r2, std::uint64_t r3, std::uint64_t r4,
                            std::uint64_t r5, NativeState* state) {
    const std::uint64_t arguments[] = {r1, r2, r3, r4, r5};
    state->budget -= static_cast<std::int64_t>(cost);
    return function(*state->machine, arguments);
}
/// Of one without arguments, which counts as nothing.
template <auto function>
std::uint64_t bare_adapter(std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t,
                           std::uint64_t, NativeState* state) {
    return function(*state->machine, nullptr);
}

}  // namespace taskwork::bpf::jit
