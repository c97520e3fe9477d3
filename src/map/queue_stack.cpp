// SPDX-License-Identifier: Apache-2.0
//
// BPF_MAP_TYPE_QUEUE and BPF_MAP_TYPE_STACK: values without keys; pushed at one end, taken at the
// same end (stack) or the other (queue).
//
// Values lie in items of a pool. The items that are in the map are named, oldest first, by `count`
// cells of a ring of max_entries + 1, from `first` on. All of that is said by one pair of words,
// the state, and every operation is one compare-exchange on it:
//
//   push            count + 1; at the limit with BPF_EXIST: first + 1, which drops the oldest
//   take            count - 1, and first + 1 if it is a queue
//
// The state also says which operation made it, on which item and by whom. What follows from that
// (`finish`) is done by anybody before the next operation, any number of times: the item is named
// in its cell and is `queued`; an item that has left belongs to who took it out. So nobody waits
// for code that was interrupted or died, BPF_EXIST is atomic, and the count is exact.
//
//   item   free -> building (pusher's) -> queued -> taken (taker's, or of who dropped it) -> free
//
// No program ever holds the address of an item, so items need no grace period: a peek that copies
// while its item is taken and used again finds the item's word changed, and begins anew.
#include <linux/bpf.h>

#include <algorithm>
#include <new>

#include "map/map_ops.hpp"
#include "map/value.hpp"
#include "sync/arena.hpp"

namespace taskwork::map {

namespace {

constexpr std::uint8_t kItemBuilding = sync::kStateUser;
constexpr std::uint8_t kItemQueued = sync::kStateUser + 1;
constexpr std::uint8_t kItemTaken = sync::kStateUser + 2;

/// Values that a user could not be given in one piece by the kernel.
constexpr std::uint32_t kValueBytesMax = std::uint32_t{4} << 20;
/// Items are numbered by 24 bits of the state.
constexpr std::uint32_t kItemsMax = (std::uint32_t{1} << 24) - 1;

struct Item {
    sync::AtomicWord word;
    [[nodiscard]] void* value() noexcept { return this + 1; }
};

enum class Step : std::uint8_t { none, push, push_over, take };

/// {version : 32, first : 24, step : 8; count : 24, item : 24, owner : 16}.
struct State {
    platform::Pair pair;

    static State make(std::uint32_t version, std::uint32_t first, std::uint32_t count, Step step,
                      std::uint32_t item, std::uint16_t owner) noexcept {
        return {{std::uint64_t{version} << 32 | std::uint64_t{first} << 8 |
                     static_cast<std::uint64_t>(step),
                 std::uint64_t{count} << 40 | std::uint64_t{item} << 16 | owner}};
    }
    [[nodiscard]] std::uint32_t version() const noexcept {
        return static_cast<std::uint32_t>(pair.low >> 32);
    }
    [[nodiscard]] std::uint32_t first() const noexcept {
        return static_cast<std::uint32_t>(pair.low >> 8) & kItemsMax;
    }
    [[nodiscard]] Step step() const noexcept { return static_cast<Step>(pair.low & 0xff); }
    [[nodiscard]] std::uint32_t count() const noexcept {
        return static_cast<std::uint32_t>(pair.high >> 40);
    }
    [[nodiscard]] std::uint32_t item() const noexcept {
        return static_cast<std::uint32_t>(pair.high >> 16) & kItemsMax;
    }
    [[nodiscard]] std::uint16_t owner() const noexcept {
        return static_cast<std::uint16_t>(pair.high);
    }
};

class alignas(64) QueueStack {  // The pool behind it wants that.
public:
    static QueueStack& of(const Map& map) noexcept { return *static_cast<QueueStack*>(map.impl); }
    static std::size_t bytes(const Map& map) noexcept {
        return sizeof(QueueStack) + cells_bytes(map) +
               sync::Pool::bytes(item_count(map), item_bytes(map));
    }
    static std::uint64_t item_count(const Map& map) noexcept {
        return std::uint64_t{map.max_entries} + spares(map);
    }

    QueueStack(Map& map, void* memory) noexcept : map_(&map) {
        auto* at = static_cast<std::byte*>(memory) + sizeof(QueueStack);
        cells_ = reinterpret_cast<Cell*>(at);
        items_.init(at + cells_bytes(map), static_cast<std::uint32_t>(item_count(map)),
                    item_bytes(map), 0);
    }

    std::errc push(const void* value, std::uint64_t flags) noexcept;
    std::errc take(void* out) noexcept;
    std::errc peek(void* out) noexcept;
    void sweep(std::uint16_t dead_owner) noexcept;
    Usage usage() const noexcept;

private:
    /// {version of the state that put it there : 32, item : 32}.
    using Cell = platform::Atomic<std::uint64_t>;

    static std::size_t cells_bytes(const Map& map) noexcept {
        return ((std::uint64_t{map.max_entries} + 1) * sizeof(Cell) + 63) & ~std::size_t{63};
    }
    static std::size_t item_bytes(const Map& map) noexcept {
        return sizeof(Item) + round_up_8(map.value_size);
    }
    /// Items that are being built, or copied out: one a thread and level at most, and one more that
    /// it drops.
    static std::uint32_t spares(const Map& map) noexcept {
        const std::size_t fit = (std::size_t{1} << 20) / item_bytes(map);
        return static_cast<std::uint32_t>(std::clamp<std::size_t>(fit, 8, 64));
    }
    std::uint32_t wrapped(std::uint32_t cell) const noexcept {
        return cell > map_->max_entries ? cell - map_->max_entries - 1 : cell;
    }
    std::uint32_t before(std::uint32_t cell) const noexcept {
        return cell == 0 ? map_->max_entries : cell - 1;
    }
    std::uint32_t last_of(State state) const noexcept {
        return before(wrapped(state.first() + state.count()));
    }
    std::uint32_t out_of(State state) const noexcept {
        return map_->type == BPF_MAP_TYPE_QUEUE ? state.first() : last_of(state);
    }
    Item* item(std::uint32_t index) const noexcept { return static_cast<Item*>(items_.at(index)); }
    std::uint32_t named_in(std::uint32_t cell) const noexcept {
        return static_cast<std::uint32_t>(cells_[cell].load(std::memory_order_acquire));
    }
    bool is_current(State state) const noexcept {
        return state_.load_low(std::memory_order_acquire) == state.pair.low;
    }

    void finish(State now) noexcept;
    void give_to_owner(State now, std::uint32_t left) noexcept;

    sync::Pool items_;
    Map* map_;
    Cell* cells_;
    platform::Atomic<std::uint64_t> refused_;
    platform::AtomicPair state_;
};

/// Everything here is decided by what was read while `now` was the state: it is the state until its
/// steps are finished, so each reads first and asks then whether it still is. What has been
/// finished already is told by the value that the exchange expects: a cell's version and an item's
/// round do not come back.
void QueueStack::finish(State now) noexcept {
    switch (now.step()) {
    case Step::none:
        return;
    case Step::take:
        give_to_owner(now, now.item());
        return;
    case Step::push_over:
        // The oldest's cell is the one that the ring has more than entries: still as it was.
        give_to_owner(now, named_in(before(now.first())));
        [[fallthrough]];
    case Step::push:
        break;
    }
    Cell& cell = cells_[last_of(now)];
    std::uint64_t seen = cell.load(std::memory_order_acquire);
    const std::uint64_t name = std::uint64_t{now.version()} << 32 | now.item();
    if (seen != name && is_current(now)) {
        cell.compare_exchange(seen, name, std::memory_order_acq_rel);
    }
    sync::Word word = sync::Pool::load(item(now.item()));
    if (word.state() == kItemBuilding && is_current(now)) {
        sync::Pool::transition(item(now.item()), word, word.with_owner(0).with_state(kItemQueued));
    }
}

void QueueStack::give_to_owner(State now, std::uint32_t left) noexcept {
    sync::Word word = sync::Pool::load(item(left));
    if (word.state() == kItemQueued && is_current(now)) {
        sync::Pool::transition(item(left), word,
                               word.with_owner(now.owner()).with_state(kItemTaken));
    }
}

std::errc QueueStack::push(const void* value, std::uint64_t flags) noexcept {
    if (flags != BPF_ANY && flags != BPF_EXIST) {
        return std::errc::invalid_argument;
    }
    sync::Claimant by;
    if (!current_claimant(&by)) {
        return std::errc::no_such_process;
    }
    Item* built = nullptr;
    for (;;) {
        State now{state_.load()};
        const bool full = now.count() == map_->max_entries;
        if (full && flags != BPF_EXIST) {
            if (built != nullptr) {
                items_.release(built);
            }
            return std::errc::argument_list_too_long;
        }
        if (built == nullptr) {
            built = static_cast<Item*>(items_.claim(by, kItemBuilding));
            if (built == nullptr) {
                refused_.fetch_add(1, std::memory_order_relaxed);
                return std::errc::device_or_resource_busy;
            }
            copy_bytes(built->value(), value, map_->value_size);
        }
        finish(now);
        const std::uint32_t oldest = named_in(now.first());  // If it is dropped.
        const State next =
            State::make(now.version() + 1, full ? wrapped(now.first() + 1) : now.first(),
                        full ? now.count() : now.count() + 1, full ? Step::push_over : Step::push,
                        items_.index_of(built), by.owner);
        if (state_.compare_exchange(now.pair, next.pair)) {
            finish(next);
            if (full) {
                items_.release(item(oldest));
            }
            return no_error;
        }
    }
}

std::errc QueueStack::take(void* out) noexcept {
    sync::Claimant by;
    if (!current_claimant(&by)) {
        return std::errc::no_such_process;
    }
    for (;;) {
        State now{state_.load()};
        if (now.count() == 0) {
            zero_bytes(out, map_->value_size);
            return std::errc::no_such_file_or_directory;
        }
        finish(now);
        const std::uint32_t taken = named_in(out_of(now));
        const bool oldest = map_->type == BPF_MAP_TYPE_QUEUE;
        const State next =
            State::make(now.version() + 1, oldest ? wrapped(now.first() + 1) : now.first(),
                        now.count() - 1, Step::take, taken, by.owner);
        if (state_.compare_exchange(now.pair, next.pair)) {
            finish(next);
            copy_bytes(out, item(taken)->value(), map_->value_size);
            items_.release(item(taken));
            return no_error;
        }
    }
}

std::errc QueueStack::peek(void* out) noexcept {
    for (;;) {
        const State now{state_.load()};
        if (now.count() == 0) {
            zero_bytes(out, map_->value_size);
            return std::errc::no_such_file_or_directory;
        }
        finish(now);
        Item* const seen = item(named_in(out_of(now)));
        sync::Word word = sync::Pool::load(seen);
        if (!is_current(now)) {
            continue;
        }
        copy_bytes(out, seen->value(), map_->value_size);
        // Not a load: the copy has to be done before. The item was in the map all the while.
        if (sync::Pool::transition(seen, word, word)) {
            return no_error;
        }
    }
}

void QueueStack::sweep(std::uint16_t dead_owner) noexcept {
    // Now no operation of the dead is unfinished: what it was building has not been pushed.
    finish(State{state_.load()});
    for (std::uint32_t i = 0; i < items_.count(); ++i) {
        const sync::Word word = sync::Pool::load(item(i));
        if ((word.state() == kItemBuilding || word.state() == kItemTaken) &&
            word.owner() == dead_owner) {
            items_.release(item(i));
        }
    }
    items_.restore_hints();
}

Usage QueueStack::usage() const noexcept {
    Usage usage;
    usage.elements = State{state_.load()}.count();
    usage.refused_no_memory = refused_.load(std::memory_order_relaxed);
    usage.bytes = map_->impl_bytes;
    return usage;
}

std::errc queue_stack_check(const MapSpec& spec, std::string* why) {
    constexpr std::uint32_t kFlags =
        BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;
    if (spec.max_entries == 0 || spec.key_size != 0 || spec.value_size == 0) {
        *why = "it needs max_entries and value_size, and key_size 0";
        return std::errc::invalid_argument;
    }
    if ((spec.flags & ~kFlags) != 0) {
        *why = "flags that queues and stacks do not have";
        return std::errc::invalid_argument;
    }
    if ((spec.flags & BPF_F_RDONLY_PROG) != 0 && (spec.flags & BPF_F_WRONLY_PROG) != 0) {
        *why = "BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG exclude each other";
        return std::errc::invalid_argument;
    }
    if (spec.value_size > kValueBytesMax) {
        *why = "value_size is above " + std::to_string(kValueBytesMax);
        return std::errc::argument_list_too_long;
    }
    return no_error;
}

std::errc queue_stack_init(Map& map) {
    std::errc why = std::errc::not_enough_memory;
    if (QueueStack::item_count(map) > kItemsMax) {
        return why;
    }
    const std::size_t bytes = QueueStack::bytes(map);
    void* const memory = sync::Arena::allocate(bytes, 64, &why);
    if (memory == nullptr) {
        return why;
    }
    map.impl_bytes = bytes;
    map.impl = new (memory) QueueStack(map, memory);
    return no_error;
}

void queue_stack_destroy(Map& map) noexcept { sync::Arena::release(map.impl, map.impl_bytes); }

std::errc queue_stack_push(Map& map, const void* value, std::uint64_t flags) noexcept {
    return QueueStack::of(map).push(value, flags);
}
std::errc queue_stack_pop(Map& map, void* out) noexcept { return QueueStack::of(map).take(out); }
std::errc queue_stack_peek(Map& map, void* out) noexcept { return QueueStack::of(map).peek(out); }

std::errc queue_stack_update(Map&, const void*, const void*, std::uint64_t) noexcept {
    return std::errc::invalid_argument;
}
std::errc queue_stack_remove(Map&, const void*) noexcept { return std::errc::invalid_argument; }
std::errc queue_stack_next_key(Map&, const void*, void*) noexcept {
    return std::errc::invalid_argument;
}

void queue_stack_sweep(Map& map, std::uint16_t dead_owner) noexcept {
    QueueStack::of(map).sweep(dead_owner);
}
Usage queue_stack_usage(const Map& map) noexcept { return QueueStack::of(map).usage(); }

constexpr MapOps make_ops(const char* name) noexcept {
    MapOps ops{};
    ops.name = name;
    ops.check = queue_stack_check;
    ops.init = queue_stack_init;
    ops.destroy = queue_stack_destroy;
    ops.push = queue_stack_push;
    ops.pop = queue_stack_pop;
    ops.peek = queue_stack_peek;
    ops.update = queue_stack_update;
    ops.remove = queue_stack_remove;
    ops.next_key = queue_stack_next_key;
    ops.sweep = queue_stack_sweep;
    ops.usage = queue_stack_usage;
    return ops;
}

}  // namespace

const MapOps queue_ops = make_ops("queue");
const MapOps stack_ops = make_ops("stack");

}  // namespace taskwork::map
