// SPDX-License-Identifier: Apache-2.0
//
// Walks by batches of bpf(2): small ones, in a map that changes meanwhile, and under locks. The
// same beside a kernel, at random: tests/conformance/maps_test.cpp.
#include <bpf/bpf.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <set>
#include <thread>
#include <vector>

#include "map/map.hpp"
#include "map/value.hpp"
#include "uapi/test_host.hpp"
#include "uapi/test_types.hpp"

namespace taskwork::uapi {
namespace {

constexpr std::uint64_t kCount = 100;
/// So that threads meet.
constexpr std::uint32_t kFew = 6;

class Batches : public HostTest {
protected:
    void TearDown() override { drop(); }
    void drop() {
        if (map_ >= 0) {
            close(map_);
        }
        map_ = -1;
    }

    /// A hash with the keys 0 to kCount - 1.
    void make_hash(std::uint32_t count = kCount) {
        map_ = bpf_map_create(BPF_MAP_TYPE_HASH, "batches", 8, 8, count, nullptr);
        ASSERT_GE(map_, 0);
        for (std::uint64_t key = 0; key < count; ++key) {
            put(key);
        }
    }
    void put(std::uint64_t key) const {
        EXPECT_EQ(bpf_map_update_elem(map_, &key, &key, BPF_ANY), 0);
    }
    void erase(std::uint64_t key) const { EXPECT_EQ(bpf_map_delete_elem(map_, &key), 0); }

    /// Calls seen(keys) behind each batch, to the end; as large a batch as the fullest bucket
    /// needs. Returns how often one did not fit.
    template <class Seen>
    unsigned walk(std::uint32_t wanted, bool and_delete, Seen seen) const {
        unsigned too_small = 0;
        std::uint32_t token = 0;
        void* from = nullptr;
        for (;;) {
            std::vector<std::uint64_t> keys(wanted);
            std::vector<std::uint64_t> values(wanted);
            std::uint32_t count = wanted;
            const int error = (and_delete ? bpf_map_lookup_and_delete_batch : bpf_map_lookup_batch)(
                map_, from, &token, keys.data(), values.data(), &count, nullptr);
            from = &token;
            if (error == -ENOSPC) {
                EXPECT_EQ(count, 0U);
                ++too_small;
                wanted *= 2;
                continue;
            }
            EXPECT_TRUE(error == 0 || error == -ENOENT) << error;
            EXPECT_LE(count, wanted);
            keys.resize(count);
            values.resize(count);
            EXPECT_EQ(keys, values);
            seen(keys);
            if (error != 0) {
                return too_small;
            }
        }
    }

    int map_ = -1;
};

TEST_F(Batches, smaller_than_a_bucket_are_refused_and_find_each_key_once_when_they_fit) {
    for (const bool and_delete : {false, true}) {
        make_hash();
        std::multiset<std::uint64_t> seen;
        const unsigned too_small = walk(1, and_delete, [&](const std::vector<std::uint64_t>& keys) {
            seen.insert(keys.begin(), keys.end());
        });
        // A hundred keys in 128 buckets, whatever the seed: some share one.
        EXPECT_GT(too_small, 0U);
        EXPECT_EQ(seen.size(), kCount);
        EXPECT_EQ(std::set<std::uint64_t>(seen.begin(), seen.end()).size(), kCount);
        std::uint64_t key = 0;
        EXPECT_EQ(bpf_map_get_next_key(map_, nullptr, &key), and_delete ? -ENOENT : 0);
        drop();
    }
}

TEST_F(Batches, find_every_key_when_what_has_come_is_deleted) {
    make_hash();
    std::set<std::uint64_t> seen;
    walk(20, false, [&](const std::vector<std::uint64_t>& keys) {
        seen.insert(keys.begin(), keys.end());
        auto count = static_cast<std::uint32_t>(keys.size());
        EXPECT_EQ(bpf_map_delete_batch(map_, keys.data(), &count, nullptr), 0);
    });
    EXPECT_EQ(seen.size(), kCount);
}

TEST_F(Batches, find_every_key_that_stays_while_others_come_and_go) {
    make_hash();
    std::set<std::uint64_t> seen;
    std::uint64_t next = kCount;
    walk(20, false, [&](const std::vector<std::uint64_t>& keys) {
        seen.insert(keys.begin(), keys.end());
        if (!keys.empty()) {
            erase(keys.front());
            put(next++);
        }
    });
    for (std::uint64_t key = 0; key < kCount; ++key) {
        EXPECT_TRUE(seen.count(key) != 0) << key;
    }
}

/// Keys come, are replaced and go while threads walk; all that the kernel promises by the lock of a
/// bucket.
TEST_F(Batches, find_every_key_that_stays_while_threads_replace_it_and_its_neighbours_go) {
    constexpr std::uint64_t kStay = kFew / 2;
    make_hash(kFew);
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> changes{0};
    const auto change_all = [&](std::uint64_t first, std::uint64_t end, bool erases) {
        while (!stop.load()) {
            for (std::uint64_t key = first; key < end; ++key) {
                if (erases) {
                    erase(key);
                }
                put(key);
                changes.fetch_add(1);
            }
        }
    };
    std::thread replacer(change_all, 0, kStay, false);
    std::thread eraser(change_all, kStay, kFew, true);
    for (std::uint64_t walks = 0; walks < 20'000 || changes.load() < 20'000; ++walks) {
        std::multiset<std::uint64_t> seen;
        walk(20, false, [&](const std::vector<std::uint64_t>& keys) {
            seen.insert(keys.begin(), keys.end());
        });
        for (std::uint64_t key = 0; key < kStay; ++key) {
            EXPECT_EQ(seen.count(key), 1U) << key;
        }
    }
    stop.store(true);
    replacer.join();
    eraser.join();
}

TEST_F(Batches, hand_out_each_element_once_to_threads_that_take_at_once) {
    constexpr unsigned kRounds = 800;
    std::atomic<unsigned> round{0};
    std::atomic<unsigned> finished{0};
    std::vector<std::uint64_t> taken[2];
    const auto take_all = [this](std::vector<std::uint64_t>& into) {
        walk(20, true, [&](const std::vector<std::uint64_t>& keys) {
            into.insert(into.end(), keys.begin(), keys.end());
        });
    };
    make_hash();
    std::thread other([&] {
        for (unsigned mine = 1; mine <= kRounds; ++mine) {
            while (round.load() < mine) {
                std::this_thread::yield();
            }
            take_all(taken[1]);
            finished.store(mine);
        }
    });
    for (unsigned mine = 1; mine <= kRounds; ++mine) {
        for (std::uint64_t key = 0; key < kCount; ++key) {
            put(key);
        }
        round.store(mine);
        take_all(taken[0]);
        task::wait_until([&] { return finished.load() == mine; });
        EXPECT_EQ(taken[0].size() + taken[1].size(), kCount);
        std::set<std::uint64_t> all(taken[0].begin(), taken[0].end());
        all.insert(taken[1].begin(), taken[1].end());
        EXPECT_EQ(all.size(), kCount);
        taken[0].clear();
        taken[1].clear();
    }
    other.join();
}

TEST_F(Batches, end_at_a_token_beyond_the_last_bucket) {
    make_hash();
    std::uint32_t token = 128;
    std::uint32_t count = 5;
    std::uint64_t keys[5];
    EXPECT_EQ(bpf_map_lookup_batch(map_, &token, &token, keys, keys, &count, nullptr), -ENOENT);
    EXPECT_EQ(count, 0U);
}

/// Values { u64; bpf_spin_lock }.
class LockedBatches : public Batches {
protected:
    void make_locked(bpf_map_type type) {
        bpf_map_create_opts options{};
        options.sz = sizeof options;
        options.btf_fd = static_cast<std::uint32_t>(types_.descriptor());
        options.btf_key_type_id = static_cast<std::uint32_t>(types_.u32);
        options.btf_value_type_id = static_cast<std::uint32_t>(value_);
        map_ = bpf_map_create(type, "locked", 4, 16, 3, &options);
        ASSERT_GE(map_, 0);
        for (std::uint32_t key = 0; key < 3; ++key) {
            const std::uint64_t number[2] = {key, 0};
            ASSERT_EQ(bpf_map_update_elem(map_, &key, number, BPF_ANY), 0);
        }
    }
    using Batch = int (*)(int, void*, void*, void*, void*, std::uint32_t*,
                          const bpf_map_batch_opts*);
    /// One of three under BPF_F_LOCK; the keys that came are added to `keys`.
    int ask(Batch batch, std::multiset<std::uint32_t>& keys) {
        LIBBPF_OPTS(bpf_map_batch_opts, locked, .elem_flags = BPF_F_LOCK);
        std::uint32_t got[3];
        std::uint64_t values[6];
        std::uint32_t count = 3;
        const int error =
            batch(map_, has_token_ ? &token_ : nullptr, &token_, got, values, &count, &locked);
        has_token_ = error == -EBUSY && batch == bpf_map_lookup_and_delete_batch;
        for (std::uint32_t i = 0; i < count; ++i) {
            EXPECT_EQ(values[std::size_t{2} * i], got[i]);
            keys.insert(got[i]);
        }
        return error;
    }

    TestTypes types_;
    int value_ =
        types_.structure("value", 16, {{"number", types_.u64, 0}, {"lock", types_.spin_lock, 8}});
    std::uint32_t token_ = 0;
    bool has_token_ = false;
};

/// Its own thread has the lock, so that it is known at once that nobody gives it back.
TEST_F(LockedBatches, copy_under_the_lock_of_each_value) {
    struct Case {
        bpf_map_type type;
        Batch batch;
    };
    for (const Case& one : {Case{BPF_MAP_TYPE_ARRAY, bpf_map_lookup_batch},
                            Case{BPF_MAP_TYPE_HASH, bpf_map_lookup_batch},
                            Case{BPF_MAP_TYPE_HASH, bpf_map_lookup_and_delete_batch}}) {
        make_locked(one.type);
        std::multiset<std::uint32_t> keys;
        const std::uint32_t key = 1;
        {
            const task::Section section{task::current()};
            const task::ReadSection sleepable{*task::current(), sync::Flavour::sleepable};
            map::Map& map = *map_of(map_);
            void* const value = map::lookup(map, &key);
            ASSERT_EQ(map::lock_value(map, value), no_error);
            EXPECT_EQ(ask(one.batch, keys), -EBUSY);
            EXPECT_EQ(keys.count(key), 0U);
            EXPECT_EQ(map::lookup(map, &key), value) << "not copied, but deleted";
            map::unlock_value(map, value);
        }
        if (one.batch == bpf_map_lookup_batch) {
            keys.clear();
        }
        // What was taken before stays taken; the rest comes now.
        EXPECT_EQ(ask(one.batch, keys), one.type == BPF_MAP_TYPE_HASH ? -ENOENT : 0);
        EXPECT_EQ(keys, (std::multiset<std::uint32_t>{0, 1, 2}));
        drop();
    }
}

}  // namespace
}  // namespace taskwork::uapi
