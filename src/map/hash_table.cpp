// SPDX-License-Identifier: Apache-2.0
#include "map/hash_table.hpp"

#include <linux/bpf.h>

#include "map/spin_lock.hpp"
#include "sync/deferral.hpp"

namespace taskwork::map {

namespace {

constexpr std::uint64_t ticket_reference(std::uint32_t index, std::uint32_t round) noexcept {
    return std::uint64_t{round} << 32 | index;
}

}  // namespace

bool HashTable::matches(Element* element, std::uint32_t hash, const void* key) const noexcept {
    return static_cast<std::uint32_t>(element->hash.load(std::memory_order_relaxed)) == hash &&
           keys_equal(key_of(element), key, map_->key_size);
}

// Reading.

Element* HashTable::find(const void* key) const noexcept {
    return find(hash_key(key, map_->key_size, seed_), key);
}

Element* HashTable::find(std::uint32_t hash, const void* key) const noexcept {
    // Acquire, here and in every walk: pairs with the release of the exchange that linked the
    // element, so its content is seen.
    std::uint64_t link = head_of(hash).load(std::memory_order_acquire);
    while (Element* element = element_at(link)) {
        link = element->next.load(std::memory_order_acquire);
        if ((link & kDeleted) == 0 && matches(element, hash, key)) {
            return element;
        }
    }
    return nullptr;
}

std::uint64_t HashTable::link_behind(const Element* element) const noexcept {
    std::uint64_t link = element->next.load(std::memory_order_acquire);
    // No more of them than there are spares: none that we can meet here is used again meanwhile.
    while ((link & kReplaced) != 0) {
        link = element_at(link)->next.load(std::memory_order_acquire);
    }
    return link;
}

Element* HashTable::next_live(const Element* after, std::uint32_t bucket) const noexcept {
    std::uint64_t link =
        after == nullptr ? heads_[bucket].load(std::memory_order_acquire) : link_behind(after);
    for (;;) {
        while (Element* element = element_at(link)) {
            link = element->next.load(std::memory_order_acquire);
            if ((link & kDeleted) == 0) {
                return element;
            }
        }
        if (bucket == bucket_mask_) {
            return nullptr;
        }
        link = heads_[++bucket].load(std::memory_order_acquire);
    }
}

std::errc HashTable::next_key(const void* key, void* next) const noexcept {
    Element* found = nullptr;
    std::uint32_t bucket = 0;
    if (key != nullptr) {
        const std::uint32_t hash = hash_key(key, map_->key_size, seed_);
        found = find(hash, key);
        bucket = found == nullptr ? 0 : hash & bucket_mask_;
    }
    found = next_live(found, bucket);
    if (found == nullptr) {
        return std::errc::no_such_file_or_directory;
    }
    copy_bytes(next, key_of(found), map_->key_size);
    return no_error;
}

long HashTable::for_each(ElementFunction function, void* argument) noexcept {
    long calls = 0;
    for (std::uint64_t bucket = 0;
         bucket < bucket_count() && for_each_in(bucket, function, argument, calls); ++bucket) {
    }
    return calls;
}

bool HashTable::for_each_in(std::uint64_t bucket, ElementFunction function, void* argument,
                            long& calls) noexcept {
    std::uint64_t link = heads_[bucket].load(std::memory_order_acquire);
    while (Element* element = element_at(link)) {
        link = element->next.load(std::memory_order_acquire);
        if ((link & kDeleted) == 0) {
            ++calls;
            if (function(key_of(element), value_of(element), argument) != 0) {
                return false;
            }
            link = link_behind(element);
        }
    }
    return true;
}

Element* HashTable::element_of(std::uintptr_t address) const noexcept {
    return elements_.contains(address)
               ? static_cast<Element*>(
                     elements_.at(elements_.index_of(reinterpret_cast<const void*>(address))))
               : nullptr;
}

// Writing.

HashTable::Position HashTable::seek(std::uint32_t hash, const void* key) noexcept {
    for (;;) {
        Position at{&head_of(hash), 0, nullptr, 0};
        std::uint64_t link = at.link->load(std::memory_order_acquire);
        at.first = link;
        bool lost = false;
        while (Element* element = element_at(link)) {
            const std::uint64_t next = element->next.load(std::memory_order_acquire);
            if ((next & kDeleted) == 0) {
                if (key != nullptr && matches(element, hash, key)) {
                    at.current = element;
                    at.next = next;
                    return at;
                }
                at.link = &element->next;
                link = next;
                continue;
            }
            // Unlink it. Who does need not know who deleted it; but the ticket comes first, for
            // once it is unlinked nobody who passes could release it (HT.2).
            release_ticket(element);
            std::uint64_t expected = address_of(element);
            const std::uint64_t successor = next & ~kLinkFlags;
            // Release: pairs with the acquire of walks; they reach the successor by this link.
            if (!at.link->compare_exchange(expected, successor, std::memory_order_acq_rel)) {
                lost = true;
                break;
            }
            if (at.link == &head_of(hash)) {
                at.first = successor;
            }
            link = successor;
        }
        if (!lost) {
            return at;
        }
    }
}

bool HashTable::is_linked(const Element* element) const noexcept {
    const auto hash = static_cast<std::uint32_t>(element->hash.load(std::memory_order_relaxed));
    std::uint64_t link = head_of(hash).load(std::memory_order_acquire);
    while (const Element* other = element_at(link)) {
        if (other == element) {
            return true;
        }
        link = other->next.load(std::memory_order_acquire);
    }
    return false;
}

bool HashTable::build(std::uint32_t hash, const HashWrite& write, Claims& claims) noexcept {
    auto* element = static_cast<Element*>(elements_.claim(claims.by, kElementBuilding));
    if (element == nullptr) {
        refused_no_memory_.fetch_add(1, std::memory_order_relaxed);
        return false;
    }
    element->next.store(0, std::memory_order_relaxed);
    element->hash.store(std::uint64_t{own_list()} << kListShift | hash, std::memory_order_relaxed);
    copy_bytes(key_of(element), write.key, map_->key_size);
    write.fill(*map_, value_of(element), write);
    if (writers_at_ != 0) {
        writers_of(element).store(0, std::memory_order_relaxed);  // one may have died
    }
    claims.element = element;
    return true;
}

bool HashTable::link_first(const Position& at, std::uint32_t hash, Claims& claims) noexcept {
    Element* const element = claims.element;
    element->ticket.store(
        ticket_reference(tickets_.index_of(claims.ticket), sync::Pool::load(claims.ticket).round()),
        std::memory_order_relaxed);
    element->next.store(at.first, std::memory_order_relaxed);
    std::uint64_t expected = at.first;
    // Release: pairs with the acquire of walks; the element is complete.
    if (!head_of(hash).compare_exchange(expected, address_of(element), std::memory_order_acq_rel)) {
        return false;
    }
    claims.element = nullptr;
    claims.ticket = nullptr;
    settle(element);
    return true;
}

bool HashTable::replace(const Position& at, std::uint32_t hash, Claims& claims) noexcept {
    Element* const element = claims.element;
    settle(at.current);
    element->ticket.store(at.current->ticket.load(std::memory_order_relaxed),
                          std::memory_order_relaxed);
    element->next.store(at.next, std::memory_order_relaxed);
    if (list_count_ != 0) {
        reference(*element);
    }
    std::uint64_t expected = at.next;
    // Release: as in link_first.
    if (!at.current->next.compare_exchange(expected, address_of(element) | kDeleted | kReplaced,
                                           std::memory_order_acq_rel)) {
        return false;
    }
    claims.element = nullptr;
    settle(element);
    finish(at.current, hash, at.link);
    return true;
}

std::errc HashTable::overwrite(Element* element, const void* value) noexcept {
    if (const std::errc error = lock_value(*map_, value_of(element)); error != no_error) {
        return error;
    }
    // Somebody may have taken it out meanwhile, with its value as it was.
    const bool there = (element->next.load(std::memory_order_acquire) & kDeleted) == 0;
    if (there) {
        copy_value_in(*map_, value_of(element), value);
    }
    unlock_value(*map_, value_of(element));
    return there ? no_error : std::errc::resource_unavailable_try_again;
}

std::errc HashTable::update(const HashWrite& write) noexcept {
    Claims claims;
    if (!current_claimant(&claims.by)) {
        return std::errc::no_such_process;
    }
    const std::errc error = update(hash_key(write.key, map_->key_size, seed_), write, claims);
    if (claims.element != nullptr) {
        elements_.release(claims.element);  // never linked: nobody knows its address
    }
    if (claims.ticket != nullptr) {
        tickets_.release(claims.ticket);
    }
    return error;
}

std::errc HashTable::update(std::uint32_t hash, const HashWrite& write, Claims& claims) noexcept {
    for (;;) {
        const Position at = seek(hash, write.key);
        const bool present = at.current != nullptr;
        if (present && (write.flags & BPF_NOEXIST) != 0) {
            return std::errc::file_exists;
        }
        if (!present && (write.flags & BPF_EXIST) != 0) {
            return std::errc::no_such_file_or_directory;
        }
        if (present && (write.flags & BPF_F_LOCK) != 0) {
            const std::errc error = overwrite(at.current, write.value);
            if (error == std::errc::resource_unavailable_try_again) {
                continue;
            }
            return error;
        }
        if (present && write.overwrite != nullptr) {
            if (!begin_writing(at.current)) {
                continue;
            }
            write.overwrite(*map_, value_of(at.current), write);
            end_writing(at.current);
            if (list_count_ != 0) {
                reference(*at.current);
            }
            return no_error;
        }
        // No element is evicted for one that there is no memory for.
        if (list_count_ != 0 && claims.element == nullptr && !build(hash, write, claims)) {
            return std::errc::not_enough_memory;
        }
        if (!present && claims.ticket == nullptr) {
            claims.ticket = list_count_ != 0 ? evict(claims.by) : claim_ticket(claims.by);
            if (claims.ticket == nullptr) {
                // Full; but perhaps because somebody has inserted this very key meanwhile.
                if (seek(hash, write.key).current == nullptr) {
                    return list_count_ != 0 ? std::errc::not_enough_memory
                                            : std::errc::argument_list_too_long;
                }
                continue;
            }
        }
        if (claims.element == nullptr && !build(hash, write, claims)) {
            return std::errc::not_enough_memory;
        }
        if (present ? replace(at, hash, claims) : link_first(at, hash, claims)) {
            if (!present && write.inserted != nullptr) {
                *write.inserted = true;
            }
            return no_error;
        }
    }
}

std::errc HashTable::remove(const void* key, void* out,
                            void (*copy)(const Map& map, const void* place, void* out) noexcept,
                            bool locked) noexcept {
    const std::uint32_t hash = hash_key(key, map_->key_size, seed_);
    for (;;) {
        Position at = seek(hash, key);
        if (at.current == nullptr) {
            return std::errc::no_such_file_or_directory;
        }
        // Before it is taken out: who has it may take his time, or we give up.
        if (locked) {
            if (const std::errc error = lock_value(*map_, value_of(at.current));
                error != no_error) {
                return error;
            }
        }
        settle(at.current);
        releases_begun_.fetch_add(1, std::memory_order_acq_rel);
        // Until it is taken out or replaced; its successor may change meanwhile.
        while ((at.next & kDeleted) == 0 &&
               !at.current->next.compare_exchange(at.next, at.next | kDeleted,
                                                  std::memory_order_acq_rel)) {
        }
        const bool ours = (at.next & kDeleted) == 0;
        if (ours) {
            if (out != nullptr) {
                await_writers(at.current);
                copy(*map_, value_of(at.current), out);
            }
            release_ticket(at.current);
        }
        releases_ended_.fetch_add(1, std::memory_order_acq_rel);
        if (locked) {
            unlock_value(*map_, value_of(at.current));
        }
        if (ours) {
            finish(at.current, hash, at.link);
            return no_error;
        }
    }
}

// What follows a linearization point. Each step may be repeated by anybody who is in a section that
// began while the element was linked.

void HashTable::settle(Element* element) noexcept {
    sync::Word own = sync::Pool::load(element);
    if (own.state() != kElementBuilding) {
        return;  // and its ticket is held, which came first
    }
    const std::uint64_t reference = element->ticket.load(std::memory_order_relaxed);
    void* const ticket = tickets_.at(static_cast<std::uint32_t>(reference));
    sync::Word word = sync::Pool::load(ticket);
    if (word.state() == kTicketClaimed && word.round() == reference >> 32) {
        sync::Pool::transition(ticket, word, word.with_state(kTicketHeld));
    }
    sync::Pool::transition(element, own, own.with_state(kElementLive));
}

void HashTable::release_ticket(Element* element) noexcept {
    if ((element->next.load(std::memory_order_acquire) & kReplaced) != 0) {
        return;  // its successor's now
    }
    const std::uint64_t reference = element->ticket.load(std::memory_order_relaxed);
    const auto index = static_cast<std::uint32_t>(reference);
    sync::Word word = sync::Pool::load(tickets_.at(index));
    const sync::Word released =
        sync::Word::make(static_cast<std::uint32_t>(reference >> 32), 0, 0, sync::kStateFree);
    if (word.state() == kTicketHeld && word.round() == released.round() &&
        sync::Pool::transition(tickets_.at(index), word, released)) {
        word = released;
    }
    // Whoever has released it may not have come to its hint; and once a deletion has ended nobody
    // who finds the map full looks beyond the hints.
    if (word == released) {
        tickets_.hint_free(index);
    }
}

// Writing in place: a removal that copies the value takes all that was written before it, and
// whoever comes later begins anew.

HashTable::Writers& HashTable::writers_of(Element* element) const noexcept {
    return *reinterpret_cast<Writers*>(value_of(element) + writers_at_);
}

bool HashTable::begin_writing(Element* element) noexcept {
    // Acquire and release, as in await_writers: of the two counts there one is the later, and sees
    // what was done before the other.
    writers_of(element).fetch_add(1, std::memory_order_acq_rel);
    if ((element->next.load(std::memory_order_acquire) & kDeleted) == 0) {
        return true;
    }
    end_writing(element);
    return false;
}

void HashTable::end_writing(Element* element) noexcept {
    // Release: pairs with the acquire of await_writers, which then copies what was written.
    writers_of(element).fetch_sub(1, std::memory_order_release);
}

void HashTable::await_writers(Element* element) noexcept {
    if (writers_at_ == 0 || writers_of(element).fetch_add(0, std::memory_order_acq_rel) == 0) {
        return;
    }
    // Some filters kill for any system call.
    const bool may_yield = !sync::DeferralQueue::is_quiet();
    const std::uint64_t end_ns = platform::now_ns() + kSpinLockNs;
    while (writers_of(element).load(std::memory_order_acquire) != 0 &&
           platform::now_ns() < end_ns) {
        if (may_yield) {
            platform::yield();
        }
    }
}

void HashTable::finish(Element* element, std::uint32_t hash, Link* link) noexcept {
    if (defer::Slot* slot = task_work_slot(*map_, value_of(element))) {
        defer::cancel_dead(*slot);
    }
    release_ticket(element);
    // Mostly the link that led to it still does, and its holder is not deleted: then it is unlinked
    // in one step. Else a walk to the end leaves no deleted element in the chain. One that was
    // found unlinked can never be linked again: the link that led to it has changed.
    std::uint64_t expected = address_of(element);
    const std::uint64_t successor = element->next.load(std::memory_order_acquire) & ~kLinkFlags;
    // Release: as in seek.
    if (link == nullptr ||
        !link->compare_exchange(expected, successor, std::memory_order_acq_rel)) {
        seek(hash, nullptr);
    }
    elements_.retire(element);
}

Ticket* HashTable::claim_ticket(sync::Claimant by) noexcept {
    // Before the claim: a release that begins later may be after us.
    const std::uint64_t ended = releases_ended_.load(std::memory_order_acquire);
    if (void* ticket = tickets_.claim(by, kTicketClaimed)) {
        return static_cast<Ticket*>(ticket);
    }
    if (releases_begun_.load(std::memory_order_acquire) == ended) {
        return nullptr;
    }
    // A deletion is between its linearization and the release of its ticket, perhaps in the code
    // that we interrupted. Release for it, then look at every ticket: its hint may be late as well.
    for (std::uint32_t i = 0; i < elements_.count(); ++i) {
        auto* element = static_cast<Element*>(elements_.at(i));
        if (sync::Pool::load(element).state() == kElementLive &&
            (element->next.load(std::memory_order_acquire) & kDeleted) != 0) {
            release_ticket(element);
        }
    }
    return claim_unhinted(by);
}

Ticket* HashTable::claim_unhinted(sync::Claimant by) noexcept {
    for (std::uint32_t i = 0; i < tickets_.count(); ++i) {
        sync::Word word = sync::Pool::load(tickets_.at(i));
        if (word.state() == sync::kStateFree &&
            sync::Pool::transition(
                tickets_.at(i), word,
                sync::Word::make(word.round() + 1, by.owner, 0, kTicketClaimed))) {
            return static_cast<Ticket*>(tickets_.at(i));
        }
    }
    return nullptr;
}

}  // namespace taskwork::map
