// SPDX-License-Identifier: Apache-2.0
//
// Room in a table of the LRU kinds (HT.4, HT.5 in hash_table.hpp). An eviction is a deletion, with
// all that belongs to one; only that its ticket goes to the insertion that wants it in one step, so
// that nobody else is likely to take it. The hand and the marks are guesses: relaxed, and it does
// no harm if one is lost. Death: an element that is marked as deleted is finished by the sweep, a
// ticket that is claimed comes back, as after any other deletion and insertion.
#include <sched.h>

#include "map/hash_table.hpp"

namespace taskwork::map {

std::uint32_t HashTable::own_list() const noexcept {
    return list_count_ < 2 ? 0 : static_cast<std::uint32_t>(::sched_getcpu()) % list_count_;
}

/// False: somebody else has deleted or replaced it.
bool HashTable::take_out(Element* element) noexcept {
    std::uint64_t next = element->next.load(std::memory_order_acquire);
    while ((next & kDeleted) == 0) {
        if (element->next.compare_exchange(next, next | kDeleted, std::memory_order_acq_rel)) {
            return true;
        }
    }
    return false;
}

Ticket* HashTable::evict(sync::Claimant by) noexcept {
    if (void* const free = tickets_.claim(by, kTicketClaimed)) {
        return static_cast<Ticket*>(free);
    }
    const std::uint32_t list = own_list();
    platform::Atomic<std::uint32_t>& hand = hands_[list].position;
    std::uint32_t at = hand.load(std::memory_order_relaxed);
    std::uint32_t spared = 0;
    // Round once for marks, again for what was not marked since, and a last time for any: there may
    // be none of the own list.
    for (std::uint64_t steps = 3 * std::uint64_t{elements_.count()}; steps != 0; --steps) {
        const bool takes_any = spared == kSparedMax || steps <= elements_.count();
        auto* const element = static_cast<Element*>(elements_.at(at));
        at = at + 1 == elements_.count() ? 0 : at + 1;
        if (sync::Pool::load(element).state() != kElementLive) {
            continue;
        }
        // It was live in this section: until the section ends nobody else gets its memory.
        const std::uint64_t hash = element->hash.load(std::memory_order_relaxed);
        const bool is_own = hash >> kListShift == list;
        if (!takes_any && (!is_own || (hash & kReferenced) != 0)) {
            ++spared;
            if (is_own) {
                element->hash.store(hash & ~kReferenced, std::memory_order_relaxed);
            }
            continue;
        }
        if (!take_out(element)) {
            continue;
        }
        hand.store(at, std::memory_order_relaxed);
        const std::uint64_t reference = element->ticket.load(std::memory_order_relaxed);
        void* ticket = tickets_.at(static_cast<std::uint32_t>(reference));
        sync::Word word = sync::Pool::load(ticket);
        if (word.round() != reference >> 32 || word.state() != kTicketHeld ||
            !sync::Pool::transition(
                ticket, word, sync::Word::make(word.round() + 1, by.owner, 0, kTicketClaimed))) {
            ticket = tickets_.claim(by, kTicketClaimed);  // A passer-by has released it.
        }
        finish(element, static_cast<std::uint32_t>(hash));
        if (ticket != nullptr) {
            return static_cast<Ticket*>(ticket);
        }
    }
    if (Ticket* const free = claim_unhinted(by)) {
        return free;
    }
    refused_no_memory_.fetch_add(1, std::memory_order_relaxed);
    return nullptr;
}

}  // namespace taskwork::map
