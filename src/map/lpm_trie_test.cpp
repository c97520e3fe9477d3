// SPDX-License-Identifier: Apache-2.0
#include "map/lpm_trie.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <map>
#include <random>
#include <string>

#include "map/test_steps.hpp"

namespace taskwork::map {
namespace {

/// An IPv4 prefix as the kernel lays it out.
struct Key {
    std::uint32_t length;
    std::array<std::uint8_t, 4> data;
    friend auto operator<=>(const Key&, const Key&) = default;
};

MapSpec prefixes(std::uint32_t entries) {
    MapSpec spec;
    spec.type = BPF_MAP_TYPE_LPM_TRIE;
    spec.key_size = sizeof(Key);
    spec.value_size = 8;
    spec.max_entries = entries;
    spec.flags = BPF_F_NO_PREALLOC;
    return spec;
}

std::errc put_prefix(Map& map, const Key& key, std::uint64_t value, std::uint64_t flags = BPF_ANY) {
    const Sections sections;
    return update(map, &key, &value, flags);
}
std::errc erase_prefix(Map& map, const Key& key) {
    const Sections sections;
    return remove(map, &key);
}
/// UINT64_MAX: no prefix fits.
std::uint64_t longest(Map& map, const Key& key) {
    const Sections sections;
    const auto* value = static_cast<const platform::Atomic<std::uint64_t>*>(lookup(map, &key));
    return value == nullptr ? UINT64_MAX : value->load(std::memory_order_relaxed);
}
std::vector<Key> walk(Map& map) {
    const Sections sections;
    std::vector<Key> found;
    Key key{};
    const void* from = nullptr;
    while (found.size() < 100 && next_key(map, from, &key) == no_error) {
        found.push_back(key);
        from = &key;
    }
    return found;
}

class LpmTrie : public MapTest {};

TEST_F(LpmTrie, finds_the_longest_prefix) {
    Map& map = make(prefixes(8));
    const Key address{32, {192, 168, 1, 7}};
    EXPECT_EQ(longest(map, address), UINT64_MAX);
    EXPECT_EQ(put_prefix(map, {16, {192, 168, 0, 0}}, 16), no_error);
    EXPECT_EQ(put_prefix(map, {24, {192, 168, 1, 0}}, 24), no_error);
    EXPECT_EQ(put_prefix(map, {24, {192, 168, 2, 0}}, 99), no_error);
    EXPECT_EQ(longest(map, address), 24U);
    EXPECT_EQ(longest(map, {23, {192, 168, 1, 7}}), 16U);  // no longer than the key itself
    EXPECT_EQ(longest(map, {32, {10, 0, 0, 1}}), UINT64_MAX);
    EXPECT_EQ(put_prefix(map, {0, {}}, 0), no_error);
    EXPECT_EQ(longest(map, {32, {10, 0, 0, 1}}), 0U);
    EXPECT_EQ(erase_prefix(map, {24, {192, 168, 1, 0}}), no_error);
    EXPECT_EQ(longest(map, address), 16U);
    EXPECT_EQ(longest(map, {33, {}}), UINT64_MAX);
}

TEST_F(LpmTrie, has_the_errors_of_the_kernel) {
    Map& map = make(prefixes(2));
    const Key first{8, {10, 1, 1, 1}};
    EXPECT_EQ(put_prefix(map, first, 1, BPF_EXIST), std::errc::no_such_file_or_directory);
    EXPECT_EQ(put_prefix(map, first, 1, 3), std::errc::invalid_argument);
    EXPECT_EQ(put_prefix(map, {33, {}}, 1), std::errc::invalid_argument);
    EXPECT_EQ(put_prefix(map, first, 1, BPF_NOEXIST), no_error);
    // What lies behind the prefix does not matter.
    EXPECT_EQ(put_prefix(map, {8, {10, 2, 2, 2}}, 2, BPF_NOEXIST), std::errc::file_exists);
    EXPECT_EQ(put_prefix(map, {8, {10, 2, 2, 2}}, 2, BPF_EXIST), no_error);
    EXPECT_EQ(longest(map, {32, {10, 3, 3, 3}}), 2U);
    EXPECT_EQ(put_prefix(map, {9, {11}}, 3), no_error);
    EXPECT_EQ(put_prefix(map, {10, {11}}, 3), std::errc::no_space_on_device);
    EXPECT_EQ(put_prefix(map, {10, {11}}, 3, BPF_EXIST), std::errc::no_such_file_or_directory);
    EXPECT_EQ(erase_prefix(map, {33, {}}), std::errc::invalid_argument);
    EXPECT_EQ(erase_prefix(map, {10, {11}}), std::errc::no_such_file_or_directory);
    EXPECT_EQ(erase_prefix(map, {8, {10, 9, 9, 9}}), no_error);
    EXPECT_EQ(usage(map).elements, 1U);
}

TEST_F(LpmTrie, is_walked_from_the_longer_to_the_shorter_and_from_0_to_1) {
    Map& map = make(prefixes(8));
    EXPECT_TRUE(walk(map).empty());
    // Given in another order; the walk shows keys as they were given.
    const std::vector<Key> order = {{24, {192, 168, 0, 5}},    {24, {192, 168, 1, 5}},
                                    {24, {192, 168, 128, 5}},  {16, {192, 168, 7, 7}},
                                    {1, {255, 255, 255, 255}}, {0, {1, 2, 3, 4}}};
    for (const std::size_t i : {3U, 5U, 1U, 0U, 4U, 2U}) {
        ASSERT_EQ(put_prefix(map, order[i], i), no_error);
    }
    EXPECT_EQ(walk(map), order);
    const Sections sections;
    Key next{};
    // A key that is not there: from the beginning.
    for (const Key& other : {Key{23, {192, 168, 0, 0}}, Key{40, {}}}) {
        EXPECT_EQ(next_key(map, &other, &next), no_error);
        EXPECT_EQ(next, order.front());
    }
    EXPECT_EQ(next_key(map, &order.back(), &next), std::errc::no_such_file_or_directory);
}

TEST_F(LpmTrie, is_refused_where_the_kernel_refuses_it) {
    MapSpec wrong = prefixes(4);
    wrong.flags = 0;
    EXPECT_EQ(refused(wrong), std::errc::invalid_argument);
    wrong = prefixes(4);
    wrong.fields.task_work = 0;
    EXPECT_EQ(refused(wrong), std::errc::operation_not_supported);
    for (const std::uint32_t size : {4U, 261U}) {
        wrong = prefixes(4);
        wrong.key_size = size;
        EXPECT_EQ(refused(wrong), std::errc::invalid_argument);
    }
    wrong.key_size = 260;
    EXPECT_EQ(refused(wrong), no_error);
}

struct Walk {
    Map* map;
    std::uint64_t found;
};

/// LT.1: the lookup has passed the length of what comes, and has yet to come to that of what goes.
TEST_F(LpmTrie, never_gives_a_prefix_that_was_at_no_time_the_longest) {
    if (!task::kCanSingleStep) {
        GTEST_SKIP() << "no single step under this sanitizer";
    }
    const Key address{32, {10, 0, 0, 1}};
    const Key wide{8, {10}};
    const Key narrow{24, {10}};
    const Key between{16, {10}};
    for (const Key& comes : {address, between}) {
        for (const bool was_there : {true, false}) {  // Its length has had prefixes before, or not.
            Map& map = make(prefixes(16));
            if (was_there) {
                ASSERT_EQ(put_prefix(map, {comes.length, {11}}, 1), no_error);
            }
            static Key other;
            other = comes;
            unsigned points = 0;
            for (std::uint64_t at = 1;; at += 3 * kStepFactor) {
                erase_prefix(map, comes);
                ASSERT_EQ(put_prefix(map, wide, 8), no_error);
                ASSERT_EQ(put_prefix(map, narrow, 24), no_error);
                Walk body{&map, 0};
                Walk event{&map, 0};
                const std::uint64_t steps = task::single_step(
                    [](void* argument) {
                        auto* walk = static_cast<Walk*>(argument);
                        walk->found = longest(*walk->map, {32, {10, 0, 0, 1}});
                    },
                    &body,
                    [](void* argument) {
                        auto* walk = static_cast<Walk*>(argument);
                        put_prefix(*walk->map, other, other.length);
                        erase_prefix(*walk->map, {24, {10}});
                    },
                    &event, at, 0);
                ASSERT_TRUE(body.found == 24 || body.found == comes.length)
                    << "a prefix of " << body.found << " bits, after instruction " << at;
                task::wait_until([&] { return usage(map).waiting < 32; });
                if (steps < at) {
                    break;
                }
                ++points;
            }
            EXPECT_GT(points, 4U);
        }
    }
}

TEST_F(LpmTrie, is_looked_up_beside_insertions_and_deletions_of_another_thread) {
    Map& map = make(prefixes(16));
    const Key wide{8, {10}};
    const Key narrow{24, {10}};
    const Key address{32, {10, 0, 0, 1}};
    ASSERT_EQ(put_prefix(map, wide, 8), no_error);
    ASSERT_EQ(put_prefix(map, narrow, 24), no_error);
    std::atomic<bool> done{false};
    // One of the two is always there.
    std::thread other = task::task_thread([&] {
        for (unsigned turn = 0; turn < 2000; ++turn) {
            const bool long_one = turn % 2 == 0;
            while (put_prefix(map, long_one ? address : narrow, 24) != no_error) {
                std::this_thread::yield();  // The spares are used up.
            }
            ASSERT_EQ(erase_prefix(map, long_one ? narrow : address), no_error);
        }
        done.store(true);
    });
    while (!done.load()) {
        ASSERT_EQ(longest(map, address), 24U);
    }
    other.join();
}

/// Against all prefixes one by one, with the longest keys and the shortest.
TEST_F(LpmTrie, agrees_with_a_search_of_everything) {
    std::minstd_rand random(7);
    for (const std::uint32_t data : {1U, 9U, 256U}) {
        MapSpec spec = prefixes(200);
        spec.key_size = 4 + data;
        Map& map = make(spec);
        struct Entry {
            std::uint32_t length;
            std::vector<std::uint8_t> bits;
        };
        std::vector<Entry> entries;
        const auto bit = [](const std::vector<std::uint8_t>& bits, std::uint32_t i) {
            return bits[i / 8] >> (7 - i % 8) & 1;
        };
        const auto begins_with = [&](const std::vector<std::uint8_t>& key, const Entry& entry) {
            for (std::uint32_t i = 0; i < entry.length; ++i) {
                if (bit(key, i) != bit(entry.bits, i)) {
                    return false;
                }
            }
            return true;
        };
        const auto random_bits = [&] {
            std::vector<std::uint8_t> bits(data);
            for (std::uint8_t& byte : bits) {  // Many that are the same for long.
                byte = random() % 16 == 0 ? static_cast<std::uint8_t>(random()) : 0;
            }
            return bits;
        };
        const auto raw = [](std::uint32_t length, const std::vector<std::uint8_t>& bits) {
            std::vector<std::uint8_t> key(4 + bits.size());
            std::memcpy(key.data(), &length, 4);
            std::memcpy(key.data() + 4, bits.data(), bits.size());
            return key;
        };
        const Sections sections;
        for (std::uint64_t i = 0; i < 150; ++i) {
            Entry entry{static_cast<std::uint32_t>(random() % (data * 8 + 1)), random_bits()};
            if (update(map, raw(entry.length, entry.bits).data(), &i, BPF_NOEXIST) == no_error) {
                entries.push_back(entry);
            }
        }
        ASSERT_EQ(usage(map).elements, entries.size());
        for (int i = 0; i < 500; ++i) {
            const auto bits = random_bits();
            const auto length = static_cast<std::uint32_t>(random() % (data * 8 + 1));
            std::int64_t best = -1;
            for (const Entry& entry : entries) {
                if (entry.length <= length && begins_with(bits, entry)) {
                    best = std::max(best, std::int64_t{entry.length});
                }
            }
            const void* found = lookup(map, raw(length, bits).data());
            ASSERT_EQ(found != nullptr, best >= 0);
            if (found != nullptr) {
                const auto* stored = static_cast<const std::uint32_t*>(
                    trie_find(map, raw(static_cast<std::uint32_t>(best), bits).data()));
                ASSERT_NE(stored, nullptr);
                ASSERT_EQ(*stored, best);
            }
        }
    }
}

// ---- An event after each instruction, and a death -----------------------------------------------

const Key kLong{24, {10, 1, 1, 0}};
const Key kShort{8, {10, 0, 0, 0}};
const Key kOther{24, {10, 1, 2, 0}};

struct Prefixes {
    using Model = std::map<Key, std::uint64_t>;
    /// Room for an insertion that another one interrupts: it holds its place already (HT.2).
    static constexpr std::size_t kEntries = 3;
    static constexpr std::uint64_t kError = std::uint64_t{1} << 32;

    struct Operation {
        enum class Kind { put, erase, find, first } kind;
        Key key;
        std::uint64_t number = 0;
        std::uint64_t outcome = 0;  ///< Of the first of a walk: how long it is.

        void run(Map& map) noexcept {
            const task::ReadSection sleepable(*task::current(), sync::Flavour::sleepable);
            if (kind == Kind::first) {
                Key found{};
                outcome = next_key(map, nullptr, &found) == no_error ? found.length : kError;
            } else if (kind == Kind::find) {
                const auto* value =
                    static_cast<const platform::Atomic<std::uint64_t>*>(lookup(map, &key));
                outcome = value == nullptr ? kError : value->load(std::memory_order_relaxed);
            } else {
                outcome = static_cast<std::uint64_t>(
                    kind == Kind::put ? update(map, &key, &number, BPF_ANY) : remove(map, &key));
            }
        }
    };
    static void specify(Model& model, Operation& operation) {
        using Kind = Operation::Kind;
        const auto found = model.find(operation.key);
        operation.outcome = 0;
        if (operation.kind == Kind::erase) {
            if (model.erase(operation.key) == 0) {
                operation.outcome =
                    static_cast<std::uint64_t>(std::errc::no_such_file_or_directory);
            }
        } else if (operation.kind == Kind::put) {
            if (found == model.end() && model.size() == kEntries) {
                operation.outcome = static_cast<std::uint64_t>(std::errc::no_space_on_device);
            } else {
                model[operation.key] = operation.number;
            }
        } else if (operation.kind == Kind::first) {
            // Those that operations here put in are one in the other.
            operation.outcome = model.empty() ? kError : model.rbegin()->first.length;
        } else {
            // The key is kLong with all its bits: it, or kShort.
            const auto best = found != model.end() ? found : model.find(kShort);
            operation.outcome = best == model.end() ? kError : best->second;
        }
    }
    static void fill(Map& map, const Model& model) {
        for (const Key& key : {kLong, kShort, kOther}) {
            erase_prefix(map, key);
        }
        for (const auto& [key, value] : model) {
            ASSERT_EQ(put_prefix(map, key, value), no_error);
        }
    }
    static Model content(Map& map) {
        Model found;
        for (const Key& key : walk(map)) {
            const Sections sections;
            EXPECT_EQ(found.count(key), 0U);
            found[key] = longest(map, key);
        }
        EXPECT_EQ(usage(map).elements, found.size());
        return found;
    }
};

class SteppedTrie : public SteppedMap<Prefixes> {
protected:
    using Kind = Operation::Kind;
    const std::vector<Model> starts_ = {{{kShort, 1}}, {{kShort, 1}, {kLong, 2}}};
    const std::vector<Operation> operations_ = {
        {Kind::put, kLong, 100}, {Kind::erase, kLong}, {Kind::find, kLong}, {Kind::first, {}}};
};

TEST_F(SteppedTrie, and_the_event_happen_one_after_the_other) {
    std::vector<Map*> maps;
    for (int i = 0; i < 8; ++i) {
        maps.push_back(&make(prefixes(Prefixes::kEntries)));
    }
    interrupt(
        maps, starts_, operations_,
        {{Kind::put, kLong, 200}, {Kind::erase, kLong}, {Kind::find, kLong}, {Kind::erase, kShort}},
        241);
}

TEST_F(SteppedTrie, is_as_before_or_as_after_a_death) {
    kill_in(make(prefixes(Prefixes::kEntries)), starts_,
            {{Kind::put, kLong, 100}, {Kind::erase, kLong}}, 97);
}

}  // namespace
}  // namespace taskwork::map
