// SPDX-License-Identifier: Apache-2.0
//
// The domain: what this process has of taskwork. It comes to be by init(), or at the first use of
// a function of context `task`, and lasts until the process ends. A forked child has an empty one
// of its own; what it inherited (Task, Work) is inert there.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <system_error>

namespace taskwork {

inline constexpr unsigned version_major = 0;
inline constexpr unsigned version_minor = 1;
inline constexpr unsigned version_patch = 0;

/// The version of the library in use, "0.1.0"; see docs/versions.md.
/// Context: any.
[[gnu::visibility("default")]] const char* version() noexcept;

/// Limits of a domain. Memory for all of it is taken at the start, none later.
struct Options {
    std::uint32_t works = 4096;   ///< Contexts: works that were scheduled and not cancelled since.
    std::uint32_t threads = 256;  ///< Registered threads at a time, those being released included.
    /// Bytes of address space; 0: what the two above need.
    std::size_t arena_bytes = 0;
};

/// What became of schedules; each that returned no error ends in exactly one of ran, cancelled and
/// dropped (its thread or process ended without a last run point).
struct Counters {
    std::uint64_t scheduled = 0;
    std::uint64_t ran = 0;
    std::uint64_t cancelled = 0;
    std::uint64_t dropped = 0;
    std::uint64_t in_flight = 0;        ///< Scheduled or running now.
    std::uint64_t works_free = 0;       ///< Contexts to be had now.
    std::uint64_t threads = 0;          ///< Registered now.
    std::uint64_t threads_refused = 0;  ///< Registrations that found `Options::threads` taken.
};

namespace detail {
/// One a module (program or shared library), by which the library knows who calls.
struct Module {
    std::atomic<bool> pinned{false};  ///< It cannot be unloaded any more.
};
[[gnu::visibility("hidden")]] inline constinit Module this_module{};
[[gnu::visibility("default")]] std::errc init(const Options& options, Module& module) noexcept;
}  // namespace detail

/// Makes the domain, registers the calling thread, takes SIGURG (its handler until then gets what
/// is not ours), and keeps this library and the calling module from being unloaded. If there is a
/// domain already its options stay, and the rest is done. Errors: not_enough_memory,
/// invalid_argument (a limit of 0, or more than 4,000 threads), resource_unavailable_try_again (no
/// thread for the worker), operation_not_permitted (inside a
/// HandlerScope or a callback declared anywhere).
/// Context: task.
inline std::errc init(const Options& options = {}) noexcept {
    return detail::init(options, detail::this_module);
}

/// Sums of the domain; zeros where there is none. Exact when nothing is scheduled, runs or is
/// cancelled meanwhile.
/// Context: task.
[[gnu::visibility("default")]] Counters counters() noexcept;

}  // namespace taskwork
