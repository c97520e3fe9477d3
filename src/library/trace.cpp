// SPDX-License-Identifier: Apache-2.0
//
// The ring of trace::start() and the hook that fills it, in any context. trace_json.cpp writes it.
#include "library/trace.hpp"

#include <sys/mman.h>

#include <atomic>
#include <bit>

#include "defer/context.hpp"
#include "defer/transition.hpp"
#include "library/domain.hpp"
#include "library/works.hpp"
#include <taskwork/trace.hpp>
#include <taskwork/work.hpp>

namespace taskwork::library {

namespace {

constexpr std::size_t kRecordsMax = std::size_t{1} << 24;

/// The ring in use. Never unmapped: a handler may be writing to it still.
struct Ring {
    std::atomic<Record*> records{nullptr};
    std::size_t capacity = 0;  ///< Of `records`; start()'s, which `on` lets in one at a time.
    std::atomic<std::uint64_t> mask{0};
    std::atomic<std::uint64_t> next{0};   ///< Records made so far.
    std::atomic<std::uint64_t> begin{0};  ///< The first of this trace.
    std::atomic<std::uint32_t> only{0};   ///< Arena index of the one context; 0: all.
    std::atomic<bool> on{false};
};
constinit Ring ring;

void record(const defer::WorkContext& context, std::uint32_t round,
            defer::Transition transition) noexcept {
    const std::uint32_t index = sync::arena_index(&context);
    const std::uint32_t only = ring.only.load(std::memory_order_relaxed);
    if (only != 0 && only != index) {
        return;
    }
    // In this order: a new mask comes with new records.
    const std::uint64_t mask = ring.mask.load(std::memory_order_acquire);
    Record* records = ring.records.load(std::memory_order_acquire);
    const std::uint64_t number = ring.next.fetch_add(1, std::memory_order_relaxed);
    Record& mine = records[number & mask];
    const task::Task* me = task::current();
    const task::Task* target = context.target.load(std::memory_order_relaxed);
    mine.number.store(0, std::memory_order_relaxed);
    mine.ns.store(platform::now_ns(), std::memory_order_release);
    mine.work.store(static_cast<std::uint64_t>(index) << 32 | round, std::memory_order_relaxed);
    mine.threads.store(static_cast<std::uint64_t>(static_cast<std::uint32_t>(
                           me != nullptr ? me->tid : platform::thread_id()))
                               << 32 |
                           static_cast<std::uint32_t>(target != nullptr ? target->tid : 0),
                       std::memory_order_relaxed);
    mine.callable.store(
        reinterpret_cast<std::uint64_t>(context.program.load(std::memory_order_relaxed)),
        std::memory_order_relaxed);
    mine.transition.store(static_cast<std::uint64_t>(transition), std::memory_order_relaxed);
    // Release: pairs with the acquire in for_each_record.
    mine.number.store(number + 1, std::memory_order_release);
}

}  // namespace

void for_each_record(void (*function)(void* argument, const Sample& sample), void* argument) {
    const Record* records = ring.records.load(std::memory_order_acquire);
    if (records == nullptr) {
        return;
    }
    const std::uint64_t size = ring.mask.load(std::memory_order_relaxed) + 1;
    const std::uint64_t end = ring.next.load(std::memory_order_acquire);
    std::uint64_t number = ring.begin.load(std::memory_order_relaxed);
    if (end - number > size) {
        number = end - size;
    }
    for (; number != end; ++number) {
        const Record& one = records[number & (size - 1)];
        if (one.number.load(std::memory_order_acquire) != number + 1) {
            continue;  // Being written, or overwritten.
        }
        const std::uint64_t work = one.work.load(std::memory_order_acquire);
        const std::uint64_t threads = one.threads.load(std::memory_order_acquire);
        const Sample sample{
            .ns = one.ns.load(std::memory_order_acquire),
            .work = static_cast<std::uint32_t>(work >> 32),
            .round = static_cast<std::uint32_t>(work),
            .thread = static_cast<std::int32_t>(threads >> 32),
            .target = static_cast<std::int32_t>(threads),
            .callable = one.callable.load(std::memory_order_acquire),
            .transition =
                static_cast<defer::Transition>(one.transition.load(std::memory_order_acquire)),
        };
        if (one.number.load(std::memory_order_relaxed) == number + 1) {
            function(argument, sample);
        }
    }
}

}  // namespace taskwork::library

namespace taskwork::trace {

using library::ring;

std::errc start(std::size_t records, const Work* only) noexcept {
    assume_task();
    if (records == 0 || records > library::kRecordsMax) {
        return std::errc::invalid_argument;
    }
    if (const std::errc error = library::ensure_registered(detail::this_module, Options{});
        error != no_error) {
        return error;
    }
    if (ring.on.exchange(true, std::memory_order_acq_rel)) {
        return std::errc::device_or_resource_busy;
    }
    std::uint32_t only_index = 0;
    if (only != nullptr) {
        only_index = library::context_index(*only);
        if (only_index == 0) {
            ring.on.store(false, std::memory_order_release);
            return std::errc::invalid_argument;
        }
    }
    const std::size_t wanted = std::bit_ceil(records);
    if (ring.capacity < wanted) {
        void* memory = ::mmap(nullptr, wanted * sizeof(library::Record), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (memory == MAP_FAILED) {
            ring.on.store(false, std::memory_order_release);
            return std::errc::not_enough_memory;
        }
        ring.records.store(static_cast<library::Record*>(memory), std::memory_order_release);
        ring.capacity = wanted;
    }
    ring.mask.store(wanted - 1, std::memory_order_release);
    ring.begin.store(ring.next.load(std::memory_order_relaxed), std::memory_order_relaxed);
    ring.only.store(only_index, std::memory_order_relaxed);
    defer::set_transition_hook(library::record);
    return no_error;
}

void stop() noexcept {
    defer::set_transition_hook(nullptr);
    ring.on.store(false, std::memory_order_release);
}

std::uint64_t recorded() noexcept {
    return ring.next.load(std::memory_order_relaxed) - ring.begin.load(std::memory_order_relaxed);
}

}  // namespace taskwork::trace
