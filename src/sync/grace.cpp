// SPDX-License-Identifier: Apache-2.0
#include "sync/grace.hpp"

#include <new>

#include "base/assert.hpp"
#include "sync/arena.hpp"

namespace taskwork::sync {

namespace {

constexpr std::uint64_t kNestingMask = 0xffff;
constexpr unsigned kEpochShift = 16;

AnyReaderOpen reader_walk = nullptr;

}  // namespace

void ReaderSlot::enter() noexcept {
    const std::uint64_t word = word_.load(std::memory_order_relaxed);
    if ((word & kNestingMask) != 0) {
        word_.store(word + 1, std::memory_order_relaxed);
        platform::signal_fence();
        return;
    }
    const std::uint64_t epoch = GracePeriods::get().epoch();
    word_.store(epoch << kEpochShift | 1, std::memory_order_relaxed);
    // The store must be visible before anything the section loads. The worker's membarrier does
    // that for us; all that is needed here is that the compiler keeps the order.
    if (GracePeriods::readers_fence()) {
        platform::full_fence();
    } else {
        platform::signal_fence();
    }
}

void ReaderSlot::exit() noexcept {
    const std::uint64_t word = word_.load(std::memory_order_relaxed);
    if ((word & kNestingMask) == 0) {
        return;  // Reset meanwhile: the section was taken for abandoned.
    }
    // Release: pairs with the acquire in is_open_since; the section's accesses are done.
    word_.store((word & kNestingMask) == 1 ? 0 : word - 1, std::memory_order_release);
}

void ReaderSlot::reset() noexcept { word_.store(0, std::memory_order_release); }

bool ReaderSlot::is_open() const noexcept {
    return (word_.load(std::memory_order_acquire) & kNestingMask) != 0;
}

bool ReaderSlot::is_open_since(std::uint64_t epoch) const noexcept {
    const std::uint64_t word = word_.load(std::memory_order_acquire);
    return (word & kNestingMask) != 0 && (word >> kEpochShift) <= epoch;
}

std::errc GracePeriods::create() noexcept {
    std::errc why{};
    void* self = Arena::allocate(sizeof(GracePeriods), 64, &why);
    if (self == nullptr) {
        return why;
    }
    Arena::set_root(Root::grace, new (self) GracePeriods);
    return no_error;
}

GracePeriods& GracePeriods::get() noexcept { return *Arena::root<GracePeriods>(Root::grace); }

void GracePeriods::set_reader_walk(AnyReaderOpen walk) noexcept { reader_walk = walk; }

GraceTicket GracePeriods::start() noexcept {
    const GraceTicket ticket{epoch_.fetch_add(1, std::memory_order_seq_cst)};
    // Every reader's slot store is now visible or its section began after this point. Where the
    // kernel has no membarrier no process could register, and all readers fence by themselves.
    platform::full_fence();
    platform::membarrier_all();
    return ticket;
}

bool GracePeriods::poll(GraceTicket ticket, Flavour flavour) const noexcept {
    TW_ASSERT(reader_walk != nullptr, "grace periods know how to find the readers");
    return !reader_walk(flavour, ticket.epoch);
}

bool GracePeriods::readers_fence() noexcept {
    return platform::this_process().readers_fence.load(std::memory_order_relaxed) != 0;
}

void GracePeriods::register_process() noexcept {
    platform::this_process().readers_fence.store(platform::membarrier_register() ? 0 : 1,
                                                 std::memory_order_relaxed);
}

}  // namespace taskwork::sync
