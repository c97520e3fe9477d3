// SPDX-License-Identifier: Apache-2.0
#include "sync/deferral.hpp"

#include <array>
#include <new>

#include "sync/arena.hpp"

namespace taskwork::sync {

namespace {

constexpr std::uint8_t kItemUsed = kStateUser;

/// Only the host runs items.
std::array<DeferralHandler, static_cast<std::size_t>(DeferralKind::count)> handlers{};

}  // namespace

std::errc DeferralQueue::create(std::uint32_t items_max) noexcept {
    std::errc why{};
    void* self = Arena::allocate(sizeof(DeferralQueue), 64, &why);
    void* items = Arena::allocate(Pool::bytes(items_max, sizeof(Item)), 64, &why);
    void* hints = Arena::allocate(HintMap::bytes(items_max), 64, &why);
    if (self == nullptr || items == nullptr || hints == nullptr) {
        return why;
    }
    auto* queue = new (self) DeferralQueue;
    queue->items_.init(items, items_max, sizeof(Item), 0);
    queue->queued_.init(hints, items_max);
    // Item 0 stands for "none" and is never given out.
    [[maybe_unused]] void* none = queue->items_.claim(0, kItemUsed);
    Arena::set_root(Root::deferral, queue);
    return no_error;
}

DeferralQueue& DeferralQueue::get() noexcept { return *Arena::root<DeferralQueue>(Root::deferral); }

std::uint32_t DeferralQueue::add_item(DeferralKind kind, std::uint64_t argument) noexcept {
    auto* item = static_cast<Item*>(items_.claim(0, kItemUsed));
    if (item == nullptr) {
        return 0;
    }
    // Relaxed: queue() publishes them to the worker.
    item->kind.store(static_cast<std::uint32_t>(kind), std::memory_order_relaxed);
    item->argument.store(argument, std::memory_order_relaxed);
    return items_.index_of(item);
}

void DeferralQueue::remove_item(std::uint32_t item) noexcept {
    if (item == 0) {
        return;
    }
    queued_.clear(item);
    items_.release(items_.at(item));
}

void DeferralQueue::queue(std::uint32_t item) noexcept {
    if (item == 0) {
        return;
    }
    // seq_cst in set(): pairs with the take() of run_pending.
    queued_.set(item);
    if (!is_quiet()) {
        wake();
    }
}

void DeferralQueue::queue_lazily(std::uint32_t item) noexcept {
    if (item == 0) {
        return;
    }
    // One line for all maps and threads, so it is not written while the item is queued. seq_cst,
    // here and there: either this sees the worker asleep, or its look sees the item.
    queued_.set_if_clear(item);
    if (sleeping_.load(std::memory_order_seq_cst) == kAsleep && !is_quiet()) {
        wake();
    }
}

void DeferralQueue::queue_quietly(std::uint32_t item) noexcept {
    if (item != 0) {
        queued_.set(item);
    }
}

bool DeferralQueue::is_quiet() noexcept {
    return platform::this_process().quiet.load(std::memory_order_relaxed) != 0;
}

void DeferralQueue::be_quiet() noexcept {
    platform::this_process().quiet.store(1, std::memory_order_relaxed);
}

void DeferralQueue::wake() noexcept {
    signal_.fetch_add(1, std::memory_order_seq_cst);
    // The first of several wakers pays for the system call.
    if (sleeping_.load(std::memory_order_seq_cst) != 0 &&
        sleeping_.exchange(0, std::memory_order_seq_cst) != 0) {
        // Once more: the sleep that was looked at above may have ended meanwhile and this one be
        // the next, about to begin. It must find the word changed, for nobody else wakes it.
        signal_.fetch_add(1, std::memory_order_seq_cst);
        platform::futex_wake(signal_, 1);
    }
}

void DeferralQueue::set_handler(DeferralKind kind, DeferralHandler handler) noexcept {
    handlers[static_cast<std::size_t>(kind)] = handler;
}

bool DeferralQueue::run_pending() noexcept {
    bool any = false;
    std::uint32_t from = 0;
    // Bounded: items that queue themselves again and again do not keep the worker from the rest.
    for (std::uint32_t turn = 0; turn < items_.count(); ++turn) {
        const std::uint32_t index = queued_.take(from);
        if (index == HintMap::none) {
            break;
        }
        from = index + 1;
        any = true;
        const auto* item = static_cast<const Item*>(items_.at(index));
        if (Pool::load(item).state() != kItemUsed) {
            continue;  // Removed since.
        }
        const std::uint32_t kind = item->kind.load(std::memory_order_relaxed);
        if (kind < handlers.size() && handlers[kind] != nullptr) {
            handlers[kind](item->argument.load(std::memory_order_relaxed));
        }
    }
    return any;
}

std::uint32_t DeferralQueue::wakes() const noexcept {
    return signal_.load(std::memory_order_seq_cst);
}

void DeferralQueue::wait(std::uint32_t seen, std::uint64_t timeout_ns, bool dozes) noexcept {
    if (dozes) {
        // What was queued lazily waits; anything else has changed, or will change, the count.
        sleeping_.store(kDozing, std::memory_order_seq_cst);
        platform::futex_wait(signal_, seen, timeout_ns);
        sleeping_.store(0, std::memory_order_seq_cst);
        return;
    }
    // seq_cst: either a waker sees `sleeping_`, or the look below sees its item.
    sleeping_.store(kAsleep, std::memory_order_seq_cst);
    const std::uint32_t ready = queued_.take(0);
    if (ready != HintMap::none) {
        queued_.set(ready);
    } else {
        platform::futex_wait(signal_, seen, timeout_ns);
    }
    sleeping_.store(0, std::memory_order_seq_cst);
}

void DeferralQueue::settle() noexcept {
    queued_.settle();
    items_.restore_hints();
}

}  // namespace taskwork::sync
