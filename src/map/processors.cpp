// SPDX-License-Identifier: Apache-2.0
#include "map/processors.hpp"

#include <unistd.h>

#include <cstdio>

#include "sync/arena.hpp"

namespace taskwork::map {

namespace {

/// The numbers of a list like "0-3,8": what user space takes for the number of slots.
std::uint32_t possible_processors() noexcept {
    std::FILE* list = std::fopen("/sys/devices/system/cpu/possible", "re");
    std::uint32_t count = 0;
    if (list != nullptr) {
        unsigned first = 0;
        while (std::fscanf(list, "%u", &first) == 1) {
            unsigned last = first;
            int behind = std::fgetc(list);
            if (behind == '-' && std::fscanf(list, "%u", &last) == 1) {
                behind = std::fgetc(list);
            }
            count += last >= first ? last - first + 1 : 0;
            if (behind != ',') {
                break;
            }
        }
        std::fclose(list);
    }
    if (count == 0) {
        const long configured = ::sysconf(_SC_NPROCESSORS_CONF);
        count = configured > 0 ? static_cast<std::uint32_t>(configured) : 1;
    }
    return count;
}

}  // namespace

std::errc Processors::create() noexcept {
    const std::uint32_t count = possible_processors();
    processors_ = static_cast<Processor*>(
        sync::Arena::allocate(count * sizeof(Processor), alignof(Processor)));
    count_ = processors_ == nullptr ? 0 : count;
    return processors_ == nullptr ? std::errc::not_enough_memory : no_error;
}

Processors::Claim Processors::claim(std::uint16_t owner, std::uint32_t current) noexcept {
    const std::uint32_t preferred = current % count_;
    for (std::uint32_t step = 0; step < count_; ++step) {
        const std::uint32_t number = (preferred + step) % count_;
        std::uint32_t nobody = 0;
        // Acquire: pairs with the release in release(); its last owner's updates are seen.
        if (processors_[number].owner.load(std::memory_order_relaxed) == 0 &&
            processors_[number].owner.compare_exchange(nobody, owner + 1U,
                                                       std::memory_order_acq_rel)) {
            return {number, true};
        }
    }
    shared_.fetch_add(1, std::memory_order_relaxed);
    return {preferred, false};
}

void Processors::release(const Claim& claim) noexcept {
    if (claim.exclusive) {
        processors_[claim.number].owner.store(0, std::memory_order_release);
    }
}

void Processors::sweep(std::uint16_t dead_owner) noexcept {
    for (std::uint32_t number = 0; number < count_; ++number) {
        std::uint32_t dead = dead_owner + 1U;
        processors_[number].owner.compare_exchange(dead, 0, std::memory_order_acq_rel);
    }
}

}  // namespace taskwork::map
