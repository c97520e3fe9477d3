// SPDX-License-Identifier: Apache-2.0
//
// What the worker does for memory: it collects what is retired in the pools it has adopted, waits
// out a grace period for each batch of them, and releases them. Calls that must wait for a grace
// period go the same way.
//
//   retired in a pool --collect--> fresh --advance: a grace period starts--> batch --it ended-->
//   free
//
// Who touches what: the book (pools, fresh, later) is under `lock_`; the batches are the worker's.
// Nothing here waits, starts a thread or asks the system: a build for exploration runs it as it is.
#pragma once

#include <cstdint>
#include <deque>
#include <unordered_set>
#include <vector>

#include "base/context.hpp"
#include "sync/grace.hpp"
#include "sync/platform.hpp"
#include "sync/pool.hpp"

namespace taskwork::task {

class Reclaim {
public:
    using Finish = void (*)(sync::Pool&, void*) noexcept;
    using Call = void (*)(void*) noexcept;

    /// The host's. Context: any.
    static Reclaim& get() noexcept;
    /// In a forked child: starts anew, whatever state the parent's is in.
    /// Context: task.
    TW_TASK_ONLY static void abandon();

    /// See Worker::adopt_pool. Context: task.
    TW_TASK_ONLY std::uint32_t adopt(sync::Pool& pool, Finish finish, bool brief_only);
    /// Strikes the pool out of the book; false if it was not in it. The worker may still have
    /// batches of it: forget().
    /// Context: task, irq.
    TW_NOT_NMI bool disown(sync::Pool& pool) noexcept;
    /// Strikes it out of the batches. Worker only (or while there is none).
    /// Context: irq.
    TW_NOT_NMI void forget(const sync::Pool& pool) noexcept;

    /// See Worker. Context: task, irq.
    TW_NOT_NMI void after_grace_period(Call call, void* argument);
    TW_NOT_NMI void after_a_while(Call call, void* argument);

    /// Takes what is retired in the pool into the book, each object once. Worker only.
    /// Context: irq.
    TW_NOT_NMI void collect(const sync::Pool* pool);
    /// Starts a grace period for what the book has got since, and finishes what has waited long
    /// enough. Worker only.
    /// Context: irq.
    TW_NOT_NMI void advance();
    /// What after_a_while() put off waits for its grace period from now on. Worker only.
    /// Context: irq.
    TW_NOT_NMI void recall();
    /// Makes the hints of all pools right again after a death: objects that the dead freed or
    /// retired and could not say so. Worker only.
    /// Context: irq.
    TW_NOT_NMI void restore_hints();
    /// Whether anything waits for a grace period, or has when advance() looked. Worker only.
    /// Context: irq.
    TW_NOT_NMI bool is_waiting() const;

    /// Forgets what is on its way, and all pools. While there is no worker.
    /// Context: task.
    TW_TASK_ONLY void reset();

private:
    struct Adopted {
        sync::Pool* pool;
        Finish finish;
        bool brief_only;
        std::uint32_t doorbell;
    };
    /// Something to be done after a grace period: an object of a pool, or a call.
    struct Waiting {
        sync::Pool* pool;
        Finish finish;
        Call call;
        void* argument;
        bool brief_only;
    };
    struct Batch {
        sync::GraceTicket ticket;
        std::vector<Waiting> brief;
        std::vector<Waiting> both;
    };

    TW_NOT_NMI void finish_one(const Waiting& one) noexcept;
    TW_NOT_NMI void finish_all(std::vector<Waiting>& list) noexcept;

    mutable platform::Mutex lock_;
    std::vector<Adopted> adopted_;
    std::vector<Waiting> fresh_;
    std::vector<Waiting> later_;
    std::unordered_set<const void*> collected_;  ///< Objects in `fresh_` and in batches.
    std::deque<Batch> batches_;
    bool waited_ = false;  ///< Whether advance() has found a batch.
};

}  // namespace taskwork::task
