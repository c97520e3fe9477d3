// SPDX-License-Identifier: Apache-2.0
#include "map/lpm_trie.hpp"

#include <linux/bpf.h>

#include <bit>
#include <new>

#include "map/hash_table.hpp"
#include "sync/arena.hpp"

namespace taskwork::map {

namespace {

constexpr std::uint32_t kDataBytesMax = 256;
constexpr std::uint32_t kKeySizeMin = sizeof(bpf_lpm_trie_key) + 1;
constexpr std::uint32_t kKeySizeMax = sizeof(bpf_lpm_trie_key) + kDataBytesMax;
/// What the kernel's allocator has left for a value beside the longest key.
constexpr std::uint32_t kValueSizeMax = (std::uint32_t{4} << 20) - kKeySizeMax - 40;
constexpr std::uint32_t kBits = 64;
constexpr std::uint32_t kLengthWords = kDataBytesMax * 8 / kBits + 1;

/// A key of any size, on the stack.
struct Prefix {
    std::uint32_t length;
    std::uint8_t data[kDataBytesMax];
};
static_assert(sizeof(Prefix) == kKeySizeMax);

/// In Element::hash: it has been linked, and is not counted in Trie::linked_ yet.
constexpr std::uint64_t kUncounted = std::uint64_t{1} << 63;
/// How often a lookup walks at most.
constexpr unsigned kWalksMax = 16;

class alignas(64) Trie {  // The table behind it wants that.
public:
    static Trie& of(const Map& map) noexcept { return *static_cast<Trie*>(map.impl); }
    /// The value, and behind it the key as it was given.
    static std::size_t value_bytes(const Map& map) noexcept {
        return round_up_8(map.value_size) + map.key_size;
    }
    static std::size_t bytes(const Map& map) noexcept {
        return sizeof(Trie) + HashTable::bytes(map, value_bytes(map));
    }
    Trie(Map& map, void* memory) noexcept
        : map_(&map),
          table_(map, static_cast<std::byte*>(memory) + sizeof(Trie), value_bytes(map)) {}

    HashTable& table() noexcept { return table_; }

    [[nodiscard]] std::uint32_t length_max() const noexcept {
        return (map_->key_size - static_cast<std::uint32_t>(sizeof(bpf_lpm_trie_key))) * 8;
    }
    /// False: longer than the map has bits.
    bool read(Prefix& prefix, const void* key) const noexcept {
        copy_bytes(&prefix, key, map_->key_size);
        if (prefix.length > length_max()) {
            return false;
        }
        cut(prefix, prefix.length);
        return true;
    }
    /// Makes it the prefix of `length` bits, no more than it has.
    void cut(Prefix& prefix, std::uint32_t length) const noexcept {
        prefix.length = length;
        std::uint32_t byte = length / 8;
        if (length % 8 != 0) {
            prefix.data[byte++] &= static_cast<std::uint8_t>(0xff00U >> (length % 8));
        }
        for (; byte < length_max() / 8; ++byte) {
            prefix.data[byte] = 0;
        }
    }
    static void* key_behind(const Map& map, void* value) noexcept {
        return static_cast<std::byte*>(value) + round_up_8(map.value_size);
    }

    /// Where the key was kept as it was given.
    static Element& element_at(const Map& map, void* value) noexcept {
        return *reinterpret_cast<Element*>(static_cast<std::byte*>(value) -
                                           round_up_8(map.key_size) - sizeof(Element));
    }
    /// Before anybody tells that the element is in the map.
    void count(Element& element) noexcept {
        const std::uint64_t hash = element.hash.load(std::memory_order_acquire);
        if ((hash & kUncounted) != 0) {
            linked_.fetch_add(1, std::memory_order_acq_rel);
            element.hash.store(hash & ~kUncounted, std::memory_order_release);
        }
    }

    void* lookup(const void* key) noexcept;
    std::errc update(const void* key, const void* value, std::uint64_t flags) noexcept;
    std::errc remove(const void* key) noexcept;
    std::errc next_key(const void* key, void* next) noexcept;
    void sweep(std::uint16_t dead_owner) noexcept;

    platform::Atomic<std::uint64_t> insertions;

private:
    /// The next shorter length than `length` that prefixes have had; UINT32_MAX: none.
    std::uint32_t shorter_than(std::uint32_t length) const noexcept;
    /// The element of the longest prefix that there is of this one, which is cut; nullptr: none.
    Element* longest(Prefix& prefix) const noexcept;

    Map* map_;
    platform::Atomic<std::uint64_t> linked_;  ///< Elements that were put into the map, LT.1.
    platform::Atomic<std::uint64_t> lengths_[kLengthWords];
    HashTable table_;
};

std::uint32_t Trie::shorter_than(std::uint32_t length) const noexcept {
    while (length != 0) {
        const std::uint32_t word = (length - 1) / kBits;
        const std::uint32_t below = (length - 1) % kBits;
        // Acquire: pairs with the release of the update that set it; its element is found then.
        const std::uint64_t bits = lengths_[word].load(std::memory_order_acquire) &
                                   (~std::uint64_t{0} >> (kBits - 1 - below));
        if (bits != 0) {
            return word * kBits + kBits - 1 - static_cast<std::uint32_t>(std::countl_zero(bits));
        }
        length = word * kBits;
    }
    return UINT32_MAX;
}

Element* Trie::longest(Prefix& prefix) const noexcept {
    for (std::uint32_t length = shorter_than(prefix.length + 1); length != UINT32_MAX;
         length = shorter_than(length)) {
        cut(prefix, length);
        if (Element* const found = table_.find(&prefix)) {
            return found;
        }
    }
    return nullptr;
}

void* Trie::lookup(const void* key) noexcept {
    Prefix prefix;
    for (unsigned walk = 1; read(prefix, key); ++walk) {
        const std::uint64_t before = linked_.load(std::memory_order_acquire);
        Element* const found = longest(prefix);
        if (found != nullptr) {
            count(*found);
        }
        // The same: what was linked meanwhile, if anything, nobody knows of yet.
        if (linked_.load(std::memory_order_acquire) == before || walk == kWalksMax) {
            return found == nullptr ? nullptr : table_.value_of(found);
        }
    }
    return nullptr;
}

std::errc Trie::update(const void* key, const void* value, std::uint64_t flags) noexcept {
    Prefix prefix;
    if (flags > BPF_EXIST || !read(prefix, key)) {
        return std::errc::invalid_argument;
    }
    // Before the element: who finds one has looked for its length.
    auto& word = lengths_[prefix.length / kBits];
    const std::uint64_t bit = std::uint64_t{1} << prefix.length % kBits;
    if ((word.load(std::memory_order_relaxed) & bit) == 0) {
        word.fetch_or(bit, std::memory_order_acq_rel);
    }
    struct Argument {
        const void* key;
        Element** element;
    };
    const auto fill = [](const Map& map, void* place, const HashWrite& write) noexcept {
        const auto& argument = *static_cast<const Argument*>(write.argument);
        copy_bytes(place, write.value, map.value_size);
        copy_bytes(key_behind(map, place), argument.key, map.key_size);
        Element& element = element_at(map, place);
        element.hash.store(element.hash.load(std::memory_order_relaxed) | kUncounted,
                           std::memory_order_relaxed);
        *argument.element = &element;
    };
    Element* element = nullptr;
    const Argument argument{key, &element};
    bool inserted = false;
    const std::errc error = table_.update({.key = &prefix,
                                           .value = value,
                                           .flags = flags,
                                           .argument = &argument,
                                           .fill = fill,
                                           .inserted = &inserted});
    if (error == no_error) {
        count(*element);
    } else if (error == std::errc::file_exists) {
        linked_.fetch_add(1, std::memory_order_acq_rel);  // Who says so has seen one.
    }
    if (inserted) {
        insertions.fetch_add(1, std::memory_order_acq_rel);
    }
    return error == std::errc::argument_list_too_long ? std::errc::no_space_on_device : error;
}

std::errc Trie::remove(const void* key) noexcept {
    Prefix prefix;
    return read(prefix, key) ? table_.remove(&prefix, nullptr) : std::errc::invalid_argument;
}

void Trie::sweep(std::uint16_t dead_owner) noexcept {
    table_.sweep(dead_owner);
    // It may have died between an insertion and the count.
    insertions.fetch_add(1, std::memory_order_acq_rel);
}

/// The first prefix behind one, as a walk over all finds it.
struct Successor {
    const Map* map;
    const void* behind;  ///< nullptr: the first of all.
    const void* best;
};

std::errc Trie::next_key(const void* key, void* next) noexcept {
    Successor search{map_, key == nullptr ? nullptr : trie_find(*map_, key), nullptr};
    trie_for_each(
        *map_,
        [](const void* candidate, void* argument) {
            auto& all = *static_cast<Successor*>(argument);
            if ((all.behind == nullptr || trie_is_before(*all.map, all.behind, candidate)) &&
                (all.best == nullptr || trie_is_before(*all.map, candidate, all.best))) {
                all.best = candidate;
            }
        },
        &search);
    if (search.best == nullptr) {
        return std::errc::no_such_file_or_directory;
    }
    copy_bytes(next, search.best, map_->key_size);
    return no_error;
}

std::errc trie_check(const MapSpec& spec, std::string* why) {
    constexpr std::uint32_t kFlags = BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE | BPF_F_RDONLY |
                                     BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;
    if (spec.max_entries == 0 || (spec.flags & BPF_F_NO_PREALLOC) == 0) {
        *why = "it needs max_entries and BPF_F_NO_PREALLOC";
        return std::errc::invalid_argument;
    }
    if ((spec.flags & ~kFlags) != 0) {
        *why = "flags that an LPM trie does not have";
        return std::errc::invalid_argument;
    }
    if ((spec.flags & BPF_F_RDONLY_PROG) != 0 && (spec.flags & BPF_F_WRONLY_PROG) != 0) {
        *why = "BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG exclude each other";
        return std::errc::invalid_argument;
    }
    if (spec.key_size < kKeySizeMin || spec.key_size > kKeySizeMax) {
        *why = "key_size is not in 5 to 260";
        return std::errc::invalid_argument;
    }
    if (spec.value_size == 0 || spec.value_size > kValueSizeMax) {
        *why = "value_size is not in 1 to " + std::to_string(kValueSizeMax);
        return std::errc::invalid_argument;
    }
    return no_error;
}

std::errc trie_init(Map& map) {
    const std::size_t bytes = Trie::bytes(map);
    std::errc why = std::errc::not_enough_memory;
    void* const memory = sync::Arena::allocate(bytes, 64, &why);
    if (memory == nullptr) {
        return why;
    }
    map.impl_bytes = bytes;
    map.impl = new (memory) Trie(map, memory);
    return no_error;
}

void trie_destroy(Map& map) noexcept {
    Trie::of(map).table().disown();
    sync::Arena::release(map.impl, map.impl_bytes);
}

void* trie_lookup(Map& map, const void* key) noexcept { return Trie::of(map).lookup(key); }
std::errc trie_update(Map& map, const void* key, const void* value, std::uint64_t flags) noexcept {
    return Trie::of(map).update(key, value, flags);
}
std::errc trie_remove(Map& map, const void* key) noexcept { return Trie::of(map).remove(key); }
std::errc trie_next_key(Map& map, const void* key, void* next) noexcept {
    return Trie::of(map).next_key(key, next);
}

std::uintptr_t trie_value_start(const Map& map, std::uintptr_t address) noexcept {
    HashTable& table = Trie::of(map).table();
    Element* const element = table.element_of(address);
    if (element == nullptr) {
        return 0;
    }
    const auto start = reinterpret_cast<std::uintptr_t>(table.value_of(element));
    return address >= start && address - start < map.value_size ? start : 0;
}

void trie_sweep(Map& map, std::uint16_t dead_owner) noexcept { Trie::of(map).sweep(dead_owner); }
Usage trie_usage(const Map& map) noexcept { return Trie::of(map).table().usage(); }

constexpr MapOps make_ops() noexcept {
    MapOps ops{};
    ops.name = "lpm_trie";
    ops.check = trie_check;
    ops.init = trie_init;
    ops.destroy = trie_destroy;
    ops.lookup = trie_lookup;
    ops.update = trie_update;
    ops.remove = trie_remove;
    ops.next_key = trie_next_key;
    ops.value_start = trie_value_start;
    ops.sweep = trie_sweep;
    ops.usage = trie_usage;
    ops.batch = kBatchLookup | kBatchUpdate | kBatchDelete;
    return ops;
}

}  // namespace

const MapOps lpm_trie_ops = make_ops();

std::uint64_t trie_insertions(const Map& map) noexcept {
    return Trie::of(map).insertions.load(std::memory_order_acquire);
}

bool trie_is_before(const Map& map, const void* left, const void* right) noexcept {
    const Trie& trie = Trie::of(map);
    Prefix a;
    Prefix b;
    trie.read(a, left);
    trie.read(b, right);
    const std::uint32_t common = a.length < b.length ? a.length : b.length;
    for (std::uint32_t byte = 0; byte * 8 < common; ++byte) {
        const auto differ = static_cast<std::uint8_t>(a.data[byte] ^ b.data[byte]);
        const auto at =
            byte * 8 + static_cast<std::uint32_t>(std::countl_zero(differ));  // 8: nowhere
        if (differ != 0 && at < common) {
            return a.data[byte] < b.data[byte];
        }
        if (differ != 0) {
            break;
        }
    }
    return a.length > b.length;
}

const void* trie_find(Map& map, const void* key) noexcept {
    Trie& trie = Trie::of(map);
    Prefix prefix;
    if (!trie.read(prefix, key)) {
        return nullptr;
    }
    Element* const found = trie.table().find(&prefix);
    if (found == nullptr) {
        return nullptr;
    }
    trie.count(*found);
    return Trie::key_behind(map, trie.table().value_of(found));
}

void trie_for_each(Map& map, void (*function)(const void* key, void* argument),
                   void* argument) noexcept {
    struct Call {
        Map* map;
        void (*function)(const void* key, void* argument);
        void* argument;
    } call{&map, function, argument};
    Trie::of(map).table().for_each(
        [](const void*, void* value, void* context) noexcept {
            const Call& to = *static_cast<Call*>(context);
            Trie::of(*to.map).count(Trie::element_at(*to.map, value));
            to.function(Trie::key_behind(*to.map, value), to.argument);
            return 0L;
        },
        &call);
}

}  // namespace taskwork::map
