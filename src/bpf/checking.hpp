// SPDX-License-Identifier: Apache-2.0
//
// What the verifier has proven of a program is not asked again when it runs: where it reads and
// writes, and that a helper is called with what it takes. In the checking build it is: the sources
// of taskwork_bpf that run programs, once more (taskwork_bpf_checking, with TASKWORK_CHECKING), for
// tests, and only for them. There a program that nobody has verified can be run, and what it may
// not do ends the execution with a counted fault; what is shipped refuses to load one.
//
// What nobody can prove is asked in both: the limits of an execution, and what an address given to
// bpf_probe_read_kernel() and its kin is the address of.
//
// Everything here has internal linkage: both builds of a source see a text of their own.
#pragma once

#include <cstdint>

#include "bpf/interpreter.hpp"
#include "sync/arena.hpp"

namespace taskwork::bpf {

#ifdef TASKWORK_CHECKING
constexpr bool kIsChecking = true;
#else
constexpr bool kIsChecking = false;
#endif

/// Whether [address, address + size) may be read / written, where that is proven.
/// Context: any.
static inline bool is_readable(Machine& machine, std::uint64_t address,
                               std::uint64_t size) noexcept {
    return !kIsChecking || machine.may_read(address, size);
}
static inline bool is_writable(Machine& machine, std::uint64_t address,
                               std::uint64_t size) noexcept {
    return !kIsChecking || machine.may_write(address, size);
}
/// Whether there is anything behind a pointer to a kernel struct, which may be null.
/// Context: any.
static inline bool is_probed(Machine& machine, std::uint64_t address, std::uint64_t size) noexcept {
    return kIsChecking ? machine.may_read(address, size) : sync::Arena::contains(address, size);
}
/// The map that an argument names; nullptr: it is none of the program's.
/// Context: any.
static inline map::Map* map_argument(Machine& machine, std::uint64_t value) noexcept {
    return kIsChecking ? machine.map_of(value) : reinterpret_cast<map::Map*>(value);
}
/// Whether an argument is a function of the program; and which.
/// Context: any.
static inline bool function_argument(const Machine& machine, std::uint64_t value,
                                     std::uint32_t* entry) noexcept {
    if (kIsChecking) {
        return machine.is_function(value, entry);
    }
    *entry = static_cast<std::uint32_t>(value);
    return true;
}

}  // namespace taskwork::bpf
