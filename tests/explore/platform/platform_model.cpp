// SPDX-License-Identifier: Apache-2.0
//
// The functions of the platform seam, answered by the modelled machine.
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "sync/platform.hpp"
#include "task/reclaim.hpp"
#include "task/worker.hpp"
#include "tests/explore/machine.hpp"

namespace taskwork::platform {

namespace {

using explore::Kind;
using explore::Machine;

/// Number of a thread of the scenario by its ids, plus one; 0: none.
std::uint64_t target_of(std::int32_t pid, std::int32_t tid) noexcept {
    const Machine& machine = Machine::get();
    for (unsigned index = 0; index < machine.thread_count(); ++index) {
        if (machine.tid_of(index) == tid &&
            machine.pid_of(machine.world().threads[index].process) == pid) {
            return index + 1;
        }
    }
    return 0;
}

Atomic<std::uint64_t>& cookie() noexcept {
    Machine& machine = Machine::get();
    return machine.statics().cookies[machine.process_now()];
}

}  // namespace

std::int32_t thread_id() noexcept {
    const Machine& machine = Machine::get();
    return machine.tid_of(machine.thread_now());
}

std::int32_t process_id() noexcept {
    const Machine& machine = Machine::get();
    // Before a scenario has any process its host lays out the memory.
    return machine.process_count() == 0 ? machine.pid_of(0) : machine.pid_of(machine.process_now());
}

int notify_thread(std::int32_t pid, std::int32_t tid) noexcept {
    return static_cast<int>(
        explore::step(Kind::notify, nullptr, 0, std::memory_order_seq_cst, target_of(pid, tid)));
}

bool thread_is_gone(std::int32_t pid, std::int32_t tid) noexcept {
    const std::uint64_t target = target_of(pid, tid);
    return target == 0 ||
           explore::step(Kind::is_gone, nullptr, 0, std::memory_order_seq_cst, target - 1) != 0;
}

bool process_is_gone(std::int32_t pid) noexcept {
    const Machine& machine = Machine::get();
    for (unsigned index = 0; index < machine.process_count(); ++index) {
        if (machine.pid_of(index) == pid) {
            return explore::step(Kind::is_gone, nullptr, 0, std::memory_order_seq_cst,
                                 explore::kProcessTarget + index) != 0;
        }
    }
    return true;
}

int watch_process(std::int32_t pid) noexcept { return process_is_gone(pid) ? -ESRCH : pid; }

void unwatch_process(int) noexcept {}

void ended_processes(const int* watches, bool* ended, std::size_t count) noexcept {
    for (std::size_t index = 0; index < count; ++index) {
        ended[index] = watches[index] >= 0 && process_is_gone(watches[index]);
    }
}

int futex_wait(const Atomic<std::uint32_t>& word, std::uint32_t expected, std::uint64_t) noexcept {
    return static_cast<int>(
        explore::step(Kind::futex_wait, &word, 4, std::memory_order_seq_cst, 0, expected));
}

void futex_wake(Atomic<std::uint32_t>& word, int count) noexcept {
    explore::step(Kind::futex_wake, &word, 4, std::memory_order_seq_cst,
                  static_cast<std::uint64_t>(count));
}

bool membarrier_register() noexcept { return Machine::get().offers_membarrier(); }

bool membarrier_all() noexcept {
    if (!Machine::get().offers_membarrier()) {
        return false;
    }
    explore::step(Kind::membarrier, nullptr, 0, std::memory_order_seq_cst);
    return true;
}

ThreadState& this_thread() noexcept {
    Machine& machine = Machine::get();
    return machine.statics().threads[machine.thread_now()];
}

ProcessState& this_process() noexcept {
    Machine& machine = Machine::get();
    return machine.statics().processes[machine.process_now()];
}

std::uint64_t fork_cookie() noexcept { return cookie().load(std::memory_order_relaxed); }

bool fork_cookie_renew() noexcept {
    cookie().store(1000 + Machine::get().process_now(), std::memory_order_relaxed);
    return true;
}

void fork_cookie_clear() noexcept { cookie().store(0, std::memory_order_relaxed); }

}  // namespace taskwork::platform

namespace taskwork::task {

/// Whoever destroys a map is the worker here.
void Worker::disown_pool(sync::Pool& pool) noexcept {
    if (Reclaim::get().disown(pool)) {
        Reclaim::get().forget(pool);
    }
}

}  // namespace taskwork::task

namespace taskwork {

/// In place of the one that aborts (base/assert.cpp): a broken invariant is a failure of the run.
[[noreturn]] void assertion_failed(const char* text, const char* file, int line) noexcept;

void assertion_failed(const char* text, const char* file, int line) noexcept {
    explore::fail("assertion", std::string(file) + ":" + std::to_string(line) + ": " + text);
    // Set-up code of a scenario: there is no run that could have failed.
    std::fprintf(stderr, "explore: %s:%d: %s\n", file, line, text);
    std::abort();
}

}  // namespace taskwork
