// SPDX-License-Identifier: Apache-2.0
//
// Apart from the table (helpers.cpp), which tests of the engines replace by one of their own.
#include "bpf/checking.hpp"
#include "bpf/helpers.hpp"

namespace taskwork::bpf {

std::uint64_t call_helper(Machine& machine, std::int32_t id,
                          const std::uint64_t* arguments) noexcept {
    const Helper& wanted = helper(id);
    if (kIsChecking &&
        (wanted.function == nullptr || (wanted.sleepable && machine.level == Level::nmi))) {
        return machine.fault(FaultKind::bad_call);
    }
    if (kIsChecking && machine.holds_locks() && !wanted.under_lock) {
        return machine.fault(FaultKind::call_under_lock);
    }
    machine.charge(kHelperCost);
    return machine.faulted() ? 0 : wanted.function(machine, arguments);
}

}  // namespace taskwork::bpf
