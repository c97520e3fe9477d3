// SPDX-License-Identifier: Apache-2.0
#include "map/program_array.hpp"

#include <linux/bpf.h>

#include "map/array.hpp"
#include "map/map_ops.hpp"
#include "sync/arena.hpp"

namespace taskwork::map {

namespace {

using Release = void (*)(void* program) noexcept;
platform::Atomic<Release> release_program;

/// Entries change rarely, and the host alone knows them.
platform::Mutex entries_mutex;

struct Change {
    Change() noexcept { entries_mutex.lock(); }
    ~Change() { entries_mutex.unlock(); }
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;
};

struct Programs {
    std::uint32_t type;  ///< Of the first program that there has been; 0: none yet.
    ProgramEntry entries[];

    static Programs& of(const Map& map) noexcept { return *static_cast<Programs*>(map.impl); }
};

void let_go(void* program) noexcept {
    if (program != nullptr) {
        release_program.load(std::memory_order_acquire)(program);
    }
}

/// The program that was there; its reference is the caller's now.
void* exchange(Map& map, std::uint32_t index, const ProgramEntry& entry) noexcept {
    ProgramEntry& place = Programs::of(map).entries[index];
    void* const old = place.program;
    place = entry;
    return old;
}

std::errc programs_check(const MapSpec& spec, std::string* why) {
    return check_descriptor_array(spec, 0, why);
}

std::errc programs_init(Map& map) {
    return allocate_impl(
        map, sizeof(Programs) + std::size_t{map.max_entries} * sizeof(ProgramEntry), 64);
}

void programs_clear(Map& map) noexcept {
    for (std::uint32_t index = 0; index < map.max_entries; ++index) {
        void* old = nullptr;
        {
            const Change change;
            old = exchange(map, index, {});
        }
        let_go(old);
    }
}

void programs_destroy(Map& map) noexcept {
    programs_clear(map);
    sync::Arena::release(map.impl, map.impl_bytes);
}

std::errc programs_copy(Map& map, const void* key, void* out) noexcept {
    const std::uint32_t index = index_of(key);
    const Change change;
    if (index >= map.max_entries || Programs::of(map).entries[index].program == nullptr) {
        return std::errc::no_such_file_or_directory;
    }
    copy_bytes(out, &Programs::of(map).entries[index].id, sizeof(std::uint32_t));
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
    let_go(old);
    return old == nullptr ? std::errc::no_such_file_or_directory : no_error;
}

Usage programs_usage(const Map& map) noexcept {
    Usage usage;
    const Change change;
    for (std::uint32_t index = 0; index < map.max_entries; ++index) {
        usage.elements += Programs::of(map).entries[index].program != nullptr ? 1U : 0U;
    }
    usage.bytes = map.impl_bytes;
    return usage;
}

constexpr MapOps make_ops() noexcept {
    MapOps ops{};
    ops.name = "prog_array";
    ops.check = programs_check;
    ops.init = programs_init;
    ops.destroy = programs_destroy;
    ops.copy = programs_copy;
    ops.remove = programs_remove;
    ops.next_key = index_next_key;
    ops.users_left = programs_clear;
    ops.usage = programs_usage;
    return ops;
}

}  // namespace

const MapOps program_array_ops = make_ops();

void set_program_release(Release release) noexcept {
    release_program.store(release, std::memory_order_release);
}

std::errc put_program(Map& map, const void* key, const ProgramEntry& entry) noexcept {
    if (const std::errc error = may_put_at(map, key, BPF_ANY); error != no_error) {
        return error;
    }
    void* old = nullptr;
    {
        const Change change;
        Programs& programs = Programs::of(map);
        if (programs.type != 0 && programs.type != entry.type) {
            return std::errc::invalid_argument;
        }
        programs.type = entry.type;
        old = exchange(map, index_of(key), entry);
    }
    let_go(old);
    return no_error;
}

}  // namespace taskwork::map
