// SPDX-License-Identifier: Apache-2.0
//
// Locks in values, for programs: bpf_spin_lock (helpers 93 and 94) and the bpf_res_spin_lock
// kfuncs, over map/spin_lock.hpp. What the verifier refuses to load ends the execution in the
// checking build: any call while a lock is held but those of this file that the kernel allows, an
// unlock of what was not taken last, an end with a lock held.
//
// Which locks an execution holds stands in its task's table, where the kind is the tag; the machine
// knows how many of the last ones are its own.
#include <linux/bpf.h>

#include <cerrno>

#include "bpf/checking.hpp"
#include "bpf/helpers.hpp"
#include "map/map.hpp"

namespace taskwork::bpf {

namespace {

/// A wait that ends by time costs this part of an execution: time, too, is bounded.
constexpr std::uint64_t kTimeoutsMax = 64;

map::SpinLocks& spin_locks() noexcept { return map::MapTable::get().locks; }

std::uint64_t take_resilient(Machine& machine, std::uint64_t address,
                             Machine::LockKind kind) noexcept {
    const std::errc error = machine.take_lock(address, kind);
    return machine.faulted() ? 0 : as_result(negative_errno(error));
}

/// What the flags of a lock taken with irqsave hold: not anything that a program could have.
std::uint64_t flags_of(std::uint64_t address) noexcept { return ~address; }

/// The flags in R2, or nullptr after a fault.
std::uint64_t* flags_argument(Machine& machine, std::uint64_t address) noexcept {
    if (kIsChecking && (address % sizeof(std::uint64_t) != 0 ||
                        !machine.may_write(address, sizeof(std::uint64_t)))) {
        machine.fault(FaultKind::bad_argument);
        return nullptr;
    }
    return reinterpret_cast<std::uint64_t*>(address);
}

}  // namespace

std::errc Machine::take_lock(std::uint64_t address, LockKind kind) noexcept {
    auto* const word =
        kIsChecking ? find_lock(address, kind) : reinterpret_cast<map::LockWord*>(address);
    if (kIsChecking && word == nullptr) {
        fault(FaultKind::bad_argument);
        return std::errc::invalid_argument;
    }
    const std::errc error = spin_locks().lock(
        task, *word, kind == LockKind::spin ? map::kSpinLockNs : map::kResilientLockNs,
        static_cast<unsigned>(kind));
    if (error == no_error) {
        ++lock_count_;
    } else if (error == std::errc::timed_out) {
        charge(kInsnsMax[static_cast<unsigned>(level)] / kTimeoutsMax);
    }
    return error;
}

void Machine::give_lock(std::uint64_t address, LockKind kind) noexcept {
    auto* word = reinterpret_cast<map::LockWord*>(address);
    if (lock_count_ == 0 || !spin_locks().is_last(task, *word, static_cast<unsigned>(kind))) {
        fault(FaultKind::lock_misused);
        return;
    }
    spin_locks().unlock(task, *word);
    --lock_count_;
}

void Machine::open_locks() noexcept {
    spin_locks().unlock_down_to(task, spin_locks().held(task) - lock_count_);
    lock_count_ = 0;
}

/// R1 lock. It cannot fail: where it does not get the lock in time the execution ends.
std::uint64_t spin_lock(Machine& machine, const std::uint64_t* arguments) noexcept {
    if (machine.level == Level::nmi) {
        return machine.fault(FaultKind::bad_call);  // An inner map's, found by an event's program.
    }
    if (machine.take_lock(arguments[0], Machine::LockKind::spin) != no_error) {
        machine.fault(FaultKind::lock_timeout);
    }
    return 0;
}

/// R1 lock.
std::uint64_t spin_unlock(Machine& machine, const std::uint64_t* arguments) noexcept {
    machine.give_lock(arguments[0], Machine::LockKind::spin);
    return 0;
}

/// R1 lock. Returns 0, -EDEADLK, -ETIMEDOUT.
std::uint64_t res_spin_lock(Machine& machine, const std::uint64_t* arguments) noexcept {
    return take_resilient(machine, arguments[0], Machine::LockKind::resilient);
}

/// R1 lock.
std::uint64_t res_spin_unlock(Machine& machine, const std::uint64_t* arguments) noexcept {
    machine.give_lock(arguments[0], Machine::LockKind::resilient);
    return 0;
}

/// R1 lock, R2 flags. In the kernel it keeps interrupts away, but not those that run the programs
/// of perf events; here there are no others.
std::uint64_t res_spin_lock_irqsave(Machine& machine, const std::uint64_t* arguments) noexcept {
    std::uint64_t* flags = flags_argument(machine, arguments[1]);
    if (flags == nullptr) {
        return 0;
    }
    const std::uint64_t result =
        take_resilient(machine, arguments[0], Machine::LockKind::resilient_irq);
    if (result == 0 && !machine.faulted()) {
        *flags = flags_of(arguments[0]);
    }
    return result;
}

/// R1 lock, R2 flags.
std::uint64_t res_spin_unlock_irqrestore(Machine& machine,
                                         const std::uint64_t* arguments) noexcept {
    std::uint64_t* flags = flags_argument(machine, arguments[1]);
    if (flags == nullptr) {
        return 0;
    }
    if (*flags != flags_of(arguments[0])) {
        return machine.fault(FaultKind::lock_misused);
    }
    *flags = 0;
    machine.give_lock(arguments[0], Machine::LockKind::resilient_irq);
    return 0;
}

}  // namespace taskwork::bpf
