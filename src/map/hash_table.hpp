// SPDX-License-Identifier: Apache-2.0
//
// What is found by a key: bucket heads, chains of elements from a pool, tickets for the exact
// logical count. BPF_MAP_TYPE_HASH and its relatives are made of it. All operations are lock-free,
// legal in nmi and survive the death of their process at any instruction. After Harris' and
// Michael's lock-free lists.
//
//   link word (bucket head, Element::next):  address of the next element | flags
//     kDeleted    the element that holds the link is not in the map any more; the link is frozen
//     kReplaced   with kDeleted: its successor in the chain holds the same key and took over the
//                 ticket
//
// Insertion:    claim ticket and element, fill, head: first -> element          (linearization)
// Replacement:  claim element, fill, old.next: succ -> element|deleted|replaced (linearization)
// Deletion:     next: succ -> succ|deleted                                      (linearization)
// and then, by anybody, any number of times (`finish`): the slot is cancelled and marked dead, the
// ticket released, the element unlinked, its memory retired. A reader skips deleted elements and
// writes nothing. An element is never linked twice within a grace period, so a link word that still
// holds what was read proves that nothing happened.
//
// Words. element: free -> building -> live -> retired -> building (reused in place), or -> free
// (with a slot for task work). ticket: free -> claimed -> held -> free. Everybody who changes an
// element that he found in a chain first makes its ticket `held` and then itself `live` (`settle`).
// So to the sweep: a `building` element of a dead process is linked if, and only if, a walk finds
// it; and once those are settled, a `claimed` ticket of a dead process belongs to nothing.
//
//   HT.1  A lookup that runs beside replacements of its key finds one of the values.
//   HT.2  Never more than max_entries elements are in the map. An insertion is refused (-E2BIG)
//   only
//         if that many are in it or being inserted: one that a deletion has taken out does not
//         count, even if the deletion is cut off by the very handler that inserts.
//   HT.3  An element's memory keeps its key and its identity until the sections end that found it.
//
// A table with *lists* (the LRU kinds) is never full: an insertion that finds no ticket takes one
// from an element that it deletes (hash_eviction.cpp). Which one is decided by second chance: a
// hand goes round over the elements, passes those that were referenced since it last came by, whose
// mark it takes away, and stops at the first other one. With BPF_F_NO_COMMON_LRU there is a list,
// and a hand, for each processor: an element is of the list of the processor that inserted it, and
// an insertion prefers those of its own.
//
//   HT.4  A referenced element is evicted only if the kSparedMax that the hand has met before it
//         were referenced, too, or of other lists. An insertion under way holds its room already,
//         a deletion still: an insertion that interrupts one may evict early.
//   HT.5  An insertion is refused (-ENOMEM) only if no element is free (as in any table), or if all
//         that the map has room for are being inserted, by others and by the code that it
//         interrupts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "map/map_ops.hpp"
#include "map/value.hpp"
#include "sync/pool.hpp"

namespace taskwork::map {

inline constexpr std::uint8_t kElementBuilding = sync::kStateUser;
inline constexpr std::uint8_t kElementLive = sync::kStateUser + 1;
inline constexpr std::uint8_t kTicketClaimed = sync::kStateUser;
inline constexpr std::uint8_t kTicketHeld = sync::kStateUser + 1;

inline constexpr std::uint64_t kDeleted = 1;
inline constexpr std::uint64_t kReplaced = 2;
inline constexpr std::uint64_t kLinkFlags = 7;

/// What stands above the hash in Element::hash, of LRU tables.
inline constexpr std::uint64_t kReferenced = std::uint64_t{1} << 32;
inline constexpr unsigned kListShift = 33;
/// How many elements the hand passes before it takes any.
inline constexpr std::uint32_t kSparedMax = 1024;

/// The kernel's limit: the array of its buckets, of 16 bytes, has a size of 32 bits.
inline constexpr std::uint64_t kBucketsMax = std::uint64_t{1} << 27;

/// Elements beyond max_entries: those that wait for a grace period, and replacements being built.
/// Half as many as entries, at most 8,192; but 832 in small maps (one that is updated at 8 kHz
/// lives through a grace period of 100 ms), where that is no more than 64 KiB, and 64 in any. No
/// more than fit 4 MiB, but 8. `element_bytes`: all that one more takes. Context: any.
constexpr std::uint32_t spares_of(std::uint32_t max_entries, std::size_t element_bytes) noexcept {
    const std::size_t fit_small = (std::size_t{64} << 10) / element_bytes;
    const std::size_t fit = (std::size_t{4} << 20) / element_bytes;
    const std::size_t least = std::clamp<std::size_t>(fit_small, 64, 832);
    const std::size_t wanted = std::clamp<std::size_t>(max_entries / 2, least, 8192);
    return static_cast<std::uint32_t>(std::min(wanted, std::max<std::size_t>(fit, 8)));
}

/// Header of an element; key and value follow, each rounded up to 8 bytes.
struct Element {
    sync::AtomicWord word;
    platform::Atomic<std::uint64_t> next;
    platform::Atomic<std::uint64_t> ticket;  ///< {round : 32, index : 32}.
    platform::Atomic<std::uint64_t> hash;    ///< And kReferenced, and the list.
};
static_assert(sizeof(Element) == 32);

/// Where an eviction looks first; a guess, like every hint.
struct alignas(64) Hand {
    platform::Atomic<std::uint32_t> position;
};

struct Ticket {
    sync::AtomicWord word;
};

/// An update: what is put there, and how. The functions get the place of the value in the element.
struct HashWrite {
    const void* key;
    const void* value;
    std::uint64_t flags;
    /// Of the caller's, for the functions: what else there is to know.
    const void* argument = nullptr;
    /// Makes the value of a new element, all of it: the memory holds what its last user left.
    void (*fill)(const Map& map, void* place, const HashWrite& write) noexcept;
    /// Writes into the element that is there, of a table with `writers_at`; nullptr: a new one
    /// replaces it.
    void (*overwrite)(const Map& map, void* place, const HashWrite& write) noexcept = nullptr;
    bool* inserted = nullptr;  ///< Set to true if the key was not there.
};

class HashTable {
public:
    /// Who writes into the value of a live element right now.
    using Writers = platform::Atomic<std::uint64_t>;

    /// Makes map.impl a table for elements whose values take `value_bytes`; `lists`: of the LRU
    /// kinds, how many; `writers_at`: where in a value there is room for Writers, if it is written
    /// in place (0: never). Errors: not_enough_memory; argument_list_too_long (above kBucketsMax).
    /// Context: task. Host only.
    static std::errc create(Map& map, std::size_t value_bytes, std::uint32_t lists = 0,
                            std::size_t writers_at = 0);
    /// Lays the table out in zeroed memory and has the worker adopt the elements.
    /// Context: task. Host only.
    HashTable(Map& map, void* memory, std::size_t value_bytes, std::uint32_t lists = 0,
              std::size_t writers_at = 0) noexcept;
    /// Arena bytes that it takes.
    /// Context: any.
    static std::size_t bytes(const Map& map, std::size_t value_bytes,
                             std::uint32_t lists = 0) noexcept;
    /// The table that create() has made.
    /// Context: any.
    static HashTable& of(const Map& map) noexcept { return *static_cast<HashTable*>(map.impl); }
    /// Context: task, irq. Host only.
    void disown() noexcept;

    /// Context: any.
    Element* find(const void* key) const noexcept;
    /// Marks an element that was found as referenced. Of tables with lists.
    /// Context: any.
    static void reference(Element& element) noexcept {
        const std::uint64_t hash = element.hash.load(std::memory_order_relaxed);
        if ((hash & kReferenced) == 0) {
            element.hash.store(hash | kReferenced, std::memory_order_relaxed);
        }
    }
    /// Flags are looked at as far as they concern elements: BPF_NOEXIST, BPF_EXIST, BPF_F_LOCK.
    std::errc update(const HashWrite& write) noexcept;
    /// `out`: where `copy` puts the value on the way (nullptr: nowhere; else context task).
    /// Waits for writers in place as long as for a spin lock: one that was killed never ends.
    /// `locked`: under its bpf_spin_lock; if lock_value() fails, so does this, and nothing has
    /// happened.
    std::errc remove(const void* key, void* out,
                     void (*copy)(const Map& map, const void* place,
                                  void* out) noexcept = copy_value_out,
                     bool locked = false) noexcept;
    std::errc next_key(const void* key, void* next) const noexcept;
    long for_each(ElementFunction function, void* argument) noexcept;
    /// A key keeps its bucket as long as the table lives.
    /// Context: any.
    [[nodiscard]] std::uint64_t bucket_count() const noexcept {
        return std::uint64_t{bucket_mask_} + 1;
    }
    /// for_each() of one bucket (< bucket_count()); adds to `calls`. False: the function ended it.
    /// Context: any.
    bool for_each_in(std::uint64_t bucket, ElementFunction function, void* argument,
                     long& calls) noexcept;

    /// The element that holds `address`, nullptr if none.
    /// Context: any.
    Element* element_of(std::uintptr_t address) const noexcept;
    std::byte* key_of(Element* element) const noexcept {
        return reinterpret_cast<std::byte*>(element) + sizeof(Element);
    }
    std::byte* value_of(Element* element) const noexcept {
        return key_of(element) + round_up_8(map_->key_size);
    }

    /// Context: task, irq. Host only.
    void cancel_all() noexcept;
    /// Context: irq.
    void sweep(std::uint16_t dead_owner) noexcept;
    Usage usage() const noexcept;

private:
    using Link = platform::Atomic<std::uint64_t>;

    /// Where a writer stands: the link that leads to `current`, in an element that was not deleted.
    struct Position {
        Link* link;
        std::uint64_t first;  ///< Bucket head of this walk.
        Element* current;     ///< nullptr: the key is not in the map.
        std::uint64_t next;   ///< current's link, not deleted.
    };

    static Element* element_at(std::uint64_t link) noexcept {
        return reinterpret_cast<Element*>(link & ~kLinkFlags);
    }
    static std::uint64_t address_of(const Element* element) noexcept {
        return reinterpret_cast<std::uint64_t>(element);
    }
    Link& head_of(std::uint32_t hash) const noexcept { return heads_[hash & bucket_mask_]; }
    bool matches(Element* element, std::uint32_t hash, const void* key) const noexcept;

    Element* find(std::uint32_t hash, const void* key) const noexcept;
    /// What follows an element that a walk has visited: not its replacement, the same key again.
    std::uint64_t link_behind(const Element* element) const noexcept;
    Element* next_live(const Element* after, std::uint32_t bucket) const noexcept;
    Position seek(std::uint32_t hash, const void* key) noexcept;
    bool is_linked(const Element* element) const noexcept;

    /// What an update holds and has to give back if it does not end in the map.
    struct Claims {
        sync::Claimant by;
        Element* element = nullptr;
        Ticket* ticket = nullptr;
    };
    std::errc update(std::uint32_t hash, const HashWrite& write, Claims& claims) noexcept;
    bool build(std::uint32_t hash, const HashWrite& write, Claims& claims) noexcept;
    bool link_first(const Position& at, std::uint32_t hash, Claims& claims) noexcept;
    bool replace(const Position& at, std::uint32_t hash, Claims& claims) noexcept;
    /// Errors: lock_value()'s; resource_unavailable_try_again (it is not in the map any more).
    std::errc overwrite(Element* element, const void* value) noexcept;

    Writers& writers_of(Element* element) const noexcept;
    /// False: it is deleted.
    bool begin_writing(Element* element) noexcept;
    void end_writing(Element* element) noexcept;
    void await_writers(Element* element) noexcept;

    void settle(Element* element) noexcept;
    /// `link`: where it was found, if known.
    void finish(Element* element, std::uint32_t hash, Link* link = nullptr) noexcept;
    void release_ticket(Element* element) noexcept;
    Ticket* claim_ticket(sync::Claimant by) noexcept;
    /// Looks at every ticket: whoever has released one may not have come to its hint yet.
    Ticket* claim_unhinted(sync::Claimant by) noexcept;
    Ticket* evict(sync::Claimant by) noexcept;
    bool take_out(Element* element) noexcept;
    [[nodiscard]] std::uint32_t own_list() const noexcept;

    /// Of elements with a slot for task work.
    static void recycle(sync::Pool& pool, void* element) noexcept;

    sync::Pool elements_;  ///< First: recycle() finds the table by it.
    sync::Pool tickets_;
    Map* map_;
    Hand* hands_;  ///< Of each list.
    std::uint32_t list_count_;
    std::uint32_t writers_at_;
    Link* heads_;
    std::uint32_t bucket_mask_;
    std::uint64_t seed_;
    platform::Atomic<std::uint64_t> refused_no_memory_;
    /// Deletions whose ticket is, and is not yet, released. Equal: no insertion need look for one.
    /// A death in between leaves them apart: then insertions into the full map always look. On a
    /// line of their own: each deletion writes them, and all operations read what is above.
    alignas(64) platform::Atomic<std::uint64_t> releases_begun_;
    platform::Atomic<std::uint64_t> releases_ended_;
};

// What maps that are a table and nothing else have in common, and the beginning of their
// operations. Contexts: those of MapOps.

void table_destroy(Map& map) noexcept;
std::errc table_remove(Map& map, const void* key) noexcept;
std::errc table_next_key(Map& map, const void* key, void* next) noexcept;
long table_for_each(Map& map, ElementFunction function, void* argument) noexcept;
void table_sweep(Map& map, std::uint16_t dead_owner) noexcept;
Usage table_usage(const Map& map) noexcept;

/// Context: any.
constexpr MapOps make_table_ops(const char* name) noexcept {
    MapOps ops{};
    ops.name = name;
    ops.destroy = table_destroy;
    ops.remove = table_remove;
    ops.next_key = table_next_key;
    ops.for_each = table_for_each;
    ops.sweep = table_sweep;
    ops.usage = table_usage;
    ops.batch = kBatchLookup | kBatchUpdate | kBatchDelete | kBatchLookupAndDelete;
    return ops;
}

}  // namespace taskwork::map
