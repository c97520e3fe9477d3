// SPDX-License-Identifier: Apache-2.0
//
// A domain for scenarios: tables of a few entries, processes, threads that are tasks, handlers that
// go through the real on_signal, a ledger of what was scheduled, and the checks at the end:
// whatever was accepted ended exactly once, and everything can be freed.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "defer/task_work.hpp"
#include "task/task.hpp"
#include "tests/explore/scenario.hpp"

namespace explore {

/// Notes of the ledger, by id of the schedule (1..kIdsMax - 1).
inline constexpr unsigned kIdsMax = 12;
inline constexpr unsigned kAccepted = 0;
inline constexpr unsigned kRefused = kIdsMax;
inline constexpr unsigned kRan = 2 * kIdsMax;
/// Notes from here on are the scenario's.
inline constexpr unsigned kFreeNotes = 3 * kIdsMax;

/// An element of a map: its word, a slot, a value that a callback reads.
struct alignas(64) Element {
    taskwork::sync::AtomicWord word;
    taskwork::defer::Slot slot;
    taskwork::platform::Atomic<std::uint64_t> value;
};
inline constexpr std::uint64_t kLive = 7;
inline constexpr std::uint64_t kGone = 0xdead;

struct CoreLimits {
    std::uint32_t contexts = 2;
    std::uint32_t tasks = 4;
    std::uint32_t elements = 0;
};

class Core {
public:
    explicit Core(Setup& setup, CoreLimits limits = {});

    /// Another process that has joined. The host is process 0, and thread 0 is its worker.
    unsigned process(bool may_die = false);
    /// A thread that is a task from the start.
    unsigned thread(unsigned process, const std::string& name, std::function<void()> body);
    /// What the worker does while the others move: so many rounds.
    void worker_rounds(unsigned count);
    void worker(std::function<void()> body);
    /// A thread that sleeps until all others have come to rest, then exits as a task.
    unsigned target(unsigned process, const std::string& name = "target");
    /// An event that interrupts the thread, through on_signal and inside an NmiScope.
    void event(unsigned thread, const std::string& name, std::function<void()> body,
               unsigned times = 1);

    /// A slot of its own, of an element that is never deleted.
    taskwork::defer::Slot& slot(const std::string& name);
    /// An element that is in its map: `variable` points to it.
    Element& element(const std::string& name);
    taskwork::sync::Pool& elements() { return *elements_; }

    [[nodiscard]] taskwork::task::Task& task(unsigned thread) const { return *tasks_[thread]; }

    /// Runs at the end of a run, as the worker, before the domain is cleaned up and looked at.
    void before_cleanup(std::function<void()> check) { checks_.push_back(std::move(check)); }
    /// The callback's body; by default it only notes that it ran.
    void callback(std::function<void(unsigned id)> body) { callback_ = std::move(body); }
    void serve_event(unsigned number) const { events_[number](); }
    void serve_callback(unsigned id) const {
        if (callback_) {
            callback_(id);
        }
    }
    /// With deaths a schedule may have been accepted by nobody who could say so.
    bool deaths = false;
    /// A target may end without a last run point before the worker sweeps.
    bool drops = false;
    /// A work may wait though its target sleeps: signals may fail, or a drain's budget be used up,
    /// so that the worker is asked.
    bool signals_fail = false;

private:
    void finish();

    Setup& setup_;
    taskwork::sync::Pool* elements_ = nullptr;
    std::vector<taskwork::defer::Slot*> slots_;
    std::array<taskwork::task::Task*, kThreadsMax> tasks_{};
    std::vector<std::function<void()>> checks_;
    std::function<void()> worker_body_;
    std::vector<std::function<void()>> events_;
    std::function<void(unsigned)> callback_;
};

/// Lays a core out and keeps it for as long as the scenario's functions.
std::shared_ptr<Core> make_core(Setup& setup, CoreLimits limits = {});

/// Schedules work `id` and enters the answer into the ledger.
std::errc schedule(unsigned id, taskwork::defer::Slot& slot, taskwork::task::Task& target,
                   taskwork::task::Notify mode = taskwork::task::Notify::signal,
                   taskwork::task::List list = taskwork::task::List::anywhere,
                   const taskwork::platform::Atomic<std::uint32_t>* user_count = nullptr);
/// While the core is laid out: puts a context into the slot, a work that has run.
void make_standby(Core& core, taskwork::defer::Slot& slot);
/// While the core is laid out: a work on the list of a thread that nobody has told.
void make_scheduled(Core& core, unsigned id, taskwork::defer::Slot& slot, unsigned target);
/// Leaves the domain as a thread that ends does.
void exit_task();
/// As a map's delete: nobody finds the element any more, its slot is dead, its memory waits.
void remove(taskwork::sync::Pool& pool, Element& element);

}  // namespace explore
