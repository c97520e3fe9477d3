// SPDX-License-Identifier: Apache-2.0
#include "map/program_array.hpp"

#include <linux/bpf.h>

#include <cstddef>

#include "map/array.hpp"
#include "map/map_ops.hpp"
#include "map/ring_buffer.hpp"
#include "sync/arena.hpp"

namespace taskwork::map {

namespace {

using Release = void (*)(void* object) noexcept;
platform::Atomic<Release> release_program;
platform::Atomic<Release> release_event;

/// Entries change rarely, and the host alone knows them.
platform::Mutex entries_mutex;

struct Change {
    Change() noexcept { entries_mutex.lock(); }
    ~Change() { entries_mutex.unlock(); }
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;
};

struct Places {
    ProgramKind kind;                ///< Of the first program that there has been.
    ArrayEntry* entries;             ///< Behind `seen`.
    platform::Atomic<void*> seen[];  ///< By programs: the entry's EventOutput, or program.

    static Places& of(const Map& map) noexcept { return *static_cast<Places*>(map.impl); }
};

static_assert(offsetof(Places, seen) == kSeenOffset && sizeof(Places::seen[0]) == 8);

void let_go(const Map& map, void* object) noexcept {
    if (object != nullptr) {
        (map.type == BPF_MAP_TYPE_PROG_ARRAY ? release_program : release_event)
            .load(std::memory_order_acquire)(object);
    }
}

/// The object that was there; its reference is the caller's now.
void* exchange(Map& map, std::uint32_t index, const ArrayEntry& entry) noexcept {
    Places& places = Places::of(map);
    void* const old = places.entries[index].object;
    places.entries[index] = entry;
    // Release: pairs with the acquires in perf_output and program_at; what is seen is whole.
    places.seen[index].store(map.type == BPF_MAP_TYPE_PROG_ARRAY ? entry.object : entry.output,
                             std::memory_order_release);
    return old;
}

/// Under entries_mutex.
bool admits(Places& places, const ProgramKind& kind) noexcept {
    if (places.kind.type == 0) {
        places.kind = kind;
    }
    return places.kind == kind;
}

std::errc programs_check(const MapSpec& spec, std::string* why) {
    return check_descriptor_array(spec, 0, why);
}

std::errc events_check(const MapSpec& spec, std::string* why) {
    return check_descriptor_array(spec, BPF_F_PRESERVE_ELEMS, why);
}

std::errc programs_init(Map& map) {
    const std::size_t seen_bytes = std::size_t{map.max_entries} * sizeof(Places::seen[0]);
    const std::size_t entry_bytes = std::size_t{map.max_entries} * sizeof(ArrayEntry);
    const std::errc error = allocate_impl(map, sizeof(Places) + seen_bytes + entry_bytes, 64);
    if (error == no_error) {
        Places& places = Places::of(map);
        places.entries =
            reinterpret_cast<ArrayEntry*>(reinterpret_cast<std::byte*>(places.seen) + seen_bytes);
    }
    return error;
}

void programs_clear(Map& map) noexcept {
    for (std::uint32_t index = 0; index < map.max_entries; ++index) {
        void* old = nullptr;
        {
            const Change change;
            old = exchange(map, index, {});
        }
        let_go(map, old);
    }
}

void programs_destroy(Map& map) noexcept {
    programs_clear(map);
    sync::Arena::release(map.impl, map.impl_bytes);
}

std::errc programs_copy(Map& map, const void* key, void* out) noexcept {
    const std::uint32_t index = index_of(key);
    const Change change;
    if (index >= map.max_entries || Places::of(map).entries[index].object == nullptr) {
        return std::errc::no_such_file_or_directory;
    }
    copy_bytes(out, &Places::of(map).entries[index].id, sizeof(std::uint32_t));
    return no_error;
}

std::errc programs_remove(Map& map, const void* key) noexcept {
    const std::uint32_t index = index_of(key);
    if (index >= map.max_entries) {
        return std::errc::argument_list_too_long;
    }
    void* old = nullptr;
    {
        const Change change;
        old = exchange(map, index, {});
    }
    let_go(map, old);
    return old == nullptr ? std::errc::no_such_file_or_directory : no_error;
}

Usage programs_usage(const Map& map) noexcept {
    Usage usage;
    const Change change;
    for (std::uint32_t index = 0; index < map.max_entries; ++index) {
        usage.elements += Places::of(map).entries[index].object != nullptr ? 1U : 0U;
    }
    usage.bytes = map.impl_bytes;
    return usage;
}

void events_users_left(Map& map) noexcept {
    if ((map.flags & BPF_F_PRESERVE_ELEMS) == 0) {
        programs_clear(map);
    }
}

constexpr MapOps make_common_ops(const char* name) noexcept {
    MapOps ops{};
    ops.name = name;
    ops.init = programs_init;
    ops.destroy = programs_destroy;
    ops.remove = programs_remove;
    ops.next_key = index_next_key;
    ops.usage = programs_usage;
    return ops;
}

constexpr MapOps make_program_ops() noexcept {
    MapOps ops = make_common_ops("prog_array");
    ops.check = programs_check;
    ops.copy = programs_copy;
    ops.users_left = programs_clear;
    return ops;
}

constexpr MapOps make_event_ops() noexcept {
    MapOps ops = make_common_ops("perf_event_array");
    ops.check = events_check;
    ops.users_left = events_users_left;
    return ops;
}

}  // namespace

const MapOps program_array_ops = make_program_ops();
const MapOps perf_event_array_ops = make_event_ops();

void set_program_release(Release release) noexcept {
    release_program.store(release, std::memory_order_release);
}
void set_event_release(Release release) noexcept {
    release_event.store(release, std::memory_order_release);
}

std::errc put_entry(Map& map, const void* key, const ArrayEntry& entry) noexcept {
    if (const std::errc error = may_put_at(map, key, BPF_ANY); error != no_error) {
        return error;
    }
    void* old = nullptr;
    {
        const Change change;
        if (!admits(Places::of(map), entry.kind)) {
            return std::errc::invalid_argument;
        }
        old = exchange(map, index_of(key), entry);
    }
    let_go(map, old);
    return no_error;
}

std::errc admit_caller(Map& map, const ProgramKind& kind) noexcept {
    const Change change;
    return admits(Places::of(map), kind) ? no_error : std::errc::invalid_argument;
}

void* program_at(const Map& map, std::uint32_t index) noexcept {
    return index < map.max_entries ? Places::of(map).seen[index].load(std::memory_order_acquire)
                                   : nullptr;
}

std::errc perf_output(Map& map, std::uint64_t flags, std::uint32_t processor, const void* data,
                      std::uint64_t size, std::uint16_t owner) noexcept {
    constexpr std::uint64_t kIndexMask = BPF_F_INDEX_MASK;
    if ((flags & ~kIndexMask) != 0) {
        return std::errc::invalid_argument;
    }
    const auto index = flags == BPF_F_CURRENT_CPU ? processor : static_cast<std::uint32_t>(flags);
    if (index >= map.max_entries || size > kPerfRecordMax) {
        return std::errc::argument_list_too_long;
    }
    const auto* const output = static_cast<const EventOutput*>(
        Places::of(map).seen[index].load(std::memory_order_acquire));
    if (output == nullptr) {
        return std::errc::no_such_file_or_directory;
    }
    if (!output->takes_records) {
        return std::errc::invalid_argument;
    }
    if (output->enabled.load(std::memory_order_relaxed) == 0 ||
        (output->processor >= 0 && static_cast<std::uint32_t>(output->processor) != processor)) {
        return std::errc::operation_not_supported;
    }
    Map* const ring = output->ring.load(std::memory_order_acquire);
    return ring != nullptr && ring_output(*ring, data, size, 0, owner) == no_error
               ? no_error
               : std::errc::no_space_on_device;
}

}  // namespace taskwork::map
