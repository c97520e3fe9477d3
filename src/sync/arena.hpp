// SPDX-License-Identifier: Apache-2.0
//
// The arena: one memfd that every process of a domain maps at the same fixed address, so that plain
// pointers into it are valid in every member. It is our kernel memory: maps, tasks, work contexts,
// program code. Nothing in it is owned by malloc, and no lock in it can be found taken by a handler
// on its own thread: the lock of allocate() is of the host process alone.
//
// Memory is committed (fallocate) before anybody touches it, so a full tmpfs or a limit is an error
// of allocate() and never a SIGBUS in a handler. Address space is reserved whole at the start.
//
// A domain of one process, as the library has it, needs neither: its arena is private memory at any
// address (create_private), so that several can live in one process, each with a copy of this code.
//
// The first page is the ArenaHeader. Layers above hang their state on its `roots`.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/context.hpp"
#include "base/result.hpp"
#include "base/sanitizers.hpp"
#include "sync/platform.hpp"

namespace taskwork::sync {

/// Where the arena lies in every process. ThreadSanitizer allows fixed ranges only, and
/// AddressSanitizer's shadow takes 0x100000000000.
inline constexpr std::uintptr_t kArenaBase = kThreadSanitizer ? 0x7ea000000000 : 0x200000000000;
/// Where this process's arena lies: kArenaBase unless it is private. Set when it is mapped.
namespace detail {
inline constinit std::uintptr_t arena_base = kArenaBase;
}
/// The unit of an arena_index().
inline constexpr std::size_t kArenaUnit = 64;
/// The most an arena can be: offsets in that unit fit 32 bits (list links rely on it).
inline constexpr std::size_t kArenaSizeMax = kArenaUnit << 32;
inline constexpr std::size_t kArenaSizeDefault = std::size_t{1} << 30;
/// Changes with every change of what is laid out in the arena: processes of different versions
/// refuse each other.
inline constexpr std::uint64_t kArenaAbi = 2;

/// Who hangs what on the arena; each layer writes and reads its own.
enum class Root : unsigned {
    grace,     ///< sync::GracePeriods
    deferral,  ///< sync::DeferralQueue
    tasks,     ///< task::TaskTable
    works,     ///< defer::WorkTable
    maps,      ///< map::MapTable
    programs,  ///< bpf::ProgramTable
    events,    ///< event::EventTable
    mirrors,   ///< map: windows that must be mapped twice (ring buffers)
    count,
};

struct ArenaHeader {
    std::uint64_t magic;   ///< kArenaMagic once everything below is valid.
    std::uint64_t abi;     ///< kArenaAbi.
    char version[32];      ///< Text of the version that made it, for the refusal message.
    std::uint64_t cookie;  ///< Random; also in the name by which others find the domain.
    std::uint64_t size;    ///< Bytes of address space.
    std::int32_t host_pid;
    std::uint64_t pid_namespace[2];  ///< Device and inode of the host's; process ids mean it.
    platform::Atomic<std::uint32_t>
        closed;  ///< 1 once the host is gone or going: calls fail -ESRCH.
    platform::Atomic<std::uint64_t> committed;  ///< Bytes handed out so far (high-water mark).
    void* roots[static_cast<unsigned>(Root::count)];
};

inline constexpr std::uint64_t kArenaMagic = 0x616e657261777400ULL;

/// The process's view of its arena. There is one per process at most.
class Arena {
public:
    /// Creates the arena of a new domain whose host is this process, and maps it. `size` is rounded
    /// up to 2 MiB. Errors: invalid_argument (size above kArenaSizeMax), file_exists (the address
    /// is taken, by whom is in the text), not_enough_memory, file_too_large (RLIMIT_FSIZE),
    /// operation_not_permitted (this process has an arena already).
    /// Context: task.
    TW_TASK_ONLY static Result<void> create(std::size_t size);

    /// Creates an arena of this process alone: private memory, no descriptor, at any address. Its
    /// pages become resident when they are touched. Errors: invalid_argument, not_enough_memory,
    /// operation_not_permitted, as create().
    /// Context: task.
    TW_TASK_ONLY static Result<void> create_private(std::size_t size);

    /// Forgets what a forked child has of its parent's arena: its copy of a private one, or its
    /// mapping. The child's first; nothing of the parent's is used any more.
    /// Context: task.
    TW_TASK_ONLY static void abandon() noexcept;

    /// Maps the arena behind descriptor `fd` (not kept). Errors: as create, and
    /// no_such_device_or_address (not an arena), wrong_protocol_type (made by another version).
    /// Async-signal-safe, for a forked child that finds its own gone: never allocates.
    /// Context: task.
    TW_TASK_ONLY static std::errc join(int fd, std::uint64_t cookie) noexcept;

    /// Whether this process counts process ids as the host does: one in a pid namespace of its own
    /// must not join, for its ids name other processes to the host. Precondition: present().
    /// Context: task; async-signal-safe.
    TW_TASK_ONLY static bool same_pid_namespace() noexcept;

    /// Unmaps. Tests only; the memory of a domain otherwise lives as long as the process.
    /// Context: task.
    TW_TASK_ONLY static void destroy() noexcept;

    /// Whether this process has an arena.
    /// Context: any.
    static bool present() noexcept;
    /// Precondition: present().
    /// Context: any.
    static ArenaHeader& header() noexcept {
        return *reinterpret_cast<ArenaHeader*>(detail::arena_base);
    }
    /// True in the process that created it (and in none of its forks).
    /// Context: any.
    static bool is_host() noexcept;
    /// The descriptor of the memfd in the host, -1 in members.
    /// Context: task.
    TW_TASK_ONLY static int descriptor() noexcept;

    /// Hands out zeroed, committed memory; align is a power of two. Host only. nullptr: the arena's
    /// size or the machine's memory is used up, or a limit forbids more; errno-like reason in
    /// `*why` if given (not_enough_memory, file_too_large, no_space_on_device), which success
    /// leaves as it is: the reason of the first of several failures is not lost. Context: task.
    /// Takes a lock of the host.
    TW_TASK_ONLY static void* allocate(std::size_t size, std::size_t align,
                                       std::errc* why = nullptr) noexcept;
    /// Gives memory back for later allocate() calls; `size` as then. Host only.
    /// Context: task. Takes a lock of the host.
    TW_TASK_ONLY static void release(void* memory, std::size_t size) noexcept;

    /// Whether [address, address + size) lies inside the arena's address range.
    /// Context: any.
    static bool contains(std::uintptr_t address, std::size_t size) noexcept;

    template <class T>
    static T* root(Root which) noexcept {
        return static_cast<T*>(header().roots[static_cast<unsigned>(which)]);
    }
    template <class T>
    static void set_root(Root which, T* object) noexcept {
        header().roots[static_cast<unsigned>(which)] = object;
    }
};

/// Position of a 64-byte aligned arena object as 32 bits; 0 stands for none (the header is never an
/// object).
/// Context: any.
inline std::uint32_t arena_index(const void* object) noexcept {
    return object == nullptr
               ? 0
               : static_cast<std::uint32_t>(
                     (reinterpret_cast<std::uintptr_t>(object) - detail::arena_base) / kArenaUnit);
}
/// Context: any.
template <class T>
T* arena_object(std::uint32_t index) noexcept {
    return index == 0 ? nullptr : reinterpret_cast<T*>(detail::arena_base + index * kArenaUnit);
}

}  // namespace taskwork::sync
