// SPDX-License-Identifier: Apache-2.0
//
// What an execution may touch, found out while it runs: for what no proof can say (helpers that
// read any address), and for the checking build (checking.hpp), where it is asked of every access.
#include <cstddef>

#include "bpf/interpreter.hpp"
#include "bpf/task_view.hpp"
#include "map/map_in_map.hpp"

namespace taskwork::bpf {

bool Machine::is_function(std::uint64_t value, std::uint32_t* entry) const noexcept {
    const auto index = static_cast<std::uint32_t>(value);
    if (value != function_value(program->id, index) || index >= program->insn_count) {
        return false;
    }
    *entry = index;
    return (program->function_starts[index / 64] >> (index % 64) & 1) != 0;
}

map::Map* Machine::map_of(std::uint64_t value) noexcept {
    if (last_map_ != nullptr && reinterpret_cast<std::uint64_t>(last_map_) == value) {
        return last_map_;
    }
    for (std::uint32_t i = 0; i < program->map_count; ++i) {
        if (reinterpret_cast<std::uint64_t>(program->maps[i]) == value) {
            last_map_ = program->maps[i];
            return last_map_;
        }
    }
    auto* const inner = reinterpret_cast<map::Map*>(value);
    if (!has_outer_maps() || !map::is_map(inner) || !may_be_inner(*inner)) {
        return nullptr;
    }
    last_map_ = inner;
    return inner;
}

bool Machine::has_outer_maps() const noexcept {
    for (std::uint32_t i = 0; i < program->map_count; ++i) {
        if (map::is_outer(*program->maps[i])) {
            return true;
        }
    }
    return false;
}

/// A program can only have the address of an inner map from a map of maps, now or when it scheduled
/// the callback that runs; without types, every map that could be in one of its own will do.
bool Machine::may_be_inner(const map::Map& map) const noexcept {
    for (std::uint32_t i = 0; i < program->map_count; ++i) {
        if (map::is_outer(*program->maps[i]) && map::fits_into(map, program->maps[i]->inner)) {
            return true;
        }
    }
    return false;
}

bool Machine::in_task_view(std::uint64_t address, std::uint64_t size) const noexcept {
    task::TaskTable& table = task::TaskTable::get();
    const void* view = nullptr;
    std::size_t view_size = 0;
    if (table.tasks.contains(address)) {
        const auto* object = static_cast<const task::Task*>(
            table.tasks.at(table.tasks.index_of(reinterpret_cast<const void*>(address))));
        view = object->view;
        view_size = sizeof(task_struct);
    } else if (table.processes.contains(address)) {
        const auto* object = static_cast<const task::Process*>(
            table.processes.at(table.processes.index_of(reinterpret_cast<const void*>(address))));
        view = object->view;
        view_size = offsetof(ProcessView, described_ns);
    } else {
        return false;
    }
    const std::uint64_t offset = address - reinterpret_cast<std::uintptr_t>(view);
    return offset < view_size && size <= view_size - offset;
}

bool Machine::find_window(std::uint64_t address, std::uint64_t size, Window& found) noexcept {
    for (std::uint32_t i = 0; i < program->map_count; ++i) {
        if (find_window_in(*program->maps[i], address, size, found)) {
            return true;
        }
    }
    if (!has_outer_maps()) {
        return false;
    }
    const sync::Pool& maps = map::MapTable::get().maps;
    for (std::uint32_t i = 0; i < maps.count(); ++i) {
        const auto* map = static_cast<const map::Map*>(maps.at(i));
        if (map::is_map(map) && may_be_inner(*map) && find_window_in(*map, address, size, found)) {
            return true;
        }
    }
    return false;
}

bool Machine::find_window_in(const map::Map& map, std::uint64_t address, std::uint64_t size,
                             Window& found) noexcept {
    if (!map::may_access_value(map, address, size)) {
        return false;
    }
    // The part of the value around the address that holds no special field.
    const std::uintptr_t value = map::value_start(map, address);
    std::uintptr_t low = value;
    std::uintptr_t high = value + map.value_size;
    const auto exclude = [&](const map::SpecialField& kind, std::int32_t offset) {
        const std::uintptr_t field = value + static_cast<std::uint32_t>(offset);
        if (field + kind.bytes <= address) {
            low = field + kind.bytes > low ? field + kind.bytes : low;
        } else {
            high = field < high ? field : high;
        }
    };
    map::for_each_field(map.fields, exclude);
    found = {low, high - low, (map.flags & BPF_F_WRONLY_PROG) == 0,
             (map.flags & BPF_F_RDONLY_PROG) == 0};
    return true;
}

bool Machine::may_access_elsewhere(std::uint64_t address, std::uint64_t size, bool write) noexcept {
    if (size == 0) {
        return true;
    }
    const auto inside = [address, size](std::uint64_t start, std::uint64_t bytes) {
        return address - start < bytes && size <= bytes - (address - start);
    };
    for (const Window& window : windows_) {
        if (inside(window.start, window.size)) {
            return write ? window.writable : window.readable;
        }
    }
    if (Window found; find_window(address, size, found)) {
        windows_[next_window_] = found;
        next_window_ = (next_window_ + 1) % kWindows;
        return write ? found.writable : found.readable;
    }
    for (unsigned i = 0; i < record_count_; ++i) {
        if (inside(records_[i].start, records_[i].size)) {
            return true;
        }
    }
    if (write) {
        return false;
    }
    for (const ReadableKey* key = keys_; key != nullptr; key = key->outer_) {
        if (inside(key->start_, key->size_)) {
            return true;
        }
    }
    return in_task_view(address, size);
}

void Machine::remember_value(const map::Map& map, const void* value) noexcept {
    // Values with special fields have more than one part: found at the first access.
    if (map::has_any(map.fields)) {
        return;
    }
    const auto start = reinterpret_cast<std::uintptr_t>(value);
    for (const Window& window : windows_) {
        if (window.start == start) {
            return;
        }
    }
    windows_[next_window_] = {start, map.value_size, (map.flags & BPF_F_WRONLY_PROG) == 0,
                              (map.flags & BPF_F_RDONLY_PROG) == 0};
    next_window_ = (next_window_ + 1) % kWindows;
}

map::LockWord* Machine::find_lock(std::uint64_t address, LockKind kind) noexcept {
    const auto lock_in = [address, kind](const map::Map& map) -> map::LockWord* {
        const std::int32_t offset =
            kind == LockKind::spin ? map.fields.spin_lock : map.fields.res_spin_lock;
        const std::uint64_t value = address - static_cast<std::uint32_t>(offset);
        return offset != map::kNoField && value != 0 && map::value_start(map, value) == value
                   ? map::lock_word(map, reinterpret_cast<void*>(value))
                   : nullptr;
    };
    for (std::uint32_t i = 0; i < program->map_count; ++i) {
        if (map::LockWord* word = lock_in(*program->maps[i])) {
            return word;
        }
    }
    if (!has_outer_maps()) {
        return nullptr;
    }
    const sync::Pool& maps = map::MapTable::get().maps;
    for (std::uint32_t i = 0; i < maps.count(); ++i) {
        const auto* map = static_cast<const map::Map*>(maps.at(i));
        if (map::is_map(map) && may_be_inner(*map)) {
            if (map::LockWord* word = lock_in(*map)) {
                return word;
            }
        }
    }
    return nullptr;
}

}  // namespace taskwork::bpf
