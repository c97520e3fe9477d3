// SPDX-License-Identifier: Apache-2.0
//
// A process's life in a domain: joining at its start, at a fork, with each thread, and leaving.
//
//   start of the program   start()          by the preload library's constructor
//   thread begins, ends    hooks            ThreadHooks, installed by start()
//   fork                   hook             the child joins as a process of its own
//   exec                   nothing          the new image starts from the environment
//   change of credentials  leave_domain()   see credentials.hpp
//   exit                   hook             the last run point of the thread that exits
//
// Outside a domain nothing is done: no handler, no hook, one look at the environment.
#pragma once

#include <cstdint>

namespace taskwork::agent {

/// Where a domain is to be found; the value of kDomainVariable (launch.hpp) as numbers.
struct DomainAddress {
    std::int32_t host_pid = 0;
    std::int32_t descriptor = -1;  ///< Of the arena's memfd, in the host.
    std::uint64_t inode = 0;
    std::uint64_t cookie = 0;
};

/// Reads "pid:fd:inode:cookie" (decimal, the cookie in hex). False: malformed.
/// Context: any.
bool parse_domain(const char* text, DomainAddress& address) noexcept;

/// Joins the domain named in the environment, if there is one and it still is. A domain of another
/// version is refused with one line on standard error; the program runs on in any case.
/// Context: task. Once, at start, from the only thread.
void start() noexcept;

/// Takes this process, all its threads, out of its domain for good: works pending for the calling
/// thread run, those of others are dropped, events end, the arena is unmapped. Children do not
/// join. Waits until no thread is inside the runtime (inside.hpp), about a second at most; if one
/// stays (a callback that sleeps) the arena stays mapped, unused.
/// Context: task. Nothing happens outside a domain.
void leave_domain() noexcept;

/// Whether this process is in a domain now.
/// Context: any.
bool in_domain() noexcept;

}  // namespace taskwork::agent
