// SPDX-License-Identifier: Apache-2.0
//
// Reservation. `state_` is {position after the last reservation; its length, owner, number}: one
// 16-byte compare-exchange reserves and names the owner (D.1). Before the next one replaces it, it
// is published or *recorded* in a small table of reservations, by anybody: entries only ever change
// to a later position, so a late helper's exchange fails. The record's header in the data area is
// written by its owner alone, who then marks the entry ready: a helper cannot do that for him,
// because a late write could fall on a later record's data, which may hold any bits. The producer
// position moves, by anybody, over entries that are ready, in order. If all before it are published
// already, as they mostly are, the owner moves the position over his record himself, and the table
// has no part in it.
//
// So a handler that interrupts a reservation half-way reserves behind it, and its record is
// published when the interrupted code goes on; and the worker finds a dead producer's record in the
// table (not ready) or in the data area (published, BUSY).
//
//   producer                                  worker, for a dead producer
//   state_: {end, length|owner|number}
//                                             entry[number] = the same (or the next producer)
//   header in data = length|BUSY              header = length|DISCARD
//   entry[number] = the same, ready           the same
//   position -> end, while ready              the same
//   ... header ^= BUSY                        header = length|DISCARD
//
// Room is what the consumer has given back and no busy record lies in. The consumer's position is a
// user's to write, so the second is asked of the records themselves: all before `finished_` are,
// and a reservation for which that is not far enough walks on from there, over published headers.
//
// The consumer is woken as by the kernel: if it has consumed all before this record. It need not be
// woken on publication: the first record that it waits for is published before it is submitted.
#include "map/ring_buffer.hpp"

#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <new>

#include "map/map_ops.hpp"
#include "map/value.hpp"
#include "sync/arena.hpp"
#include "sync/deferral.hpp"

namespace taskwork::map {

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::uint64_t kHeaderBytes = BPF_RINGBUF_HDR_SZ;
constexpr std::uint64_t kRecordBytesMax = UINT32_MAX / 4;
/// Finished records that a reservation passes beyond those that it needs to, so that the next ones
/// need not.
constexpr unsigned kAhead = 64;
constexpr std::uint64_t kReady = std::uint64_t{1} << 31;

constexpr std::uint64_t record_bytes(std::uint64_t length) noexcept {
    return round_up_8(length + kHeaderBytes);
}

/// Reservations that may be unpublished at once: those of threads that stand between reserving and
/// publishing, and those behind them. A quarter of the ring's size has room for that many; but
/// 1,024 in any ring that so many records fit into. Their numbers have 16 bits.
constexpr std::uint32_t reservations_of(std::uint32_t ring_bytes) noexcept {
    constexpr std::uint32_t kLeast = 1024;
    constexpr std::uint32_t kMost = std::uint32_t{1} << 15;
    const auto all = static_cast<std::uint32_t>(ring_bytes / kHeaderBytes);
    const auto fit = static_cast<std::uint32_t>(ring_bytes / 4 / sizeof(platform::AtomicPair));
    return std::min(std::min(kMost, all), std::max(kLeast, fit));
}

/// One reservation as the pair {end position; length : 31, ready : 1, owner : 16, number : 16}.
struct Reservation {
    platform::Pair pair;

    static Reservation make(std::uint64_t end, std::uint64_t length, std::uint16_t owner,
                            std::uint16_t number) noexcept {
        return {{end, length | std::uint64_t{owner} << 32 | std::uint64_t{number} << 48}};
    }
    std::uint64_t end() const noexcept { return pair.low; }
    std::uint64_t length() const noexcept { return pair.high & (kReady - 1); }
    bool ready() const noexcept { return (pair.high & kReady) != 0; }
    std::uint16_t owner() const noexcept { return static_cast<std::uint16_t>(pair.high >> 32); }
    /// The reservations before it, modulo 2^16.
    std::uint16_t number() const noexcept { return static_cast<std::uint16_t>(pair.high >> 48); }
    std::uint64_t start() const noexcept { return end() - record_bytes(length()); }
    Reservation as_ready() const noexcept { return {{pair.low, pair.high | kReady}}; }
};

/// What a consumer maps: two pages, then the data; in the arena the data's window follows twice.
struct Window {
    struct alignas(kPage) ConsumerPage {
        platform::Atomic<std::uint64_t> position;
    } consumer;
    struct alignas(kPage) ProducerPage {
        platform::AtomicPair position;  ///< {position produced, number of the next to publish}.
    } producer;
    std::byte* data() noexcept { return reinterpret_cast<std::byte*>(this) + sizeof(Window); }
};
static_assert(sizeof(Window) == 2 * kPage);

/// Windows of the domain (Root::mirrors). They are never given back to the arena, for members keep
/// the second view mapped; a later ring of the same size takes a free one.
struct Mirrors {
    struct Entry {
        Window* window;
        std::size_t data_bytes;
        platform::Atomic<Map*> map;  ///< nullptr: free.
    };
    platform::Atomic<std::uint32_t> count;
    Entry entries[MapTable::kMapsMax];
};

/// How many windows this process has mapped twice. A forked child inherits both.
platform::Atomic<std::uint32_t> windows_mapped;
platform::Atomic<void (*)(Map&) noexcept> consumer_hook;

Mirrors* mirrors() noexcept { return sync::Arena::root<Mirrors>(sync::Root::mirrors); }

class Ring {
public:
    /// The reservations lie behind it.
    static std::size_t bytes(const Map& map) noexcept {
        return sizeof(Ring) + reservations_of(map.max_entries) * sizeof(platform::AtomicPair);
    }
    /// In zeroed memory.
    Ring(Map& map, std::uint32_t entry) noexcept
        : window_(mirrors()->entries[entry].window), mask_(map.max_entries - 1),
          reservation_mask_(reservations_of(map.max_entries) - 1), entry_(entry),
          wake_item_(sync::DeferralQueue::get().add_item(sync::DeferralKind::ring_buffer,
                                                         reinterpret_cast<std::uint64_t>(&map))) {}

    static Ring& of(const Map& map) noexcept { return *static_cast<Ring*>(map.impl); }

    void* reserve(std::uint64_t length, std::uint16_t owner) noexcept;
    void commit(void* record, std::uint32_t outcome, std::uint64_t flags) noexcept;
    void sweep(std::uint16_t dead_owner) noexcept;
    long consume(long (*function)(void*, void*, std::size_t), void* argument);
    std::uint64_t record_size(std::uintptr_t address, std::uint16_t owner) const noexcept;

    std::uint64_t consumed() const noexcept {
        return window_->consumer.position.load(std::memory_order_acquire);
    }
    std::uint64_t produced() const noexcept {
        return window_->producer.position.load_low(std::memory_order_acquire);
    }
    void refuse() noexcept { dropped_.fetch_add(1, std::memory_order_relaxed); }
    std::uint64_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }
    Window& window() const noexcept { return *window_; }
    std::uint32_t entry() const noexcept { return entry_; }
    std::uint32_t wake_item() const noexcept { return wake_item_; }

private:
    using Header = platform::Atomic<std::uint64_t>;
    using Length = platform::Atomic<std::uint32_t>;

    std::byte* at(std::uint64_t position) const noexcept {
        return window_->data() + (position & mask_);
    }
    Header& header_at(std::uint64_t position) const noexcept {
        return *reinterpret_cast<Header*>(at(position));
    }
    /// First half: what the consumer reads. Second half: owner, and the lap, by which the bits that
    /// an older record left there are told from a header.
    std::uint64_t header_of(std::uint64_t position, std::uint64_t length, std::uint32_t flags,
                            std::uint16_t owner) const noexcept {
        const std::uint64_t lap = (position / (mask_ + 1)) & 0xffff;
        return length | flags | std::uint64_t{owner} << 32 | lap << 48;
    }
    platform::AtomicPair& reservation(std::uint16_t number) noexcept {
        return reinterpret_cast<platform::AtomicPair*>(this + 1)[number & reservation_mask_];
    }
    /// False: it was recorded already.
    bool record(Reservation one) noexcept;
    /// By its owner. False: not all before it are published.
    bool publish_alone(Reservation one) noexcept;
    void publish() noexcept;
    /// Whether none of the records that one up to `end` would fall on is busy.
    bool is_clear_for(std::uint64_t end) noexcept;
    /// The bytes of a record, from its header.
    static constexpr std::uint64_t length_in(std::uint64_t header) noexcept {
        return header & (BPF_RINGBUF_BUSY_BIT - 1) & ~std::uint64_t{BPF_RINGBUF_DISCARD_BIT};
    }
    /// Discards the record whose header was found at `position` if the dead has left it busy.
    bool finish(std::uint64_t position, std::uint64_t header, std::uint16_t dead_owner) noexcept;

    platform::AtomicPair state_;  ///< The last reservation; all zero: none yet.
    /// No record before this position is busy; only ever grows. What lies there, and before what is
    /// published, is a record's header until it has grown.
    platform::Atomic<std::uint64_t> finished_;
    Window* window_;
    std::uint64_t mask_;
    std::uint32_t reservation_mask_;
    std::uint32_t entry_;
    std::uint32_t wake_item_;
    platform::Atomic<std::uint64_t> dropped_;
};
static_assert(sizeof(Ring) % alignof(platform::AtomicPair) == 0);

bool Ring::record(Reservation one) noexcept {
    platform::AtomicPair& entry = reservation(one.number());
    platform::Pair found = entry.load();
    while (found.low < one.end()) {
        if (entry.compare_exchange(found, one.pair)) {
            return true;
        }
    }
    return false;
}

bool Ring::publish_alone(Reservation one) noexcept {
    platform::Pair position{one.start(), one.number()};
    return produced() == one.start() && window_->producer.position.compare_exchange(
                                            position, {one.end(), (position.high + 1) & 0xffff});
}

void Ring::publish() noexcept {
    for (;;) {
        platform::Pair position = window_->producer.position.load();
        const Reservation next{reservation(static_cast<std::uint16_t>(position.high)).load()};
        if (next.end() <= position.low || !next.ready()) {
            return;
        }
        window_->producer.position.compare_exchange(position,
                                                    {next.end(), (position.high + 1) & 0xffff});
    }
}

bool Ring::is_clear_for(std::uint64_t end) noexcept {
    // Acquire, and of the headers: what their owners did there is over.
    std::uint64_t from = finished_.load(std::memory_order_acquire);
    while (end - from > mask_) {
        const std::uint64_t published = produced();
        std::uint64_t position = from;
        for (unsigned step = 0; position < published && (end - position > mask_ || step < kAhead);
             ++step) {
            const std::uint32_t length =
                reinterpret_cast<Length*>(at(position))->load(std::memory_order_acquire);
            if ((length & BPF_RINGBUF_BUSY_BIT) != 0) {
                break;
            }
            position += record_bytes(length & ~std::uint32_t{BPF_RINGBUF_DISCARD_BIT});
        }
        // If it has grown meanwhile, what was read there may have been anything.
        if (position == from) {
            const std::uint64_t now = finished_.load(std::memory_order_acquire);
            if (now == from) {
                return false;
            }
            from = now;
        } else if (finished_.compare_exchange(from, position, std::memory_order_acq_rel)) {
            from = position;
        }
    }
    return true;
}

void* Ring::reserve(std::uint64_t length, std::uint16_t owner) noexcept {
    const std::uint64_t bytes = record_bytes(length);
    Reservation mine{};
    for (;;) {
        Reservation last{state_.load()};
        std::uint16_t number = 0;
        if (last.end() != 0) {
            if (last.end() > produced()) {
                record(last);
            }
            number = static_cast<std::uint16_t>(last.number() + 1);
        }
        mine = Reservation::make(last.end() + bytes, length, owner, number);
        // The kernel's rule, which leaves at least 8 bytes free.
        if (length > kRecordBytesMax || mine.end() - consumed() > mask_ ||
            !is_clear_for(mine.end()) || reservation(number).load().low > produced()) {
            if (state_.load_low(std::memory_order_acquire) != last.end()) {
                continue;  // What was read is of different times.
            }
            refuse();
            return nullptr;
        }
        if (state_.compare_exchange(last.pair, mine.pair)) {
            break;
        }
    }
    header_at(mine.start())
        .store(header_of(mine.start(), length, BPF_RINGBUF_BUSY_BIT, owner),
               std::memory_order_relaxed);
    // Full fences. Who publishes it has seen the header; and of two that become ready or published
    // at once, each looking for the other's in publish, one finds both.
    if (!publish_alone(mine) && !record(mine.as_ready())) {
        platform::Pair recorded = mine.pair;
        reservation(mine.number()).compare_exchange(recorded, mine.as_ready().pair);
    }
    publish();
    return at(mine.start()) + kHeaderBytes;
}

void Ring::commit(void* record, std::uint32_t outcome, std::uint64_t flags) noexcept {
    auto* const header = static_cast<std::byte*>(record) - kHeaderBytes;
    auto& length = *reinterpret_cast<Length*>(header);
    const std::uint32_t busy = length.load(std::memory_order_relaxed);
    // seq_cst, as the look at the consumer's position: it either sees the record finished or is
    // seen waiting for it. Pairs with what consume does, in the other order.
    length.exchange((busy & ~BPF_RINGBUF_BUSY_BIT) | outcome, std::memory_order_seq_cst);
    const auto offset = static_cast<std::uint64_t>(header - window_->data());
    if ((flags & BPF_RB_FORCE_WAKEUP) != 0 ||
        ((flags & BPF_RB_NO_WAKEUP) == 0 &&
         (window_->consumer.position.load(std::memory_order_seq_cst) & mask_) == offset)) {
        sync::DeferralQueue::get().queue(wake_item_);
    }
}

bool Ring::finish(std::uint64_t position, std::uint64_t header, std::uint16_t dead_owner) noexcept {
    const std::uint64_t length = length_in(header);
    // Before `finished_` other bits may be by now. It does not pass what is busy.
    if (finished_.load(std::memory_order_acquire) > position ||
        header != header_of(position, length, BPF_RINGBUF_BUSY_BIT, dead_owner)) {
        return false;
    }
    header_at(position).store(header_of(position, length, BPF_RINGBUF_DISCARD_BIT, dead_owner),
                              std::memory_order_release);
    return true;
}

void Ring::sweep(std::uint16_t dead_owner) noexcept {
    // Before the last reservation: so it is not beyond it, and the walk from one to the other ends.
    const platform::Pair first = window_->producer.position.load();
    const Reservation last{state_.load()};
    if (last.end() == 0) {
        return;
    }
    record(last);
    // Not published. One that is ready has been reserved behind one that is not: it is published
    // when that one is, which may be after this sweep.
    bool any = false;
    const auto end = static_cast<std::uint16_t>(last.number() + 1);
    for (auto number = static_cast<std::uint16_t>(first.high); number != end; ++number) {
        platform::AtomicPair& entry = reservation(number);
        const Reservation one{entry.load()};
        if (one.end() <= produced() || one.owner() != dead_owner) {
            continue;
        }
        if (one.ready()) {
            any |= finish(one.start(), header_at(one.start()).load(std::memory_order_acquire),
                          dead_owner);
        } else {
            header_at(one.start())
                .store(header_of(one.start(), one.length(), BPF_RINGBUF_DISCARD_BIT, dead_owner),
                       std::memory_order_relaxed);
            entry.set_high(kReady, std::memory_order_acq_rel);
            any = true;
        }
    }
    publish();
    // Published.
    std::uint64_t position = finished_.load(std::memory_order_acquire);
    while (position < produced()) {
        const std::uint64_t header = header_at(position).load(std::memory_order_acquire);
        if (const std::uint64_t now = finished_.load(std::memory_order_acquire); now > position) {
            position = now;
            continue;
        }
        any |= finish(position, header, dead_owner);
        position += record_bytes(length_in(header));
    }
    if (any) {
        sync::DeferralQueue::get().queue(wake_item_);
    }
}

long Ring::consume(long (*function)(void*, void*, std::size_t), void* argument) {
    long records = 0;
    std::uint64_t position = window_->consumer.position.load(std::memory_order_relaxed);
    // seq_cst: each look comes after the store of the position before it, see commit. A length that
    // is found also brings the record's content with it.
    for (;;) {
        const std::uint64_t published =
            window_->producer.position.load_low(std::memory_order_seq_cst);
        // No position that a user can have set leads out of the ring.
        if (position >= published || published - position > mask_ + 1 || position % 8 != 0) {
            break;
        }
        const std::uint32_t length =
            reinterpret_cast<Length*>(at(position))->load(std::memory_order_seq_cst);
        if ((length & BPF_RINGBUF_BUSY_BIT) != 0) {
            break;
        }
        const std::uint32_t size = length & ~BPF_RINGBUF_DISCARD_BIT;
        if (record_bytes(size) > published - position) {
            break;
        }
        long result = 0;
        if ((length & BPF_RINGBUF_DISCARD_BIT) == 0) {
            result = function(argument, at(position) + kHeaderBytes, size);
            ++records;
        }
        position += record_bytes(size);
        window_->consumer.position.store(position, std::memory_order_seq_cst);
        if (result < 0) {
            return result;
        }
    }
    return records;
}

std::uint64_t Ring::record_size(std::uintptr_t address, std::uint16_t owner) const noexcept {
    const std::uintptr_t header_address = address - kHeaderBytes;
    const std::uintptr_t offset =
        header_address - reinterpret_cast<std::uintptr_t>(window_->data());
    if (offset > mask_ || offset % 8 != 0) {
        return 0;
    }
    // The one position of this offset that may hold a record now.
    const std::uint64_t end = produced();
    const std::uint64_t lap_start = end & ~mask_;
    std::uint64_t position = lap_start + offset;
    if (position >= end) {
        if (lap_start == 0) {
            return 0;
        }
        position -= mask_ + 1;
    }
    const std::uint64_t header = header_at(position).load(std::memory_order_acquire);
    const std::uint64_t length = header & (kRecordBytesMax);
    return position >= finished_.load(std::memory_order_acquire) &&
                   header == header_of(position, length, BPF_RINGBUF_BUSY_BIT, owner)
               ? length
               : 0;
}

std::errc ring_check(const MapSpec& spec, std::string* why) {
    if ((spec.flags & ~std::uint32_t{BPF_F_NUMA_NODE}) != 0) {
        *why = "flags that a ring buffer does not have";
        return std::errc::invalid_argument;
    }
    if (spec.key_size != 0 || spec.value_size != 0) {
        *why = "a ring buffer has no keys and no values";
        return std::errc::invalid_argument;
    }
    if (!std::has_single_bit(spec.max_entries) || spec.max_entries % kPage != 0) {
        *why = "max_entries, the size in bytes, has to be a power of 2 and a multiple of 4096";
        return std::errc::invalid_argument;
    }
    return no_error;
}

/// Maps the window's data a second time behind itself.
std::errc map_twice(const Mirrors::Entry& entry, int fd) noexcept {
    std::byte* const data = entry.window->data();
    const auto offset =
        static_cast<off_t>(reinterpret_cast<std::uintptr_t>(data) - sync::kArenaBase);
    void* const second = ::mmap(data + entry.data_bytes, entry.data_bytes, PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_FIXED, fd, offset);
    return second == MAP_FAILED ? last_errc() : no_error;
}

/// A window of this size for the map: one that a dead ring left, or a new one.
std::errc take_window(Map& map, std::uint32_t* index) noexcept {
    Mirrors* all = mirrors();
    const std::size_t bytes = map.max_entries;
    for (std::uint32_t i = 0; i < all->count.load(std::memory_order_relaxed); ++i) {
        Mirrors::Entry& entry = all->entries[i];
        if (entry.data_bytes == bytes && entry.map.load(std::memory_order_relaxed) == nullptr) {
            zero_bytes(entry.window, sizeof(Window) + bytes);
            *index = i;
            return no_error;
        }
    }
    const std::uint32_t count = all->count.load(std::memory_order_relaxed);
    if (count == MapTable::kMapsMax) {
        return std::errc::not_enough_memory;
    }
    std::errc why = std::errc::not_enough_memory;
    void* const memory = sync::Arena::allocate(sizeof(Window) + 2 * bytes, kPage, &why);
    if (memory == nullptr) {
        return why;
    }
    Mirrors::Entry& entry = all->entries[count];
    entry.window = new (memory) Window();
    entry.data_bytes = bytes;
    const std::errc error = map_twice(entry, sync::Arena::descriptor());
    if (error != no_error) {
        sync::Arena::release(memory, sizeof(Window) + 2 * bytes);
        return error;
    }
    // Nobody sees the memory behind the second view any more.
    ::fallocate(sync::Arena::descriptor(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                static_cast<off_t>(reinterpret_cast<std::uintptr_t>(entry.window->data()) + bytes -
                                   sync::kArenaBase),
                static_cast<off_t>(bytes));
    // Release: pairs with the acquire in map_mirrors and ring_of_record.
    all->count.store(count + 1, std::memory_order_release);
    windows_mapped.store(count + 1, std::memory_order_release);
    *index = count;
    return no_error;
}

std::errc ring_init(Map& map) {
    void* const memory = sync::Arena::allocate(Ring::bytes(map), 64);
    if (memory == nullptr) {
        return std::errc::not_enough_memory;
    }
    std::uint32_t index = 0;
    const std::errc error = take_window(map, &index);
    if (error != no_error) {
        sync::Arena::release(memory, Ring::bytes(map));
        return error;
    }
    map.impl = new (memory) Ring(map, index);
    map.impl_bytes = Ring::bytes(map) + sizeof(Window) + map.max_entries;
    mirrors()->entries[index].map.store(&map, std::memory_order_release);
    return no_error;
}

void ring_destroy(Map& map) noexcept {
    Ring& ring = Ring::of(map);
    sync::DeferralQueue::get().remove_item(ring.wake_item());
    mirrors()->entries[ring.entry()].map.store(nullptr, std::memory_order_release);
    sync::Arena::release(&ring, Ring::bytes(map));
}

void ring_sweep(Map& map, std::uint16_t dead_owner) noexcept { Ring::of(map).sweep(dead_owner); }

Usage ring_usage(const Map& map) noexcept {
    Usage usage;
    usage.bytes = map.impl_bytes;
    return usage;
}

constexpr MapOps make_ops() noexcept {
    MapOps ops{};
    ops.name = "ring buffer";
    ops.check = ring_check;
    ops.init = ring_init;
    ops.destroy = ring_destroy;
    ops.sweep = ring_sweep;
    ops.usage = ring_usage;
    return ops;
}

}  // namespace

const MapOps ring_buffer_ops = make_ops();

std::errc ring_buffer_start() noexcept {
    void* const memory = sync::Arena::allocate(sizeof(Mirrors), alignof(Mirrors));
    if (memory == nullptr) {
        return std::errc::not_enough_memory;
    }
    windows_mapped.store(0, std::memory_order_relaxed);
    sync::Arena::set_root(sync::Root::mirrors, new (memory) Mirrors());
    sync::DeferralQueue::set_handler(sync::DeferralKind::ring_buffer, [](std::uint64_t argument) {
        auto* map = reinterpret_cast<Map*>(argument);
        auto* hook = consumer_hook.load(std::memory_order_acquire);
        if (hook != nullptr && is_map(map)) {
            hook(*map);
        }
    });
    return no_error;
}

void* ring_reserve(Map& map, std::uint64_t size, std::uint64_t flags,
                   std::uint16_t owner) noexcept {
    Ring& ring = Ring::of(map);
    if (flags != 0) {
        return nullptr;
    }
    if (ring.entry() >= windows_mapped.load(std::memory_order_acquire)) {
        // The ring is younger than this process's joining, and not mapped twice here.
        ring.refuse();
        return nullptr;
    }
    return ring.reserve(size, owner);
}

void ring_submit(void* record, std::uint64_t flags) noexcept {
    if (Map* map = ring_of_record(record)) {
        Ring::of(*map).commit(record, 0, flags);
    }
}

void ring_discard(void* record, std::uint64_t flags) noexcept {
    if (Map* map = ring_of_record(record)) {
        Ring::of(*map).commit(record, BPF_RINGBUF_DISCARD_BIT, flags);
    }
}

std::errc ring_output(Map& map, const void* data, std::uint64_t size, std::uint64_t flags,
                      std::uint16_t owner) noexcept {
    if ((flags & ~std::uint64_t{BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP}) != 0) {
        return std::errc::invalid_argument;
    }
    void* const record = ring_reserve(map, size, 0, owner);
    if (record == nullptr) {
        return std::errc::resource_unavailable_try_again;
    }
    copy_bytes(record, data, size);
    Ring::of(map).commit(record, 0, flags);
    return no_error;
}

std::uint64_t ring_query(const Map& map, std::uint64_t flags) noexcept {
    const Ring& ring = Ring::of(map);
    switch (flags) {
    case BPF_RB_AVAIL_DATA: {
        const std::uint64_t consumed = ring.consumed();
        return ring.produced() - consumed;
    }
    case BPF_RB_RING_SIZE:
        return map.max_entries;
    case BPF_RB_CONS_POS:
        return ring.consumed();
    case BPF_RB_PROD_POS:
        return ring.produced();
    default:
        return 0;
    }
}

std::uint64_t ring_record_size(const Map& map, const void* address, std::uint16_t owner) noexcept {
    return Ring::of(map).record_size(reinterpret_cast<std::uintptr_t>(address), owner);
}

Map* ring_of_record(const void* record) noexcept {
    const Mirrors* all = mirrors();
    const auto address = reinterpret_cast<std::uintptr_t>(record);
    const std::uint32_t count = all->count.load(std::memory_order_acquire);
    for (std::uint32_t i = 0; i < count; ++i) {
        const Mirrors::Entry& entry = all->entries[i];
        const std::uintptr_t offset =
            address - reinterpret_cast<std::uintptr_t>(entry.window->data());
        // A record starts in the first view; its header is 8 bytes before.
        if (offset >= kHeaderBytes && offset < entry.data_bytes + kHeaderBytes) {
            return entry.map.load(std::memory_order_acquire);
        }
    }
    return nullptr;
}

long ring_consume(Map& map, long (*function)(void* argument, void* data, std::size_t size),
                  void* argument) {
    return Ring::of(map).consume(function, argument);
}

RingLayout ring_layout(const Map& map) noexcept {
    Window& window = Ring::of(map).window();
    const auto offset = [](const void* address) {
        return reinterpret_cast<std::uintptr_t>(address) - sync::kArenaBase;
    };
    return {offset(&window.consumer), offset(&window.producer), offset(window.data()),
            map.max_entries};
}

std::uint64_t ring_dropped(const Map& map) noexcept { return Ring::of(map).dropped(); }

void set_ring_hook(void (*hook)(Map& map) noexcept) noexcept {
    consumer_hook.store(hook, std::memory_order_release);
}

std::errc map_mirrors(int arena_fd) noexcept {
    const Mirrors* all = mirrors();
    if (all == nullptr) {
        return no_error;
    }
    const std::uint32_t count = all->count.load(std::memory_order_acquire);
    for (std::uint32_t i = 0; i < count; ++i) {
        if (const std::errc error = map_twice(all->entries[i], arena_fd); error != no_error) {
            return error;
        }
    }
    windows_mapped.store(count, std::memory_order_release);
    return no_error;
}

}  // namespace taskwork::map
