// SPDX-License-Identifier: Apache-2.0
#include "sync/pool.hpp"

#include <bit>
#include <cstring>
#include <iterator>

#include "base/assert.hpp"
#include "sync/deferral.hpp"
#include "sync/grace.hpp"

namespace taskwork::sync {

namespace {

constexpr std::uint32_t kBits = 64;
constexpr std::size_t kLine = 64;

constexpr std::uint32_t words(std::uint32_t bits) { return (bits + kBits - 1) / kBits; }

constexpr std::uint64_t bit(std::uint32_t index) { return std::uint64_t{1} << (index % kBits); }

constexpr std::size_t round_up(std::size_t value, std::size_t unit) {
    return (value + unit - 1) / unit * unit;
}

}  // namespace

std::size_t HintMap::bytes(std::uint32_t count) noexcept {
    const std::uint32_t leaves = words(count);
    return sizeof(std::uint64_t) * (leaves + words(leaves) + words(words(leaves)));
}

void HintMap::init(void* memory, std::uint32_t count) noexcept {
    auto* at = static_cast<platform::Atomic<std::uint64_t>*>(memory);
    count_ = count;
    std::uint32_t bits = count;
    for (auto& level : level_) {
        level = at;
        at += words(bits);
        bits = words(bits);
    }
}

void HintMap::set(std::uint32_t index) noexcept {
    level_[0][index / kBits].fetch_or(bit(index), std::memory_order_seq_cst);
    set_clear_levels(1, index / kBits);
}

void HintMap::set_if_clear(std::uint32_t index) noexcept { set_clear_levels(0, index); }

void HintMap::set_clear_levels(unsigned first, std::uint32_t index) noexcept {
    // seq_cst throughout: a setter writes the leaf and then reads the summary, a taker clears the
    // summary and then reads the leaf; one of them must see the other. No level is taken on trust:
    // whoever set a lower one may have been interrupted before the next.
    for (unsigned level = first; level < std::size(level_); ++level) {
        auto& word = level_[level][index / kBits];
        if ((word.load(std::memory_order_seq_cst) & bit(index)) == 0) {
            word.fetch_or(bit(index), std::memory_order_seq_cst);
        }
        index /= kBits;
    }
}

bool HintMap::clear(std::uint32_t index) noexcept {
    return (level_[0][index / kBits].fetch_and(~bit(index), std::memory_order_seq_cst) &
            bit(index)) != 0;
}

bool HintMap::test(std::uint32_t index) const noexcept {
    return (level_[0][index / kBits].load(std::memory_order_seq_cst) & bit(index)) != 0;
}

void HintMap::tidy(std::uint32_t leaf) noexcept {
    // The leaf word was seen empty. While the summary bit is cleared and not yet checked again a
    // set bit may be unreachable through the summaries; flux_ tells those who find nothing to look
    // at the leaves themselves.
    flux_.fetch_add(1, std::memory_order_seq_cst);
    level_[1][leaf / kBits].fetch_and(~bit(leaf), std::memory_order_seq_cst);
    if (level_[0][leaf].load(std::memory_order_seq_cst) != 0) {
        level_[1][leaf / kBits].fetch_or(bit(leaf), std::memory_order_seq_cst);
    }
    const std::uint32_t middle = leaf / kBits;
    if (level_[1][middle].load(std::memory_order_seq_cst) == 0) {
        level_[2][middle / kBits].fetch_and(~bit(middle), std::memory_order_seq_cst);
    }
    if (level_[1][middle].load(std::memory_order_seq_cst) != 0) {
        level_[2][middle / kBits].fetch_or(bit(middle), std::memory_order_seq_cst);
    }
    flux_.fetch_sub(1, std::memory_order_seq_cst);
}

std::uint32_t HintMap::take_leaf(std::uint32_t leaf, std::uint64_t seen) noexcept {
    auto& word = level_[0][leaf];
    while (seen != 0) {
        const auto at = static_cast<std::uint32_t>(std::countr_zero(seen));
        const std::uint64_t before = word.fetch_and(~bit(at), std::memory_order_seq_cst);
        if ((before & bit(at)) != 0) {
            if ((before & ~bit(at)) == 0) {
                tidy(leaf);
            }
            return leaf * kBits + at;
        }
        seen = before;  // Somebody was faster; each retry is another's success.
    }
    if (seen == 0) {
        tidy(leaf);
    }
    return none;
}

std::uint32_t HintMap::take(std::uint32_t from) noexcept {
    const std::uint32_t leaves = words(count_);
    const std::uint32_t middles = words(leaves);
    if (count_ == 0) {
        return none;
    }
    const std::uint32_t first = (from < count_ ? from : 0) / kBits;
    // The word that `from` lies in first, then the others by their summaries. (If it is empty, so
    // is its summary mostly; else it is tidied below.)
    if (const std::uint64_t seen = level_[0][first].load(std::memory_order_seq_cst); seen != 0) {
        if (const std::uint32_t found = take_leaf(first, seen); found != none) {
            return found;
        }
    }
    // Leaves behind the first one, around to those before it in the middle word that has both.
    const std::uint64_t behind = ~std::uint64_t{0} << (first % kBits);
    for (std::uint32_t step = 0; step <= middles; ++step) {
        const std::uint32_t middle = (first / kBits + step) % middles;
        if ((level_[2][middle / kBits].load(std::memory_order_seq_cst) & bit(middle)) == 0) {
            continue;
        }
        std::uint64_t candidates = level_[1][middle].load(std::memory_order_seq_cst) &
                                   (step == 0         ? behind
                                    : step == middles ? ~behind
                                                      : ~std::uint64_t{0});
        while (candidates != 0) {
            const auto at = static_cast<std::uint32_t>(std::countr_zero(candidates));
            candidates &= candidates - 1;
            const std::uint32_t leaf = middle * kBits + at;
            const std::uint32_t found =
                take_leaf(leaf, level_[0][leaf].load(std::memory_order_seq_cst));
            if (found != none) {
                return found;
            }
        }
    }
    if (flux_.load(std::memory_order_seq_cst) == 0) {
        return none;
    }
    for (std::uint32_t leaf = 0; leaf < leaves; ++leaf) {
        const std::uint64_t seen = level_[0][leaf].load(std::memory_order_seq_cst);
        if (seen != 0) {
            const std::uint32_t found = take_leaf(leaf, seen);
            if (found != none) {
                return found;
            }
        }
    }
    return none;
}

void HintMap::settle() noexcept {
    // What a dead member has added to flux_ stays: it only makes failing looks thorough. To clear
    // it under a live one would let it wrap.
    for (std::uint32_t leaf = 0; leaf < words(count_); ++leaf) {
        if (level_[0][leaf].load(std::memory_order_seq_cst) != 0) {
            level_[1][leaf / kBits].fetch_or(bit(leaf), std::memory_order_seq_cst);
            level_[2][leaf / kBits / kBits].fetch_or(bit(leaf / kBits), std::memory_order_seq_cst);
        }
    }
}

std::size_t Pool::bytes(std::uint32_t count, std::size_t stride, Reuse reuse) noexcept {
    return 2 * round_up(HintMap::bytes(count), kLine) + count * each_bytes(stride, reuse);
}

void Pool::init(void* memory, std::uint32_t count, std::size_t stride, std::uint32_t doorbell,
                Reuse reuse) noexcept {
    TW_ASSERT(stride % 8 == 0 && count != 0, "a pool has objects of whole words");
    auto* at = static_cast<std::byte*>(memory);
    const std::size_t hints = round_up(HintMap::bytes(count), kLine);
    free_.init(at, count);
    retired_.init(at + hints, count);
    objects_ = at + 2 * hints;
    reuse_ = reuse;
    stride_ = each_bytes(stride, reuse);
    count_ = count;
    doorbell_ = doorbell;
    for (std::uint32_t lane = 0; lane < kLanes; ++lane) {
        const std::uint64_t part = std::uint64_t{count} * lane / kLanes;
        cursors_[lane].at.store(static_cast<std::uint32_t>(part), std::memory_order_relaxed);
    }
    for (std::uint32_t index = 0; index < count; ++index) {
        free_.set(index);
    }
}

void* Pool::claim(Claimant by, std::uint8_t state) noexcept {
    auto& cursor = cursors_[by.lane % kLanes].at;
    for (std::uint32_t probe = 0; probe < kProbesMax; ++probe) {
        const std::uint32_t index = free_.take(cursor.load(std::memory_order_relaxed));
        if (index == HintMap::none) {
            return nullptr;
        }
        void* object = at(index);
        Word word = load(object);
        // The hint says "probably"; the word decides. A failed exchange means that a sweep has
        // repaired the hint of an object which its claimer then took all the same.
        if (is_free(object, word) &&
            transition(object, word, Word::make(word.round() + 1, by.owner, 0, state))) {
            cursor.store(index, std::memory_order_relaxed);
            return object;
        }
        if (reuse_ == Reuse::in_place && word.state() == kStateRetired) {
            // Not ripe: one who came late has stamped it anew. It waits once more.
            retired_.set(index);
            DeferralQueue::get().queue_lazily(doorbell_);
        }
    }
    return nullptr;
}

void Pool::release(void* object) noexcept {
    const Word word = load(object);
    TW_ASSERT(word.state() != kStateFree, "an object is released once");
    // Release: pairs with the acquire of the next claim.
    word_of(object).store(Word::make(word.round(), 0, 0, kStateFree).bits,
                          std::memory_order_release);
    free_.set(index_of(object));
}

void Pool::retire(void* object) noexcept {
    Word word = load(object);
    while (word.state() != kStateRetired && word.state() != kStateFree) {
        if (reuse_ == Reuse::in_place) {
            // Before the word says so. Who comes late, for a retirement that others have done, is
            // in a section in which the object was found, so it is nobody's yet; and what he
            // stores was read behind the unlinking too.
            stamp_of(object).store(GracePeriods::get().epoch_after(), std::memory_order_relaxed);
        }
        if (transition(object, word, word.with_state(kStateRetired))) {
            retired_.set(index_of(object));
            DeferralQueue::get().queue_lazily(doorbell_);
            return;
        }
    }
}

bool Pool::is_free(const void* object, Word word) const noexcept {
    return word.state() == kStateFree || (word.state() == kStateRetired && is_ripe(object));
}

bool Pool::waits(const void* object) const noexcept {
    return load(object).state() == kStateRetired && !is_ripe(object);
}

bool Pool::is_ripe(const void* object) const noexcept {
    // The stamp was stored before the word, which was loaded with acquire order.
    return reuse_ == Reuse::in_place &&
           GracePeriods::get().is_over(stamp_of(object).load(std::memory_order_relaxed));
}

void* Pool::take_retired() noexcept {
    for (;;) {
        const std::uint32_t index = retired_.take(0);
        if (index == HintMap::none) {
            return nullptr;
        }
        // What is reused in place is not looked at: its line would come to this processor. The
        // hint may say too much; whoever claims by the one that is set for it looks.
        if (reuse_ == Reuse::in_place || load(at(index)).state() == kStateRetired) {
            return at(index);
        }
    }
}

void Pool::release_retired(void* object) noexcept {
    if (reuse_ == Reuse::in_place) {
        free_.set(index_of(object));
    } else {
        release(object);
    }
}

void Pool::restore_hints() noexcept {
    free_.settle();
    for (std::uint32_t index = 0; index < count_; ++index) {
        if (is_free(at(index), load(at(index))) && !free_.test(index)) {
            free_.set(index);
        }
    }
}

void Pool::hint_retired(std::uint32_t index) noexcept {
    // The leaf alone says nothing: the retirer may have died before the summaries or the bell.
    if (waits(at(index))) {
        retired_.set(index);
        DeferralQueue::get().queue(doorbell_);
    }
}

std::uint32_t Pool::count_free() const noexcept {
    std::uint32_t found = 0;
    for (std::uint32_t index = 0; index < count_; ++index) {
        if (is_free(at(index), load(at(index)))) {
            ++found;
        }
    }
    return found;
}

}  // namespace taskwork::sync
