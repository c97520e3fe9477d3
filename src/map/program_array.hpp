// SPDX-License-Identifier: Apache-2.0
//
// Arrays whose entries are descriptors of users: programs, which tail calls go to, and perf events,
// through which programs send records to users (bpf_perf_event_output). The host keeps what the
// descriptor meant; programs see of an event its EventOutput, and of a program itself.
//
// A record waits in a ring buffer (map/ring_buffer.hpp) until the host's worker copies it to the
// pages that a user has mapped: the kernel's layout there has no room for a producer that is
// interrupted or dies half-way.
#pragma once

#include <cstdint>

#include "map/map.hpp"

namespace taskwork::map {

/// A perf event as programs see it; in the arena.
struct EventOutput {
    std::int32_t processor = -1;  ///< The one that it was opened for; -1: any.
    bool takes_records = false;   ///< PERF_COUNT_SW_BPF_OUTPUT.
    platform::Atomic<std::uint32_t> enabled;
    platform::Atomic<Map*> ring;  ///< nullptr: nobody has mapped it yet.
};

/// What programs that call each other must have in common: the first that an array gets, or that is
/// loaded with it, decides.
struct ProgramKind {
    std::uint32_t type = 0;         ///< BPF_PROG_TYPE_*; 0: none yet. Perf events have none.
    std::uint32_t attach_type = 0;  ///< expected_attach_type
    friend bool operator==(const ProgramKind&, const ProgramKind&) = default;
};

struct ArrayEntry {
    void* object = nullptr;  ///< Of the host; a program's is in the arena, for whoever calls it.
    std::uint32_t id = 0;
    ProgramKind kind;
    EventOutput* output = nullptr;  ///< Of perf events.
};

/// What gives a reference of a program or an event back. Set once, before the first array has an
/// entry. Context: task.
void set_program_release(void (*release)(void* program) noexcept) noexcept;
void set_event_release(void (*release)(void* event) noexcept) noexcept;

/// Takes over a reference of the object, unless it fails. Errors: may_put_at()'s, invalid_argument
/// (a program of another kind than the first). Context: task.
std::errc put_entry(Map& map, const void* key, const ArrayEntry& entry) noexcept;

/// A program of this kind is to call those of an array of programs. Errors: invalid_argument (they
/// are of another kind). Context: task.
std::errc admit_caller(Map& map, const ProgramKind& kind) noexcept;

/// Where in Map::impl the programs stand, for native code: a pointer each, nullptr if there is
/// none.
inline constexpr std::int32_t kSeenOffset = 16;

/// The program at an index of an array of programs, nullptr if there is none; it is live until the
/// caller's sleepable section ends. Context: any.
void* program_at(const Map& map, std::uint32_t index) noexcept;

/// bpf_perf_event_output: `flags` is an index, or BPF_F_CURRENT_CPU. Errors: invalid_argument
/// (flags; the event is of another kind), argument_list_too_long (index; more than 65,000 bytes),
/// no_such_file_or_directory (no event), operation_not_supported (disabled, or of another
/// processor), no_space_on_device (not mapped, full). Context: any.
std::errc perf_output(Map& map, std::uint64_t flags, std::uint32_t processor, const void* data,
                      std::uint64_t size, std::uint16_t owner) noexcept;
inline constexpr std::uint64_t kPerfRecordMax = 65'000;

}  // namespace taskwork::map
