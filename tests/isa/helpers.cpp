// SPDX-License-Identifier: Apache-2.0
#include "tests/isa/helpers.hpp"

#include "bpf/helpers.hpp"
#include "bpf/interpreter.hpp"

namespace taskwork {

namespace {

using bpf::FaultKind;
using bpf::Machine;

bool unwound = false;

std::uint64_t gather_bytes(Machine&, const std::uint64_t* arguments) noexcept {
    std::uint64_t gathered = 0;
    for (int i = 0; i < 5; ++i) {
        gathered = gathered << 8 | (arguments[i] & 0xff);
    }
    return gathered;
}

std::uint64_t memfrob(Machine& machine, const std::uint64_t* arguments) noexcept {
    if (!machine.may_write(arguments[0], arguments[1])) {
        return machine.fault(FaultKind::bad_argument);
    }
    auto* const bytes = reinterpret_cast<std::uint8_t*>(arguments[0]);
    for (std::uint64_t i = 0; i < arguments[1]; ++i) {
        bytes[i] ^= 42;
    }
    return arguments[0];
}

std::uint64_t no_op(Machine&, const std::uint64_t*) noexcept { return 0; }

std::uint64_t sqrti(Machine&, const std::uint64_t* arguments) noexcept {
    const std::uint64_t square = static_cast<std::uint32_t>(arguments[0]);
    std::uint64_t root = 0;
    for (std::uint64_t bit = 1U << 15; bit != 0; bit >>= 1) {
        if ((root | bit) * (root | bit) <= square) {
            root |= bit;
        }
    }
    return root;
}

std::uint64_t compare(Machine& machine, const std::uint64_t* arguments) noexcept {
    for (std::uint64_t i = 0;; ++i) {
        if (!machine.may_read(arguments[0] + i, 1) || !machine.may_read(arguments[1] + i, 1)) {
            return machine.fault(FaultKind::bad_argument);
        }
        const int a = *reinterpret_cast<const std::uint8_t*>(arguments[0] + i);
        const int b = *reinterpret_cast<const std::uint8_t*>(arguments[1] + i);
        if (a != b || a == 0) {
            return bpf::as_result(a - b);
        }
    }
}

/// A fault ends an execution from inside a helper; this one is none.
std::uint64_t unwind(Machine& machine, const std::uint64_t* arguments) noexcept {
    if (arguments[0] == 0) {
        unwound = true;
        machine.fault(FaultKind::bad_call);
    }
    return arguments[0];
}

constexpr bpf::Helper kTable[] = {{gather_bytes}, {memfrob}, {no_op}, {sqrti}, {compare}, {unwind}};
constexpr const char* kNames[] = {"gather_bytes", "memfrob", "no_op", "sqrti", "strcmp", "unwind"};
constexpr bpf::Helper kNoHelper{};

bool exists(std::int32_t id) { return id >= 0 && static_cast<std::size_t>(id) < std::size(kTable); }

}  // namespace

namespace isa {

bool has_unwound() { return unwound; }
void forget_unwinding() { unwound = false; }

}  // namespace isa

namespace bpf {

const Helper& helper(std::int32_t id) noexcept { return exists(id) ? kTable[id] : kNoHelper; }

std::string helper_name(std::int32_t id) {
    return (exists(id) ? kNames[id] : "unknown") + ("#" + std::to_string(id));
}

}  // namespace bpf

}  // namespace taskwork
