// SPDX-License-Identifier: Apache-2.0
//
// Maps, ring buffers, and the two helpers that call back.
#include <linux/bpf.h>

#include <cerrno>

#include "bpf/checking.hpp"
#include "bpf/helpers.hpp"
#include "map/map.hpp"
#include "map/map_in_map.hpp"
#include "map/program_array.hpp"
#include "map/ring_buffer.hpp"

namespace taskwork::bpf {

namespace {

constexpr std::uint64_t kLoopsMax = std::uint64_t{1} << 23;

std::uint64_t as_result(std::errc error) noexcept { return bpf::as_result(negative_errno(error)); }

/// The map in R1, which must be one of the program's and hold elements that are found by a key that
/// the program may read; nullptr: the machine has faulted.
map::Map* keyed_map(Machine& machine, const std::uint64_t* arguments) noexcept {
    map::Map* map = map_argument(machine, arguments[0]);
    if (kIsChecking && (map == nullptr || !map::has_keys(*map) ||
                        !machine.may_read(arguments[1], map->key_size))) {
        machine.fault(FaultKind::bad_argument);
        return nullptr;
    }
    return map;
}

/// The map in R1, which must be one of the program's and have no keys, unless the program may not
/// do with it what it is about to (`forbidden`); nullptr: the machine has faulted.
map::Map* keyless_map(Machine& machine, std::uint64_t value, std::uint32_t forbidden) noexcept {
    map::Map* map = map_argument(machine, value);
    if (kIsChecking &&
        (map == nullptr || !map::has_values_without_keys(*map) || (map->flags & forbidden) != 0)) {
        machine.fault(FaultKind::bad_argument);
        return nullptr;
    }
    machine.charge(map->value_size / 8);
    return machine.faulted() ? nullptr : map;
}

map::Map* ring_map(Machine& machine, std::uint64_t value) noexcept {
    map::Map* map = map_argument(machine, value);
    if (kIsChecking && (map == nullptr || map->type != BPF_MAP_TYPE_RINGBUF)) {
        machine.fault(FaultKind::bad_argument);
        return nullptr;
    }
    return map;
}

struct ForEach {
    Machine* machine;
    map::Map* map;
    std::uint32_t entry;
    std::uint64_t context;
};

/// The part of a value that the program gets.
void* own_slot(Machine& machine, const map::Map& map, void* value) noexcept {
    return value != nullptr && map::is_per_cpu(map) ? map::slot_of(map, value, machine.processor())
                                                    : value;
}

long for_each_element(const void* key, void* value, void* argument) noexcept {
    const ForEach& walk = *static_cast<ForEach*>(argument);
    value = own_slot(*walk.machine, *walk.map, value);
    const Machine::ReadableKey readable(*walk.machine, key, walk.map->key_size);
    if (kIsChecking) {
        walk.machine->remember_value(*walk.map, value);
    }
    const std::uint64_t result = walk.machine->call(
        walk.entry, reinterpret_cast<std::uint64_t>(walk.map), reinterpret_cast<std::uint64_t>(key),
        reinterpret_cast<std::uint64_t>(value), walk.context);
    return result != 0 || walk.machine->faulted() ? 1 : 0;
}

}  // namespace

std::uint64_t map_lookup_elem(Machine& machine, const std::uint64_t* arguments) noexcept {
    map::Map* map = keyed_map(machine, arguments);
    if (map == nullptr) {
        return 0;
    }
    if (kIsChecking && (map->flags & BPF_F_WRONLY_PROG) != 0) {
        return machine.fault(FaultKind::bad_argument);
    }
    void* value =
        own_slot(machine, *map, map::lookup(*map, reinterpret_cast<const void*>(arguments[1])));
    if (kIsChecking && value != nullptr && !map::is_outer(*map)) {
        machine.remember_value(*map, value);
    }
    return reinterpret_cast<std::uint64_t>(value);
}

std::uint64_t map_update_elem(Machine& machine, const std::uint64_t* arguments) noexcept {
    map::Map* map = keyed_map(machine, arguments);
    if (map == nullptr) {
        return 0;
    }
    if (kIsChecking && (map::is_outer(*map) || (map->flags & BPF_F_RDONLY_PROG) != 0 ||
                        !machine.may_read(arguments[2], map->value_size))) {
        return machine.fault(FaultKind::bad_argument);
    }
    machine.charge(map->value_size / 8);
    if (machine.faulted()) {
        return 0;
    }
    const auto* key = reinterpret_cast<const void*>(arguments[1]);
    const auto* value = reinterpret_cast<const void*>(arguments[2]);
    return as_result(map::is_per_cpu(*map)
                         ? map::update_slot(*map, key, value, arguments[3], machine.processor())
                         : map::update(*map, key, value, arguments[3]));
}

std::uint64_t map_lookup_percpu_elem(Machine& machine, const std::uint64_t* arguments) noexcept {
    map::Map* map = keyed_map(machine, arguments);
    if (map == nullptr) {
        return 0;
    }
    if (kIsChecking && !map::is_per_cpu(*map)) {
        return machine.fault(FaultKind::bad_argument);
    }
    const auto processor = static_cast<std::uint32_t>(arguments[2]);
    void* value = processor < map::MapTable::get().processors.count()
                      ? map::lookup(*map, reinterpret_cast<const void*>(arguments[1]))
                      : nullptr;
    if (value != nullptr) {
        value = map::slot_of(*map, value, processor);
        if (kIsChecking) {
            machine.remember_value(*map, value);
        }
    }
    return reinterpret_cast<std::uint64_t>(value);
}

std::uint64_t map_delete_elem(Machine& machine, const std::uint64_t* arguments) noexcept {
    map::Map* map = keyed_map(machine, arguments);
    if (map == nullptr) {
        return 0;
    }
    if (kIsChecking && (map::is_outer(*map) || (map->flags & BPF_F_RDONLY_PROG) != 0)) {
        return machine.fault(FaultKind::bad_argument);
    }
    return as_result(map::remove(*map, reinterpret_cast<const void*>(arguments[1])));
}

std::uint64_t map_push_elem(Machine& machine, const std::uint64_t* arguments) noexcept {
    map::Map* map = keyless_map(machine, arguments[0], BPF_F_RDONLY_PROG);
    if (map == nullptr) {
        return 0;
    }
    if (!is_readable(machine, arguments[1], map->value_size)) {
        return machine.fault(FaultKind::bad_argument);
    }
    return as_result(map::push(*map, reinterpret_cast<const void*>(arguments[1]), arguments[2]));
}

std::uint64_t map_pop_elem(Machine& machine, const std::uint64_t* arguments) noexcept {
    map::Map* map = keyless_map(machine, arguments[0], BPF_F_RDONLY_PROG);
    if (map == nullptr) {
        return 0;
    }
    if (kIsChecking && (!map::has_pop(*map) || !machine.may_write(arguments[1], map->value_size))) {
        return machine.fault(FaultKind::bad_argument);
    }
    return as_result(map::pop(*map, reinterpret_cast<void*>(arguments[1])));
}

std::uint64_t map_peek_elem(Machine& machine, const std::uint64_t* arguments) noexcept {
    map::Map* map = keyless_map(machine, arguments[0], 0);
    if (map == nullptr) {
        return 0;
    }
    // A set is asked for the value; a sequence puts it there.
    if (kIsChecking && !(map::has_pop(*map) ? machine.may_write(arguments[1], map->value_size)
                                            : machine.may_read(arguments[1], map->value_size))) {
        return machine.fault(FaultKind::bad_argument);
    }
    return as_result(map::peek(*map, reinterpret_cast<void*>(arguments[1])));
}

std::uint64_t tail_call(Machine& machine, const std::uint64_t*) noexcept {
    return machine.fault(FaultKind::bad_call);
}

std::uint64_t for_each_map_elem(Machine& machine, const std::uint64_t* arguments) noexcept {
    ForEach walk{&machine, map_argument(machine, arguments[0]), 0, arguments[2]};
    if (!function_argument(machine, arguments[1], &walk.entry) ||
        (kIsChecking && (walk.map == nullptr || map::is_outer(*walk.map)))) {
        return machine.fault(FaultKind::bad_argument);
    }
    if (arguments[3] != 0) {
        return bpf::as_result(-EINVAL);
    }
    // An empty hash is walked bucket by bucket all the same.
    machine.charge(walk.map->max_entries / 4);
    if (machine.faulted()) {
        return 0;
    }
    return bpf::as_result(map::for_each(*walk.map, for_each_element, &walk));
}

std::uint64_t loop(Machine& machine, const std::uint64_t* arguments) noexcept {
    const auto count = static_cast<std::uint32_t>(arguments[0]);
    std::uint32_t entry = 0;
    if (!function_argument(machine, arguments[1], &entry)) {
        return machine.fault(FaultKind::bad_argument);
    }
    if (arguments[3] != 0) {
        return bpf::as_result(-EINVAL);
    }
    if (count > kLoopsMax) {
        return bpf::as_result(-E2BIG);
    }
    for (std::uint32_t i = 0; i < count; ++i) {
        const std::uint64_t result = machine.call(entry, i, arguments[2], 0, 0);
        if (machine.faulted()) {
            return 0;
        }
        if (result != 0) {
            return i + 1;
        }
    }
    return count;
}

std::uint64_t ringbuf_output(Machine& machine, const std::uint64_t* arguments) noexcept {
    map::Map* map = ring_map(machine, arguments[0]);
    if (map == nullptr) {
        return 0;
    }
    if (!is_readable(machine, arguments[1], arguments[2])) {
        return machine.fault(FaultKind::bad_argument);
    }
    machine.charge(arguments[2] / 8);
    if (machine.faulted()) {
        return 0;
    }
    return as_result(map::ring_output(*map, reinterpret_cast<const void*>(arguments[1]),
                                      arguments[2], arguments[3], machine.task.process));
}

std::uint64_t perf_event_output(Machine& machine, const std::uint64_t* arguments) noexcept {
    map::Map* map = map_argument(machine, arguments[1]);
    if (kIsChecking && (map == nullptr || map->type != BPF_MAP_TYPE_PERF_EVENT_ARRAY ||
                        !machine.may_read(arguments[3], arguments[4]))) {
        return machine.fault(FaultKind::bad_argument);
    }
    machine.charge(arguments[4] / 8);
    if (machine.faulted()) {
        return 0;
    }
    return as_result(map::perf_output(*map, arguments[2], machine.processor(),
                                      reinterpret_cast<const void*>(arguments[3]), arguments[4],
                                      machine.task.process));
}

std::uint64_t ringbuf_reserve(Machine& machine, const std::uint64_t* arguments) noexcept {
    map::Map* map = ring_map(machine, arguments[0]);
    if (map == nullptr || !machine.can_hold_record()) {
        return 0;
    }
    void* record = map::ring_reserve(*map, arguments[1], arguments[2], machine.task.process);
    if (record != nullptr) {
        machine.hold_record(record, arguments[1]);
    }
    return reinterpret_cast<std::uint64_t>(record);
}

std::uint64_t ringbuf_submit(Machine& machine, const std::uint64_t* arguments) noexcept {
    if (!machine.let_go_of_record(arguments[0])) {
        return machine.fault(FaultKind::bad_argument);
    }
    map::ring_submit(reinterpret_cast<void*>(arguments[0]), arguments[1]);
    return 0;
}

std::uint64_t ringbuf_discard(Machine& machine, const std::uint64_t* arguments) noexcept {
    if (!machine.let_go_of_record(arguments[0])) {
        return machine.fault(FaultKind::bad_argument);
    }
    map::ring_discard(reinterpret_cast<void*>(arguments[0]), arguments[1]);
    return 0;
}

std::uint64_t ringbuf_query(Machine& machine, const std::uint64_t* arguments) noexcept {
    const map::Map* map = ring_map(machine, arguments[0]);
    return map == nullptr ? 0 : map::ring_query(*map, arguments[1]);
}

}  // namespace taskwork::bpf
