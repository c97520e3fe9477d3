// SPDX-License-Identifier: Apache-2.0
//
// Who of this process may be touching the arena now. Every entry into the runtime (a handler, a
// thread's birth or end, the exit of the process, the leaving itself) is counted before it looks
// whether the process is in a domain. A process that leaves first makes that look say no, and then
// waits here: whoever was counted before is still in, whoever comes later sees that there is
// nothing to touch.
//
// A count for the whole process and no list of threads: the handler may be the first thing that a
// thread of ours does.
#pragma once

#include <cstdint>

#include "sync/platform.hpp"

namespace taskwork::agent {

class Inside {
public:
    /// Ordering: sequentially consistent, before what the entry reads of the domain.
    /// Context: any. One atomic addition.
    Inside() noexcept { count_.fetch_add(1, std::memory_order_seq_cst); }
    /// Context: any.
    ~Inside() { count_.fetch_sub(1, std::memory_order_seq_cst); }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;

    /// Waits until no entry is open that was opened before the call; the caller has none itself.
    /// False: one still was after `limit_ms`, because a callback sleeps or because its frame is no
    /// more (a handler of the application that came on top of it has left it by longjmp).
    /// Ordering: what the entries did happened before the return of true, and entries that open
    /// later see what the caller did before the call.
    /// Context: task.
    static bool wait_until_none(unsigned limit_ms) noexcept;

    /// Entries of the parent's other threads do not exist in the child of a fork. False: some were
    /// open, that of the calling thread perhaps.
    /// Context: any. In the child, before it has other threads.
    static bool reset_in_child() noexcept;

private:
    static constinit platform::Atomic<std::uint32_t> count_;
};

}  // namespace taskwork::agent
