// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <set>

#include "map/hash_table.hpp"
#include "map/test_map.hpp"

namespace taskwork::map {
namespace {

using Hash = MapTest;

TEST_F(Hash, creation_accepts_and_refuses_as_the_kernel_does) {
    EXPECT_EQ(refused(hash(1)), no_error);
    EXPECT_EQ(refused(hash(0)), std::errc::invalid_argument);
    EXPECT_EQ(refused(hash(1, 0)), std::errc::invalid_argument);
    EXPECT_EQ(refused(spec(BPF_MAP_TYPE_HASH, 0, 8, 1)), std::errc::invalid_argument);
    constexpr std::uint32_t kBytesMax = (4U << 20) - 48;
    EXPECT_EQ(refused(spec(BPF_MAP_TYPE_HASH, 8, kBytesMax - 8 - 1, 1)), no_error);
    EXPECT_EQ(refused(spec(BPF_MAP_TYPE_HASH, 8, kBytesMax - 8, 1)),
              std::errc::argument_list_too_long);
    // The kernel's table would be larger than it can say, even with nothing in it.
    for (const std::uint32_t entries : {(1U << 27) + 1, (1U << 31) + 1, UINT32_MAX}) {
        for (const std::uint32_t type : {BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LRU_HASH}) {
            EXPECT_EQ(refused(spec(type, 8, 8, entries)), std::errc::argument_list_too_long);
        }
    }
    const auto with = [](std::uint32_t flags) {
        return refused(spec(BPF_MAP_TYPE_HASH, 8, 8, 1, flags));
    };
    EXPECT_EQ(with(BPF_F_NO_PREALLOC), no_error);
    EXPECT_EQ(with(BPF_F_ZERO_SEED), no_error);
    EXPECT_EQ(with(BPF_F_RDONLY_PROG), no_error);
    EXPECT_EQ(with(BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG), std::errc::invalid_argument);
    EXPECT_EQ(with(BPF_F_MMAPABLE), std::errc::invalid_argument);
    EXPECT_EQ(with(BPF_F_INNER_MAP), std::errc::invalid_argument);
}

TEST_F(Hash, more_than_the_arena_holds_is_refused_with_the_maps_name) {
    MapSpec asked = hash(1U << 27);
    std::snprintf(asked.name, sizeof(asked.name), "huge");
    auto made = create(asked);
    ASSERT_FALSE(made.has_value());
    EXPECT_EQ(made.error().code, std::errc::not_enough_memory);
    EXPECT_NE(made.error().text.find("'huge'"), std::string::npos);
}

TEST_F(Hash, update_flags_are_the_kernels) {
    Map& map = make(hash(4));
    EXPECT_EQ(put(map, 1, 10, BPF_EXIST), std::errc::no_such_file_or_directory);
    EXPECT_EQ(get(map, 1), UINT64_MAX);
    EXPECT_EQ(put(map, 1, 10, BPF_NOEXIST), no_error);
    EXPECT_EQ(put(map, 1, 11, BPF_NOEXIST), std::errc::file_exists);
    EXPECT_EQ(get(map, 1), 10U);
    EXPECT_EQ(put(map, 1, 12, BPF_EXIST), no_error);
    EXPECT_EQ(put(map, 1, 13, BPF_NOEXIST | BPF_EXIST), std::errc::invalid_argument);
    EXPECT_EQ(put(map, 1, 13, 8), std::errc::invalid_argument);
    EXPECT_EQ(put(map, 1, 13, BPF_F_LOCK), std::errc::invalid_argument);
    EXPECT_EQ(get(map, 1), 12U);
    EXPECT_EQ(usage(map).elements, 1U);
}

TEST_F(Hash, a_full_map_refuses_new_keys_and_replaces_present_ones) {
    for (std::uint32_t max : {1U, 3U, 64U}) {
        Map& map = make(hash(max));
        for (std::uint64_t key = 0; key < max; ++key) {
            ASSERT_EQ(put(map, key, key), no_error);
        }
        EXPECT_EQ(put(map, max, 1), std::errc::argument_list_too_long);
        EXPECT_EQ(put(map, max, 1, BPF_NOEXIST), std::errc::argument_list_too_long);
        EXPECT_EQ(put(map, max, 1, BPF_EXIST), std::errc::no_such_file_or_directory);
        EXPECT_EQ(put(map, 0, 1, BPF_NOEXIST), std::errc::file_exists);
        EXPECT_EQ(put(map, 0, 77), no_error);
        EXPECT_EQ(get(map, 0), 77U);
        EXPECT_EQ(usage(map).elements, max);
        EXPECT_EQ(erase(map, 0), no_error);
        EXPECT_EQ(put(map, max, 78), no_error);
        EXPECT_EQ(put(map, 0, 79), std::errc::argument_list_too_long);
        EXPECT_EQ(usage(map).elements, max);
    }
}

TEST_F(Hash, deletion_removes_a_present_key_once) {
    Map& map = make(hash(4));
    EXPECT_EQ(erase(map, 1), std::errc::no_such_file_or_directory);
    ASSERT_EQ(put(map, 1, 10), no_error);
    EXPECT_EQ(erase(map, 1), no_error);
    EXPECT_EQ(erase(map, 1), std::errc::no_such_file_or_directory);
    EXPECT_EQ(get(map, 1), UINT64_MAX);
    EXPECT_EQ(usage(map).elements, 0U);
}

TEST_F(Hash, lookup_and_delete_returns_what_it_removed) {
    Map& map = make(hash(4));
    ASSERT_EQ(put(map, 1, 10), no_error);
    const Sections sections;
    const std::uint64_t key = 1;
    std::uint64_t out = 0;
    EXPECT_EQ(lookup_and_remove(map, &key, &out, 1), std::errc::invalid_argument);
    EXPECT_EQ(lookup_and_remove(map, &key, &out, BPF_F_LOCK), std::errc::invalid_argument);
    EXPECT_EQ(lookup_and_remove(map, &key, &out, 0), no_error);
    EXPECT_EQ(out, 10U);
    EXPECT_EQ(lookup_and_remove(map, &key, &out, 0), std::errc::no_such_file_or_directory);
    EXPECT_EQ(lookup_copy(map, &key, &out, 0), std::errc::no_such_file_or_directory);
    EXPECT_EQ(lookup_copy(map, &key, &out, 1), std::errc::invalid_argument);
}

TEST_F(Hash, next_key_visits_every_key_once_and_starts_over_from_an_unknown_key) {
    Map& map = make(hash(64));
    std::set<std::uint64_t> expected;
    for (std::uint64_t key = 100; key < 150; ++key) {
        ASSERT_EQ(put(map, key, key), no_error);
        expected.insert(key);
    }
    const Sections sections;
    std::set<std::uint64_t> found;
    std::uint64_t first = 0;
    ASSERT_EQ(next_key(map, nullptr, &first), no_error);
    std::uint64_t key = first;
    do {
        EXPECT_TRUE(found.insert(key).second) << key << " came twice";
    } while (next_key(map, &key, &key) == no_error);
    EXPECT_EQ(found, expected);
    key = 7;  // not in the map
    EXPECT_EQ(next_key(map, &key, &key), no_error);
    EXPECT_EQ(key, first);
}

TEST_F(Hash, next_key_of_an_empty_map_is_refused) {
    Map& map = make(hash(4));
    const Sections sections;
    std::uint64_t key = 0;
    EXPECT_EQ(next_key(map, nullptr, &key), std::errc::no_such_file_or_directory);
    EXPECT_EQ(next_key(map, &key, &key), std::errc::no_such_file_or_directory);
}

TEST_F(Hash, keys_and_values_of_any_size_are_kept_apart) {
    for (std::uint32_t size : {1U, 3U, 4U, 7U, 9U, 16U, 100U}) {
        Map& map = make(spec(BPF_MAP_TYPE_HASH, size, size, 200));
        const Sections sections;
        std::vector<unsigned char> key(size);
        std::vector<unsigned char> value(size);
        std::vector<unsigned char> out(size);
        for (unsigned i = 0; i < 200; ++i) {
            key.back() = static_cast<unsigned char>(i);
            value.assign(size, static_cast<unsigned char>(i));
            ASSERT_EQ(update(map, key.data(), value.data(), BPF_NOEXIST), no_error);
        }
        for (unsigned i = 0; i < 200; ++i) {
            key.back() = static_cast<unsigned char>(i);
            value.assign(size, static_cast<unsigned char>(i));
            ASSERT_EQ(lookup_copy(map, key.data(), out.data(), 0), no_error);
            EXPECT_EQ(out, value);
            auto* in_place = static_cast<std::byte*>(lookup(map, key.data()));
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(in_place) % 8, 0U);
            EXPECT_TRUE(may_access_value(map, reinterpret_cast<std::uintptr_t>(in_place), size));
            EXPECT_FALSE(
                may_access_value(map, reinterpret_cast<std::uintptr_t>(in_place), size + 1));
            EXPECT_FALSE(may_access_value(map, reinterpret_cast<std::uintptr_t>(in_place) - 1, 1));
        }
    }
}

// K48, K49.
TEST_F(Hash, the_key_is_found_from_a_pointer_anywhere_into_a_value) {
    Map& map = make(hash(4, 24));
    const std::uint64_t key = 42;
    const std::uint64_t value[3] = {1, 2, 3};
    const Sections sections;
    ASSERT_EQ(update(map, &key, value, BPF_ANY), no_error);
    auto* in_place = static_cast<std::byte*>(lookup(map, &key));
    std::uint32_t unused = 0;
    const auto* found = static_cast<const std::uint64_t*>(key_of(map, in_place + 23, &unused));
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(*found, 42U);
    EXPECT_EQ(key_of(map, &value, &unused), nullptr);
    EXPECT_EQ(key_of(map, found, &unused), nullptr) << "the key is no part of the value";
}

TEST_F(Hash, deleted_elements_keep_their_memory_until_the_section_ends_K51) {
    Map& map = make(hash(1));
    ASSERT_EQ(put(map, 1, 10), no_error);
    const Sections sections;
    const std::uint64_t key = 1;
    auto* value = static_cast<platform::Atomic<std::uint64_t>*>(lookup(map, &key));
    ASSERT_EQ(remove(map, &key), no_error);
    for (std::uint64_t i = 0; i < 40; ++i) {
        ASSERT_EQ(update(map, &key, &i, BPF_ANY), no_error);
    }
    EXPECT_EQ(value->load(std::memory_order_relaxed), 10U);
    std::uint32_t unused = 0;
    EXPECT_EQ(*static_cast<const std::uint64_t*>(key_of(map, value, &unused)), 1U);
}

TEST_F(Hash, spares_used_up_by_an_open_section_are_refused_counted_and_come_back) {
    const std::uint64_t spares = spares_of(1, sizeof(Element) + 16 + sync::Pool::kInPlaceBytes);
    Map& map = make(hash(1));
    ASSERT_EQ(put(map, 1, 0), no_error);
    {
        const Sections sections;
        const std::uint64_t key = 1;
        // One element is in the map; each replacement leaves one waiting.
        for (std::uint64_t i = 0; i < spares; ++i) {
            ASSERT_EQ(update(map, &key, &i, BPF_ANY), no_error) << i;
        }
        const std::uint64_t more = 1000;
        EXPECT_EQ(update(map, &key, &more, BPF_ANY), std::errc::not_enough_memory);
        EXPECT_EQ(usage(map).refused_no_memory, 1U);
        EXPECT_EQ(usage(map).waiting, spares);
        EXPECT_EQ(usage(map).elements, 1U);
        // A refused replacement changes nothing, and a deletion needs no memory.
        EXPECT_EQ(*static_cast<std::uint64_t*>(lookup(map, &key)), spares - 1);
        EXPECT_EQ(remove(map, &key), no_error);
        EXPECT_EQ(update(map, &key, &more, BPF_ANY), std::errc::not_enough_memory);
        EXPECT_EQ(usage(map).elements, 0U);
    }
    task::wait_until([&] { return usage(map).waiting == 0; });
    EXPECT_EQ(put(map, 1, 5), no_error);
    EXPECT_EQ(get(map, 1), 5U);
}

TEST_F(Hash, for_each_visits_every_element_until_told_to_stop) {
    Map& map = make(hash(64));
    for (std::uint64_t key = 0; key < 50; ++key) {
        ASSERT_EQ(put(map, key, key + 1), no_error);
    }
    const Sections sections;
    std::uint64_t sum = 0;
    const auto add = [](const void* key, void* value, void* argument) noexcept -> long {
        *static_cast<std::uint64_t*>(argument) += *static_cast<std::uint64_t*>(value);
        return *static_cast<std::uint64_t*>(value) == *static_cast<const std::uint64_t*>(key) + 1
                   ? 0
                   : 1;
    };
    EXPECT_EQ(for_each(map, add, &sum), 50);
    EXPECT_EQ(sum, 50U * 51 / 2);
    const auto stop = [](const void*, void*, void*) noexcept -> long { return 1; };
    EXPECT_EQ(for_each(map, stop, nullptr), 1);
}

TEST_F(Hash, for_each_may_delete_what_it_visits) {
    Map& map = make(hash(64));
    for (std::uint64_t key = 0; key < 50; ++key) {
        ASSERT_EQ(put(map, key, key), no_error);
    }
    const Sections sections;
    const auto drop = [](const void* key, void*, void* argument) noexcept -> long {
        return remove(*static_cast<Map*>(argument), key) == no_error ? 0 : 1;
    };
    EXPECT_EQ(for_each(map, drop, &map), 50);
    EXPECT_EQ(usage(map).elements, 0U);
}

// A replacement stands behind what it replaces: the walk met it again, and again.
TEST_F(Hash, for_each_may_update_what_it_visits_and_visits_it_once) {
    Map& map = make(hash(64));
    for (std::uint64_t key = 0; key < 50; ++key) {
        ASSERT_EQ(put(map, key, key), no_error);
    }
    const Sections sections;
    const auto increment = [](const void* key, void* value, void* argument) noexcept -> long {
        // Twice: a replacement is replaced as well.
        for (std::uint64_t more = 1; more <= 2; ++more) {
            const std::uint64_t number = *static_cast<std::uint64_t*>(value) + more;
            if (update(*static_cast<Map*>(argument), key, &number, BPF_EXIST) != no_error) {
                return 1;
            }
        }
        return 0;
    };
    EXPECT_EQ(for_each(map, increment, &map), 50);
    for (std::uint64_t key = 0; key < 50; ++key) {
        EXPECT_EQ(get(map, key), key + 2);
    }
}

TEST_F(Hash, the_pools_are_whole_again_after_many_rounds_of_everything) {
    Map& map = make(hash(16));
    for (std::uint64_t round = 0; round < 2000; ++round) {
        const std::uint64_t key = round % 23;
        const std::errc put_result = put(map, key, round);
        ASSERT_TRUE(put_result == no_error || put_result == std::errc::argument_list_too_long ||
                    put_result == std::errc::not_enough_memory);
        if (round % 3 == 0) {
            erase(map, (round * 7) % 23);
        }
    }
    std::uint64_t present = 0;
    for (std::uint64_t key = 0; key < 23; ++key) {
        present += get(map, key) != UINT64_MAX ? 1 : 0;
    }
    EXPECT_EQ(usage(map).elements, present);
    task::wait_until([&] { return usage(map).waiting == 0; });
    for (std::uint64_t key = 0; key < 23; ++key) {
        erase(map, key);
    }
    task::wait_until([&] { return usage(map).waiting == 0; });
    for (std::uint64_t key = 0; key < 16; ++key) {
        EXPECT_EQ(put(map, key, key), no_error);
    }
}

TEST_F(Hash, a_destroyed_map_gives_its_memory_back) {
    for (int i = 0; i < 20; ++i) {
        auto made = create(hash(1U << 16, 256));
        ASSERT_TRUE(made.has_value()) << made.error().text << " in turn " << i;
        Map* map = *made;
        EXPECT_EQ(put(*map, 1, 1), no_error);
        EXPECT_EQ(erase(*map, 1), no_error);
        put_reference(*map);
        task::wait_until([&] { return sync::Pool::load(map).state() == sync::kStateFree; });
    }
}

}  // namespace
}  // namespace taskwork::map
