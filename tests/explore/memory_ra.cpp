// SPDX-License-Identifier: Apache-2.0
//
// The release/acquire model: each shared location has a list of messages (its modification order,
// which is the order in which stores happened). A thread has a view: for each location the oldest
// message that it may still read. A load may return any message that is not older than its view. A
// release store carries the thread's view with it; an acquire load of it joins that view. A
// read-modify-write reads the newest message and passes on what that carried (release sequence).
// Sequentially consistent accesses of a location agree on one order; fences on one of everything.
//
// A view also says which accesses happen before it: of each watched object, and of plain data that
// is read, which threads' last accesses it knows of. Whoever frees the object, or writes the data,
// must know of all; so memory is not used again under a load that hardware may still have in
// flight, though here each load reads when its turn comes.
//
// Not shown: stores that take effect before older ones in the modification order of their location,
// and values read from the future (load buffering). See docs/explorer.md.
#include <algorithm>
#include <bit>
#include <cstring>

#include "tests/explore/detail.hpp"
#include "tests/explore/machine.hpp"

namespace explore {

namespace {

constexpr unsigned kPlacesMax = 160;
constexpr unsigned kMessagesMax = 1500;
/// A load looks back at most this far; more is a bound, and said to be one.
constexpr unsigned kChoicesMax = 8;

/// Watched objects, then plain places.
constexpr unsigned kGuardsMax = 72;
static_assert(kGuardsMax > kObjectsMax && kThreadsMax < 8);
constexpr std::uint8_t kReleased = 0x80;

struct View {
    std::uint8_t seen[kPlacesMax];
    /// By guard: the threads whose last access it knows of; kReleased: that of the last release.
    std::uint8_t knows[kGuardsMax];

    void join(const View& other) {
        for (unsigned index = 0; index < kPlacesMax; ++index) {
            seen[index] = std::max(seen[index], other.seen[index]);
        }
        for (unsigned index = 0; index < kGuardsMax; ++index) {
            knows[index] |= other.knows[index];
        }
    }
};

struct Message {
    std::uint64_t value;
    std::int16_t place;
    std::uint8_t number;  ///< In the modification order of its place.
    View view;
};

/// Everything of the model; only the messages there are get copied.
struct State {
    View threads[kThreadsMax];
    View released[kThreadsMax];  ///< By the thread's last fence.
    View acquired[kThreadsMax];  ///< What relaxed loads have seen carried, for its next fence.
    View told[kThreadsMax];      ///< What the signals and wake-ups on their way to it carry.
    View order;                  ///< Of the sequentially consistent.
    std::uint8_t newest[kPlacesMax];
    std::uint8_t touched[kGuardsMax];  ///< By whom since the last release; kReleased: there is one.
    std::uint32_t count;
    Message messages[kMessagesMax];
};

State state;

/// In all views but `kept` the bits of a guard are as they were before anybody knew of them.
void forget_touch(std::int16_t guard, std::uint8_t bits, const View* kept) {
    const auto clear = [=](View& view) {
        if (&view != kept) {
            view.knows[guard] &= static_cast<std::uint8_t>(~bits);
        }
    };
    for (unsigned thread = 0; thread < kThreadsMax; ++thread) {
        clear(state.threads[thread]);
        clear(state.released[thread]);
        clear(state.acquired[thread]);
        clear(state.told[thread]);
    }
    clear(state.order);
    for (std::uint32_t index = 0; index < state.count; ++index) {
        clear(state.messages[index].view);
    }
}

std::size_t used() { return offsetof(State, messages) + state.count * sizeof(Message); }

const Message* find(std::int16_t place, unsigned number) {
    for (std::uint32_t index = state.count; index-- > 0;) {
        const Message& one = state.messages[index];
        if (one.place == place && one.number == number) {
            return &one;
        }
    }
    return nullptr;
}

bool acquires(std::memory_order order) {
    return order == std::memory_order_acquire || order == std::memory_order_acq_rel ||
           order == std::memory_order_seq_cst || order == std::memory_order_consume;
}
bool releases(std::memory_order order) {
    return order == std::memory_order_release || order == std::memory_order_acq_rel ||
           order == std::memory_order_seq_cst;
}

}  // namespace

void Machine::ra_reset() { std::memset(static_cast<void*>(&state), 0, offsetof(State, messages)); }

unsigned Machine::ra_variants(unsigned thread, const Request& request) const {
    if (request.kind != Kind::load && request.kind != Kind::compare_exchange) {
        return 1;
    }
    const std::int16_t place = places_[request.place].messages;
    if (place < 0 || request.kind != Kind::load) {
        return 1;
    }
    unsigned oldest = state.threads[thread].seen[place];
    if (request.order == std::memory_order_seq_cst) {
        oldest = std::max<unsigned>(oldest, state.order.seen[place]);
    }
    return std::min(state.newest[place] - oldest + 1U, kChoicesMax);
}

std::uint64_t Machine::ra_execute(unsigned thread, const Request& request, unsigned variant) {
    Place& where = places_[request.place];
    if (where.messages < 0) {
        // A replay: places are numbered as they turn up.
        std::int16_t next = 0;
        for (const Place& one : places_) {
            next = std::max<std::int16_t>(next, static_cast<std::int16_t>(one.messages + 1));
        }
        where.messages = next;
    }
    const std::int16_t place = where.messages;
    if (place >= static_cast<std::int16_t>(kPlacesMax) || state.count >= kMessagesMax ||
        state.newest[place] == 0xff) {
        fail("explorer", "the release/acquire model has room for no more");
        return 0;
    }
    View& view = state.threads[thread];
    const std::uint64_t current = read(request.place);
    const bool plain = is_plain(request.kind);
    if (plain || where.plain) {
        // A read must come after the last write, a write after all accesses.
        if (view.seen[place] < state.newest[place]) {
            fail("race",
                 "no release and acquire order the accesses to " + place_name(request.place));
            return 0;
        }
        if (where.guard < 0) {
            std::int16_t next = kObjectsMax;  // A replay, as above.
            for (const Place& one : places_) {
                next = std::max<std::int16_t>(next, static_cast<std::int16_t>(one.guard + 1));
            }
            where.guard = next;
        }
        if (where.guard >= static_cast<std::int16_t>(kGuardsMax)) {
            fail("explorer", "the release/acquire model has room for no more");
            return 0;
        }
        if (request.kind == Kind::plain_load) {
            ra_touch(thread, where.guard, request.place);
        } else {
            ra_settle(thread, where.guard, false, request.place);
        }
        if (world_.failed) {
            return 0;
        }
    }
    const bool stores = request.kind != Kind::load && request.kind != Kind::plain_load;
    const bool updates = stores && request.kind != Kind::store && request.kind != Kind::plain_store;
    std::uint64_t result = current;
    const Message* from = nullptr;
    if (!stores || updates) {
        const unsigned number = state.newest[place] - (updates || plain ? 0 : variant);
        from = find(place, number);
        // The first value of all is no message; only the newest of those is in memory.
        if (number != state.newest[place]) {
            result = from != nullptr ? from->value : initial(request.place);
        }
        view.seen[place] = std::max(view.seen[place], static_cast<std::uint8_t>(number));
        if (from != nullptr) {
            (acquires(request.order) ? view : state.acquired[thread]).join(from->view);
        }
    }
    const bool total = request.order == std::memory_order_seq_cst;
    if (!stores || (request.kind == Kind::compare_exchange && result != request.expected)) {
        // What failed has read with acquire order.
        if (from != nullptr && stores) {
            view.join(from->view);
        }
        if (total) {
            state.order.seen[place] = std::max(state.order.seen[place], view.seen[place]);
        }
        return result;
    }
    if (ends_life(request.place, current,
                  updated(request.kind, current, request.operand, request.expected))) {
        ra_settle(thread, where.object, true, request.place);
        if (world_.failed) {
            return 0;
        }
    }
    Message& fresh = state.messages[state.count++];
    std::memset(static_cast<void*>(&fresh), 0, sizeof(fresh));
    fresh.place = place;
    fresh.number = ++state.newest[place];
    view.seen[place] = fresh.number;
    if (updates && from != nullptr) {
        fresh.view = from->view;  // `from` is of the same array: no reallocation.
    }
    fresh.view.join(releases(request.order) ? view : state.released[thread]);
    fresh.view.seen[place] = fresh.number;
    if (total) {
        state.order.seen[place] = fresh.number;
    }
    write(request.place, updated(request.kind, current, request.operand, request.expected),
          static_cast<int>(thread));
    fresh.value = read(request.place);
    return updates ? current : 0;
}

/// Two words that change together are seen together: what the one carries, the other does.
void Machine::ra_pair(unsigned thread, const Request& request, bool exchanges) {
    ra_fence(thread);  // As the seam says of it.
    Request one = request;
    one.high = kNowhere;
    one.kind = exchanges ? Kind::exchange : Kind::load;
    ra_execute(thread, one, 0);
    one.place = request.high;
    one.operand = request.high_operand;
    ra_execute(thread, one, 0);
    if (exchanges && !world_.failed) {
        state.messages[state.count - 2].view.join(state.messages[state.count - 1].view);
    }
    ra_fence(thread);
}

void Machine::ra_fence(unsigned thread) {
    View& view = state.threads[thread];
    view.join(state.acquired[thread]);
    view.join(state.order);
    state.order.join(view);
    state.released[thread] = view;
}

void Machine::ra_membarrier() {
    // As if everybody had executed a fence.
    for (unsigned thread = 0; thread < thread_count_; ++thread) {
        state.threads[thread].join(state.acquired[thread]);
        state.order.join(state.threads[thread]);
    }
    for (unsigned thread = 0; thread < thread_count_; ++thread) {
        ra_fence(thread);
    }
}

void Machine::ra_touch(unsigned thread, std::int16_t guard, PlaceId place) {
    View& own = state.threads[thread];
    const auto mine = static_cast<std::uint8_t>(bit(thread));
    if (orders_known() && (state.touched[guard] & ~own.knows[guard] & kReleased) != 0) {
        fail("use-after-free", plans_[world_.threads[thread].active[0]].name + " touches " +
                                   place_name(place) + " with no order after its last release");
        return;
    }
    if ((state.touched[guard] & mine) != 0) {
        forget_touch(guard, mine, &own);
    }
    own.knows[guard] |= mine;
    state.touched[guard] |= mine;
}

void Machine::ra_settle(unsigned thread, std::int16_t guard, bool released, PlaceId place) {
    View& own = state.threads[thread];
    const std::uint32_t missing =
        state.touched[guard] & ~own.knows[guard] & ~bit(thread) & (kReleased - 1U);
    if (missing != 0 && orders_known()) {
        const std::string& who = plans_[world_.threads[thread].active[0]].name;
        const std::string& reader =
            plans_[world_.threads[std::countr_zero(missing)].active[0]].name;
        if (released) {
            fail("use-after-free", "an access by " + reader + " is not ordered before " + who +
                                       " frees " + place_name(place));
        } else {
            fail("race", "the read by " + reader + " is not ordered before " + who + " writes " +
                             place_name(place));
        }
        return;
    }
    forget_touch(guard, 0xff, nullptr);
    state.touched[guard] = released ? kReleased : 0;
    own.knows[guard] = released ? kReleased : 0;
}

void Machine::ra_ended(unsigned thread, unsigned by) {
    state.threads[by].join(state.threads[thread]);
}

void Machine::ra_tell(unsigned from, unsigned to) { state.told[to].join(state.threads[from]); }

void Machine::ra_told(unsigned thread) { state.threads[thread].join(state.told[thread]); }

void Machine::ra_rest() {
    for (unsigned from = 0; from < thread_count_; ++from) {
        for (unsigned to = 0; to < thread_count_; ++to) {
            ra_tell(from, to);
        }
    }
    for (unsigned thread = 0; thread < thread_count_; ++thread) {
        ra_told(thread);
    }
}

std::uint64_t Machine::ra_hash() const {
    // Messages by place and number, whatever the order in which places were written.
    std::uint64_t sum = 0;
    const auto hash_bytes = [](const void* from, std::size_t size, std::uint64_t seed) {
        const auto* at = static_cast<const std::byte*>(from);
        std::uint64_t hash = seed * 0x9e3779b97f4a7c15ULL + 1;
        for (; size >= 8; size -= 8, at += 8) {
            std::uint64_t word = 0;
            std::memcpy(&word, at, 8);
            hash = (hash ^ word) * 0xd6e8feb86659fd93ULL;
            hash ^= hash >> 29;
        }
        return hash;
    };
    for (std::uint32_t index = 0; index < state.count; ++index) {
        const Message& one = state.messages[index];
        bool visible = false;  // To a thread that has not moved past it.
        for (unsigned thread = 0; thread < thread_count_; ++thread) {
            visible = visible || state.threads[thread].seen[one.place] <= one.number;
        }
        if (visible) {
            sum +=
                hash_bytes(&one.view, sizeof(View),
                           one.value * 31 + static_cast<unsigned>(one.place) * 256U + one.number);
        }
    }
    for (unsigned thread = 0; thread < thread_count_; ++thread) {
        if (!world_.threads[thread].finished) {
            sum += hash_bytes(&state.threads[thread], sizeof(View), 1000 + thread);
            sum += hash_bytes(&state.released[thread], sizeof(View), 2000 + thread);
            sum += hash_bytes(&state.acquired[thread], sizeof(View), 3000 + thread);
            sum += hash_bytes(&state.told[thread], sizeof(View), 3500 + thread);
        }
    }
    return sum + hash_bytes(&state.order, sizeof(View), 4000) +
           hash_bytes(state.newest, sizeof(state.newest), 5000) +
           hash_bytes(state.touched, sizeof(state.touched), 6000);
}

std::size_t Machine::ra_bytes() const { return model_ == Model::ra ? used() + 8 : 0; }

std::byte* Machine::ra_save(std::byte* to) const {
    if (model_ != Model::ra) {
        return to;
    }
    const std::uint64_t size = used();
    std::memcpy(to, &size, 8);
    std::memcpy(to + 8, &state, size);
    return to + 8 + size;
}

const std::byte* Machine::ra_restore(const std::byte* from) {
    if (model_ != Model::ra) {
        return from;
    }
    std::uint64_t size = 0;
    std::memcpy(&size, from, 8);
    std::memcpy(static_cast<void*>(&state), from + 8, size);
    return from + 8 + size;
}

}  // namespace explore
