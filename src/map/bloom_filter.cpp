// SPDX-License-Identifier: Apache-2.0
//
// BPF_MAP_TYPE_BLOOM_FILTER: a set of values that is asked "perhaps, or certainly not?". Push sets
// one bit for each hash function, peek asks whether all are set; nothing is ever taken out. Bits
// are only ever set, so any number of interrupted and dead pushes leave a filter that is right
// about every push that returned.
#include <linux/bpf.h>

#include <bit>
#include <climits>
#include <new>

#include "map/map_ops.hpp"
#include "map/value.hpp"
#include "sync/arena.hpp"

namespace taskwork::map {

namespace {

constexpr std::uint32_t kValueBytesMax = std::uint32_t{4} << 20;
/// Hash functions: the low four bits of map_extra; as many as the kernel takes where they are 0.
constexpr std::uint64_t kHashesMask = 15;
constexpr std::uint32_t kHashesDefault = 5;
/// Bits are numbered by a 32-bit hash.
constexpr std::uint64_t kBitsMax = std::uint64_t{1} << 32;
constexpr std::uint64_t kWordBits = 64;

std::uint32_t hashes_of(std::uint64_t extra) noexcept {
    return (extra & kHashesMask) == 0 ? kHashesDefault
                                      : static_cast<std::uint32_t>(extra & kHashesMask);
}

/// Seven bits for five values and hashes of the fullest filter: of n entries and k functions the
/// best number is n k / ln 2, and 7/5 is near 1 / ln 2. Then the next power of two.
std::uint64_t bit_count(const Map& map) noexcept {
    const std::uint64_t best = std::uint64_t{map.max_entries} * hashes_of(map.extra) / 5 * 7;
    return best > kBitsMax / 2 ? kBitsMax : std::bit_ceil(best < kWordBits ? kWordBits : best);
}

using Bits = platform::Atomic<std::uint64_t>;

struct alignas(64) BloomFilter {
    std::uint64_t mask;
    std::uint64_t seed;
    std::uint32_t hashes;

    static BloomFilter& of(const Map& map) noexcept { return *static_cast<BloomFilter*>(map.impl); }
    Bits* words() noexcept { return reinterpret_cast<Bits*>(this + 1); }
    std::uint64_t bit(const Map& map, const void* value, std::uint32_t function) const noexcept {
        // Any odd distance does: the functions have to differ, no more.
        return hash_key(value, map.value_size, seed + function * 0xd1342543de82ef95ULL) & mask;
    }
};

std::errc bloom_check(const MapSpec& spec, std::string* why) {
    constexpr std::uint32_t kFlags = BPF_F_NUMA_NODE | BPF_F_ZERO_SEED | BPF_F_RDONLY |
                                     BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;
    if (spec.value_size > kValueBytesMax) {
        *why = "value_size is above " + std::to_string(kValueBytesMax);
        return std::errc::argument_list_too_long;
    }
    if (spec.key_size != 0 || spec.value_size == 0 || spec.max_entries == 0) {
        *why = "it needs max_entries and value_size, and key_size 0";
        return std::errc::invalid_argument;
    }
    if ((spec.flags & ~kFlags) != 0) {
        *why = "flags that a bloom filter does not have";
        return std::errc::invalid_argument;
    }
    if ((spec.flags & BPF_F_RDONLY_PROG) != 0 && (spec.flags & BPF_F_WRONLY_PROG) != 0) {
        *why = "BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG exclude each other";
        return std::errc::invalid_argument;
    }
    if ((spec.extra & ~kHashesMask) != 0) {
        *why = "map_extra holds the number of hash functions, at most 15";
        return std::errc::invalid_argument;
    }
    return no_error;
}

std::errc bloom_init(Map& map) {
    const std::uint64_t bits = bit_count(map);
    const std::size_t bytes = sizeof(BloomFilter) + bits / CHAR_BIT;
    std::errc why = std::errc::not_enough_memory;
    void* const memory = sync::Arena::allocate(bytes, 64, &why);
    if (memory == nullptr) {
        return why;
    }
    map.impl_bytes = bytes;
    const bool seeded = (map.flags & BPF_F_ZERO_SEED) == 0;
    map.impl = new (memory)
        BloomFilter{bits - 1, seeded ? sync::Arena::header().cookie ^ platform::now_ns() : 0,
                    hashes_of(map.extra)};
    return no_error;
}

void bloom_destroy(Map& map) noexcept { sync::Arena::release(map.impl, map.impl_bytes); }

std::errc bloom_push(Map& map, const void* value, std::uint64_t flags) noexcept {
    if (flags != BPF_ANY) {
        return std::errc::invalid_argument;
    }
    BloomFilter& filter = BloomFilter::of(map);
    for (std::uint32_t function = 0; function < filter.hashes; ++function) {
        const std::uint64_t bit = filter.bit(map, value, function);
        filter.words()[bit / kWordBits].fetch_or(std::uint64_t{1} << bit % kWordBits,
                                                 std::memory_order_acq_rel);
    }
    return no_error;
}

std::errc bloom_peek(Map& map, void* value) noexcept {
    BloomFilter& filter = BloomFilter::of(map);
    for (std::uint32_t function = 0; function < filter.hashes; ++function) {
        const std::uint64_t bit = filter.bit(map, value, function);
        if ((filter.words()[bit / kWordBits].load(std::memory_order_acquire) >> bit % kWordBits &
             1) == 0) {
            return std::errc::no_such_file_or_directory;
        }
    }
    return no_error;
}

std::errc bloom_update(Map&, const void*, const void*, std::uint64_t) noexcept {
    return std::errc::invalid_argument;
}
std::errc bloom_remove(Map&, const void*) noexcept { return std::errc::operation_not_supported; }
std::errc bloom_next_key(Map&, const void*, void*) noexcept {
    return std::errc::operation_not_supported;
}

Usage bloom_usage(const Map& map) noexcept {
    Usage usage;
    usage.bytes = map.impl_bytes;
    return usage;
}

constexpr MapOps make_ops() noexcept {
    MapOps ops{};
    ops.name = "bloom_filter";
    ops.check = bloom_check;
    ops.init = bloom_init;
    ops.destroy = bloom_destroy;
    ops.push = bloom_push;
    ops.peek = bloom_peek;
    ops.update = bloom_update;
    ops.remove = bloom_remove;
    ops.next_key = bloom_next_key;
    ops.usage = bloom_usage;
    return ops;
}

}  // namespace

const MapOps bloom_filter_ops = make_ops();

}  // namespace taskwork::map
