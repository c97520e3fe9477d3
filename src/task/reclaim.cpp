// SPDX-License-Identifier: Apache-2.0
#include "task/reclaim.hpp"

#include <algorithm>
#include <mutex>

#include "sync/deferral.hpp"

namespace taskwork::task {

using Guard = std::scoped_lock<platform::Mutex>;

/// Never destroyed: the worker may run until the process ends.
static Reclaim*& of_process() noexcept {
    static Reclaim* instance = new Reclaim;
    return instance;
}

Reclaim& Reclaim::get() noexcept { return *of_process(); }

void Reclaim::abandon() { of_process() = new Reclaim; }

std::uint32_t Reclaim::adopt(sync::Pool& pool, Finish finish, bool brief_only) {
    const std::uint32_t doorbell = sync::DeferralQueue::get().add_item(
        sync::DeferralKind::pool_retired, reinterpret_cast<std::uint64_t>(&pool));
    const Guard guard(lock_);
    adopted_.push_back({&pool, finish, brief_only, doorbell});
    return doorbell;
}

bool Reclaim::disown(sync::Pool& pool) noexcept {
    const Guard guard(lock_);
    const auto at = std::find_if(adopted_.begin(), adopted_.end(),
                                 [&](const Adopted& one) { return one.pool == &pool; });
    if (at == adopted_.end()) {
        return false;
    }
    sync::DeferralQueue::get().remove_item(at->doorbell);
    adopted_.erase(at);
    std::erase_if(fresh_, [&](const Waiting& one) { return one.pool == &pool; });
    std::erase_if(collected_, [&](const void* object) {
        return pool.contains(reinterpret_cast<std::uintptr_t>(object));
    });
    return true;
}

void Reclaim::forget(const sync::Pool& pool) noexcept {
    for (Batch& batch : batches_) {
        std::erase_if(batch.brief, [&](const Waiting& one) { return one.pool == &pool; });
        std::erase_if(batch.both, [&](const Waiting& one) { return one.pool == &pool; });
    }
}

void Reclaim::after_grace_period(Call call, void* argument) {
    {
        const Guard guard(lock_);
        fresh_.push_back({nullptr, nullptr, call, argument, false});
    }
    sync::DeferralQueue::get().wake();
}

void Reclaim::after_a_while(Call call, void* argument) {
    const Guard guard(lock_);
    later_.push_back({nullptr, nullptr, call, argument, false});
}

void Reclaim::recall() {
    const Guard guard(lock_);
    fresh_.insert(fresh_.end(), later_.begin(), later_.end());
    later_.clear();
}

void Reclaim::collect(const sync::Pool* pool) {
    const Guard guard(lock_);
    const auto adopted = std::find_if(adopted_.begin(), adopted_.end(),
                                      [&](const Adopted& one) { return one.pool == pool; });
    if (adopted == adopted_.end()) {
        return;
    }
    while (void* object = adopted->pool->take_retired()) {
        // The sweep after a death hints at what is on its way already; where objects are reused in
        // place that is nothing but a hint too many.
        if (adopted->pool->reuse() == sync::Reuse::in_place || collected_.insert(object).second) {
            fresh_.push_back(
                {adopted->pool, adopted->finish, nullptr, object, adopted->brief_only});
        }
    }
}

void Reclaim::finish_one(const Waiting& one) noexcept {
    if (one.call != nullptr) {
        one.call(one.argument);
        return;
    }
    {
        const Guard guard(lock_);
        collected_.erase(one.argument);
    }
    if (one.finish != nullptr) {
        one.finish(*one.pool, one.argument);
    } else {
        one.pool->release_retired(one.argument);
    }
}

void Reclaim::finish_all(std::vector<Waiting>& list) noexcept {
    // One by one off the list itself: a call may disown a pool, and then whatever of it is still to
    // be finished has to be found there.
    std::reverse(list.begin(), list.end());
    while (!list.empty()) {
        const Waiting one = list.back();
        list.pop_back();
        finish_one(one);
    }
}

void Reclaim::advance() {
    std::vector<Waiting> fresh;
    {
        const Guard guard(lock_);
        fresh.swap(fresh_);
    }
    auto& grace = sync::GracePeriods::get();
    if (!fresh.empty()) {
        Batch batch;
        batch.ticket = grace.start();
        for (const Waiting& one : fresh) {
            (one.brief_only ? batch.brief : batch.both).push_back(one);
        }
        batches_.push_back(std::move(batch));
    }
    waited_ = !batches_.empty();
    // Later batches end later, so the first that must wait ends the look; brief sections of a batch
    // that a sleeper holds up are not held up with it.
    bool brief_open = false;
    bool both_open = false;
    for (Batch& batch : batches_) {
        brief_open = brief_open || !grace.poll(batch.ticket, sync::Flavour::brief);
        both_open = brief_open || both_open || !grace.poll(batch.ticket, sync::Flavour::sleepable);
        if (!brief_open) {
            finish_all(batch.brief);
        }
        if (!both_open) {
            grace.end(batch.ticket);
            finish_all(batch.both);
        }
        if (brief_open) {
            break;
        }
    }
    while (!batches_.empty() && batches_.front().brief.empty() && batches_.front().both.empty()) {
        batches_.pop_front();
    }
}

void Reclaim::restore_hints() {
    const Guard guard(lock_);
    for (const Adopted& adopted : adopted_) {
        adopted.pool->restore_hints();
        // Retired objects whose retirer died before it could say so.
        for (std::uint32_t index = 0; index < adopted.pool->count(); ++index) {
            adopted.pool->hint_retired(index);
        }
    }
}

bool Reclaim::is_waiting() const {
    const Guard guard(lock_);
    return waited_ || !fresh_.empty();
}

void Reclaim::reset() {
    batches_.clear();
    waited_ = false;
    const Guard guard(lock_);
    adopted_.clear();
    fresh_.clear();
    later_.clear();
    collected_.clear();
}

}  // namespace taskwork::task
