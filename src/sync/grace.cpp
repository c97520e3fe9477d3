// SPDX-License-Identifier: Apache-2.0
#include "sync/grace.hpp"

#include <new>

#include "base/assert.hpp"
#include "sync/arena.hpp"

namespace taskwork::sync {

namespace {

AnyReaderOpen reader_walk = nullptr;

}  // namespace

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

void GracePeriods::register_process() noexcept {
    platform::this_process().readers_fence.store(platform::membarrier_register() ? 0 : 1,
                                                 std::memory_order_relaxed);
}

}  // namespace taskwork::sync
