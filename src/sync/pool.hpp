// SPDX-License-Identifier: Apache-2.0
//
// Pool: the any-context allocator. A fixed number of equal objects in the arena, claimed and
// released from any context by any member, surviving the death of a member at any instruction.
//
// Every object begins with a 64-bit *word*. The pool knows three things of it:
//
//      63            32 31         16 15      8 7       0
//     +----------------+-------------+---------+---------+
//     |     round      |    owner    |  flags  |  state  |
//     +----------------+-------------+---------+---------+
//
//   state  0 = free, 1 = retired; 2..255 belong to the user of the pool.
//   owner  index of the process that acts on the object now (claimed it, moves it).
//   round  raised by each claim: a late actor compares it and can only touch its own round.
//
// There is no free list: a list that a dying process leaves half-changed needs a repair that cannot
// know what was meant. An object is free because its own word says so, in one step with its new
// owner's name. To find one quickly there are *hints*: three levels of bitmaps, bit set = "probably
// free" (and a second set: "probably retired"). A hint may be wrong after a death; the word
// decides, and the worker's sweep restores the hints.
//
//   claim     hint bit cleared, then CAS word free{r} (or retired{r}, ripe: below) ->
//             state{r+1, owner}
//   release   word -> free{r}, then hint bit set
//   retire    word -> retired{r} (owner and flags stay), then retired-hint bit set, worker rung;
//             after the grace period the worker releases it, or, where objects are reused in place,
//             sets its free hint
//
// Reuse in place: a line that the worker has touched comes from its processor when the object is
// claimed next, which costs as much as all else in a claim. So the worker does not touch these
// objects, it moves hints. Before the word says retired, the retirer stamps the object with the
// epoch (sync/grace.hpp), behind whatever unlinked it; once the grace period of that epoch is over
// the object is *ripe*: free, too, though its word says retired{r}.
//
// Bounds: a claim looks at most at kProbesMax candidates, then reports none.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/context.hpp"
#include "base/errc.hpp"
#include "sync/platform.hpp"

namespace taskwork::sync {

/// The word of a pooled object, as a value.
struct Word {
    std::uint64_t bits = 0;

    [[nodiscard]] constexpr std::uint8_t state() const { return static_cast<std::uint8_t>(bits); }
    [[nodiscard]] constexpr std::uint8_t flags() const {
        return static_cast<std::uint8_t>(bits >> 8);
    }
    [[nodiscard]] constexpr std::uint16_t owner() const {
        return static_cast<std::uint16_t>(bits >> 16);
    }
    [[nodiscard]] constexpr std::uint32_t round() const {
        return static_cast<std::uint32_t>(bits >> 32);
    }
    [[nodiscard]] static constexpr Word make(std::uint32_t round, std::uint16_t owner,
                                             std::uint8_t flags, std::uint8_t state) {
        return Word{static_cast<std::uint64_t>(round) << 32 |
                    static_cast<std::uint64_t>(owner) << 16 |
                    static_cast<std::uint64_t>(flags) << 8 | state};
    }
    [[nodiscard]] constexpr Word with_state(std::uint8_t state) const {
        return make(round(), owner(), flags(), state);
    }
    [[nodiscard]] constexpr Word with_flags(std::uint8_t flags) const {
        return make(round(), owner(), flags, state());
    }
    [[nodiscard]] constexpr Word with_owner(std::uint16_t owner) const {
        return make(round(), owner, flags(), state());
    }
    friend constexpr bool operator==(Word, Word) = default;
};

inline constexpr std::uint8_t kStateFree = 0;
inline constexpr std::uint8_t kStateRetired = 1;
inline constexpr std::uint8_t kStateUser = 2;  ///< First state that belongs to the user.

/// How an object becomes free that was retired.
enum class Reuse : std::uint8_t {
    released,  ///< The worker stores its word.
    in_place,  ///< The worker does not touch it: Pool::kInPlaceBytes an object more.
};

using AtomicWord = platform::Atomic<std::uint64_t>;

/// Bitmaps in three levels: a set bit in level n+1 says that the word below may have a set bit.
/// Legal in any context; each operation is a bounded number of atomic steps.
class HintMap {
public:
    /// Bytes that the bitmaps for `count` objects take.
    static std::size_t bytes(std::uint32_t count) noexcept;
    /// `memory` is zeroed, 8-aligned, lives in the arena.
    void init(void* memory, std::uint32_t count) noexcept;
    /// Sets the bit. Ordering: who takes it sees what the caller did before, whoever had set it.
    /// Context: any.
    void set(std::uint32_t index) noexcept;
    /// As set(), but writes nothing if the bit is set: for one that many set often. Ordering: who
    /// takes it sees what the caller did up to his last sequentially consistent exchange.
    /// Context: any.
    void set_if_clear(std::uint32_t index) noexcept;
    /// Clears the bit; true if it was set (exactly one of several clearers sees true).
    /// Context: any.
    bool clear(std::uint32_t index) noexcept;
    /// A set bit, which it clears; `none` if none was found. The word that `from` lies in is looked
    /// at first, then the following ones, around to the beginning.
    /// Context: any.
    std::uint32_t take(std::uint32_t from) noexcept;
    [[nodiscard]] bool test(std::uint32_t index) const noexcept;
    /// Makes the summaries right again after a death. Worker only.
    /// Context: irq.
    TW_NOT_NMI void settle() noexcept;
    static constexpr std::uint32_t none = UINT32_MAX;

private:
    void set_clear_levels(unsigned first, std::uint32_t index) noexcept;
    /// `seen`: what the leaf held just now.
    std::uint32_t take_leaf(std::uint32_t leaf, std::uint64_t seen) noexcept;
    void tidy(std::uint32_t leaf) noexcept;

    platform::Atomic<std::uint64_t>* level_[3] = {};
    std::uint32_t count_ = 0;
    platform::Atomic<std::uint32_t> flux_;  ///< Summaries being cleared; then leaves are looked at.
};

/// Who claims an object.
struct Claimant {
    constexpr Claimant(std::uint16_t process = 0, std::uint16_t thread = 0) noexcept
        : owner(process), lane(thread) {}

    std::uint16_t owner;  ///< Index of the process.
    std::uint16_t lane;   ///< A small number of the thread; any will do.
};

class Pool {
public:
    /// Bytes of arena that init() needs for `count` objects of `stride` bytes (stride a multiple
    /// of 8).
    static std::size_t bytes(std::uint32_t count, std::size_t stride,
                             Reuse reuse = Reuse::released) noexcept;
    /// Lays the pool out in `memory` (zeroed, committed, 64-aligned). `doorbell` is the deferral
    /// item that retire() rings, see sync/deferral.hpp. All objects start free, round 0.
    /// Context: task. Host only.
    TW_TASK_ONLY void init(void* memory, std::uint32_t count, std::size_t stride,
                           std::uint32_t doorbell, Reuse reuse = Reuse::released) noexcept;

    /// Claims a free object: its word becomes {round + 1, owner, flags 0, state}. nullptr: none.
    /// The content is what its last user left. Threads of different lanes (modulo kLanes) take
    /// objects far apart: they share no cache lines while there are enough.
    /// Context: any.
    [[nodiscard]] void* claim(Claimant by, std::uint8_t state) noexcept;
    /// Makes an object free. The caller has exclusive use of it and nobody can still hold its bare
    /// address (else retire()).
    /// Context: any.
    void release(void* object) noexcept;
    /// Makes an object free after a grace period: readers of either flavour that may hold its bare
    /// address are waited for by the worker. The caller has exclusive use of it.
    /// Context: any.
    void retire(void* object) noexcept;

    /// The next object that is retired and has to wait, taken off the hints. Worker only.
    /// Context: irq.
    TW_NOT_NMI void* take_retired() noexcept;
    /// Makes what take_retired() gave free; its grace period has ended. Worker only.
    /// Context: irq.
    TW_NOT_NMI void release_retired(void* object) noexcept;
    /// Sets the hints again for every free object. After a death. Worker only.
    /// Context: irq.
    TW_NOT_NMI void restore_hints() noexcept;

    [[nodiscard]] std::uint32_t count() const noexcept { return count_; }
    [[nodiscard]] std::size_t stride() const noexcept { return stride_; }
    [[nodiscard]] void* at(std::uint32_t index) const noexcept {
        return objects_ + index * stride_;
    }
    /// Index of the object that `address` points into. Precondition: contains(address).
    /// Context: any.
    [[nodiscard]] std::uint32_t index_of(const void* address) const noexcept {
        return static_cast<std::uint32_t>((reinterpret_cast<std::uintptr_t>(address) -
                                           reinterpret_cast<std::uintptr_t>(objects_)) /
                                          stride_);
    }
    [[nodiscard]] bool contains(std::uintptr_t address) const noexcept {
        return address - reinterpret_cast<std::uintptr_t>(objects_) <
               static_cast<std::uintptr_t>(count_) * stride_;
    }
    /// Sets the retired hint of an object whose retirer died before it could, if it is one. Worker
    /// only. Context: irq.
    TW_NOT_NMI void hint_retired(std::uint32_t index) noexcept;
    /// Sets the free hint of an object that the caller made free by a transition of its own (a
    /// release that others may repeat).
    /// Context: any.
    void hint_free(std::uint32_t index) noexcept { free_.set(index); }
    /// Objects that are free now, counted; for reports and tests.
    /// Context: task, irq.
    TW_NOT_NMI [[nodiscard]] std::uint32_t count_free() const noexcept;

    static AtomicWord& word_of(void* object) noexcept { return *static_cast<AtomicWord*>(object); }
    static Word load(const void* object) noexcept {
        return Word{static_cast<const AtomicWord*>(object)->load(std::memory_order_acquire)};
    }
    /// One transition. On failure `expected` holds the word found.
    /// Context: any. Ordering: acquire and release.
    static bool transition(void* object, Word& expected, Word desired) noexcept {
        return word_of(object).compare_exchange(expected.bits, desired.bits,
                                                std::memory_order_acq_rel);
    }

    static constexpr std::uint32_t kProbesMax = 1024;
    static constexpr std::uint32_t kLanes = 8;
    static constexpr std::size_t kInPlaceBytes = 8;
    /// What an object takes, beside its hints, that its user needs `stride` bytes of.
    [[nodiscard]] static constexpr std::size_t each_bytes(std::size_t stride,
                                                          Reuse reuse) noexcept {
        return stride + (reuse == Reuse::in_place ? kInPlaceBytes : 0);
    }

    /// Whether an object is free while its word is `word`: who exchanges that then, has it.
    /// Context: any.
    [[nodiscard]] bool is_free(const void* object, Word word) const noexcept;
    /// Whether an object is retired and not free yet.
    /// Context: any.
    [[nodiscard]] bool waits(const void* object) const noexcept;
    [[nodiscard]] Reuse reuse() const noexcept { return reuse_; }

private:
    using Stamp = platform::Atomic<std::uint64_t>;
    static_assert(sizeof(Stamp) == kInPlaceBytes);
    [[nodiscard]] bool is_ripe(const void* object) const noexcept;
    [[nodiscard]] Stamp& stamp_of(const void* object) const noexcept {
        return *reinterpret_cast<Stamp*>(reinterpret_cast<std::uintptr_t>(object) + stride_ -
                                         sizeof(Stamp));
    }

    std::byte* objects_ = nullptr;
    std::size_t stride_ = 0;
    std::uint32_t count_ = 0;
    std::uint32_t doorbell_ = 0;
    HintMap free_;
    HintMap retired_;
    Reuse reuse_ = Reuse::released;
    /// Where the next claim of a lane starts to look.
    struct alignas(64) Cursor {
        platform::Atomic<std::uint32_t> at;
    };
    Cursor cursors_[kLanes];
};

}  // namespace taskwork::sync
