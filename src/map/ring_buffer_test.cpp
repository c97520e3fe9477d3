// SPDX-License-Identifier: Apache-2.0
#include "map/ring_buffer.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "map/map_ops.hpp"
#include "map/test_map.hpp"

namespace taskwork::map {
namespace {

constexpr std::uint64_t kBytes = 4096;
constexpr std::uint16_t kOther = 999;  ///< An owner that is nobody.

class RingBuffer : public MapTest {
protected:
    static Map& ring(std::uint32_t bytes = kBytes) {
        return make(spec(BPF_MAP_TYPE_RINGBUF, 0, 0, bytes));
    }
    static std::uint16_t self() { return task::current()->process; }
    static void* reserve(Map& map, std::uint64_t size) {
        return ring_reserve(map, size, 0, self());
    }
    static std::errc output(Map& map, std::uint64_t value, std::uint64_t flags = 0) {
        return ring_output(map, &value, sizeof(value), flags, self());
    }
    /// Consumes everything that is ready: the first word of each record.
    static std::vector<std::uint64_t> consume(Map& map) {
        std::vector<std::uint64_t> found;
        const long records = ring_consume(
            map,
            [](void* argument, void* data, std::size_t) {
                static_cast<std::vector<std::uint64_t>*>(argument)->push_back(
                    *static_cast<std::uint64_t*>(data));
                return 0L;
            },
            &found);
        EXPECT_EQ(records, static_cast<long>(found.size()));
        return found;
    }
    using List = std::vector<std::uint64_t>;
};

TEST_F(RingBuffer, creation_accepts_and_refuses_as_the_kernel_does) {
    const auto with = [](std::uint32_t key, std::uint32_t value, std::uint32_t bytes,
                         std::uint32_t flags = 0) {
        return refused(spec(BPF_MAP_TYPE_RINGBUF, key, value, bytes, flags));
    };
    EXPECT_EQ(with(0, 0, 4096), no_error);
    EXPECT_EQ(with(0, 0, 1U << 20), no_error);
    for (std::uint32_t bytes : {0U, 1U, 2048U, 4095U, 4097U, 12288U}) {
        EXPECT_EQ(with(0, 0, bytes), std::errc::invalid_argument) << bytes;
    }
    EXPECT_EQ(with(4, 0, 4096), std::errc::invalid_argument);
    EXPECT_EQ(with(0, 8, 4096), std::errc::invalid_argument);
    EXPECT_EQ(with(0, 0, 4096, BPF_F_NO_PREALLOC), std::errc::invalid_argument);
    EXPECT_EQ(with(0, 0, 4096, BPF_F_MMAPABLE), std::errc::invalid_argument);
}

TEST_F(RingBuffer, element_operations_are_not_supported) {
    Map& map = ring();
    const Sections sections;
    std::uint64_t word = 0;
    EXPECT_EQ(lookup(map, &word), nullptr);
    EXPECT_EQ(lookup_copy(map, &word, &word, 0), errc_kernel_notsupp);
    EXPECT_EQ(update(map, &word, &word, 0), errc_kernel_notsupp);
    EXPECT_EQ(remove(map, &word), errc_kernel_notsupp);
    EXPECT_EQ(next_key(map, nullptr, &word), errc_kernel_notsupp);
    EXPECT_EQ(lookup_and_remove(map, &word, &word, 0), errc_kernel_notsupp);
}

TEST_F(RingBuffer, records_come_in_order_each_once) {
    Map& map = ring();
    EXPECT_EQ(consume(map), List{});
    for (std::uint64_t i = 0; i < 5; ++i) {
        EXPECT_EQ(output(map, i), no_error);
    }
    EXPECT_EQ(ring_query(map, BPF_RB_AVAIL_DATA), 5U * 16);
    EXPECT_EQ(consume(map), (List{0, 1, 2, 3, 4}));
    EXPECT_EQ(consume(map), List{});
    EXPECT_EQ(ring_query(map, BPF_RB_AVAIL_DATA), 0U);
    EXPECT_EQ(ring_query(map, BPF_RB_RING_SIZE), kBytes);
    EXPECT_EQ(ring_query(map, BPF_RB_CONS_POS), 5U * 16);
    EXPECT_EQ(ring_query(map, BPF_RB_PROD_POS), 5U * 16);
    EXPECT_EQ(ring_query(map, 99), 0U);
}

TEST_F(RingBuffer, records_of_all_sizes_are_contiguous_where_the_ring_wraps) {
    Map& map = ring();
    std::vector<unsigned char> sent;
    for (std::uint64_t i = 0; i < 3000; ++i) {
        const std::size_t size = 1 + (i * 7919) % 1500;
        sent.assign(size, static_cast<unsigned char>(i));
        ASSERT_EQ(ring_output(map, sent.data(), size, 0, self()), no_error) << i;
        const long records = ring_consume(
            map,
            [](void* argument, void* data, std::size_t got) {
                auto* expected = static_cast<std::vector<unsigned char>*>(argument);
                EXPECT_EQ(got, expected->size());
                EXPECT_EQ(reinterpret_cast<std::uintptr_t>(data) % 8, 0U);
                EXPECT_EQ(std::memcmp(data, expected->data(), got), 0);
                return 0L;
            },
            &sent);
        ASSERT_EQ(records, 1);
    }
    EXPECT_EQ(ring_dropped(map), 0U);
}

TEST_F(RingBuffer, what_does_not_fit_is_refused_and_counted) {
    Map& map = ring();
    // Header and data may take all but 8 bytes.
    EXPECT_EQ(reserve(map, kBytes - 15), nullptr);
    EXPECT_EQ(reserve(map, UINT64_MAX), nullptr);
    EXPECT_EQ(reserve(map, UINT64_MAX - 7), nullptr);
    EXPECT_EQ(reserve(map, UINT32_MAX), nullptr);
    EXPECT_EQ(ring_dropped(map), 4U);
    void* all = reserve(map, kBytes - 16);
    ASSERT_NE(all, nullptr);
    EXPECT_EQ(reserve(map, 0), nullptr);
    EXPECT_EQ(output(map, 1), std::errc::resource_unavailable_try_again);
    EXPECT_EQ(ring_dropped(map), 6U);
    ring_discard(all, 0);
    EXPECT_EQ(output(map, 1), std::errc::resource_unavailable_try_again);
    EXPECT_EQ(consume(map), List{});  // skips the discarded one and frees its space
    EXPECT_EQ(output(map, 2), no_error);
    EXPECT_EQ(consume(map), List{2});
}

TEST_F(RingBuffer, flags_that_do_not_exist_are_refused) {
    Map& map = ring();
    EXPECT_EQ(ring_reserve(map, 8, 1, self()), nullptr);
    EXPECT_EQ(output(map, 1, 4), std::errc::invalid_argument);
    EXPECT_EQ(output(map, 1, BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP), no_error);
}

TEST_F(RingBuffer, a_busy_record_holds_back_those_behind_it_and_a_discarded_one_vanishes) {
    Map& map = ring();
    auto* first = static_cast<std::uint64_t*>(reserve(map, 8));
    auto* second = static_cast<std::uint64_t*>(reserve(map, 8));
    auto* third = static_cast<std::uint64_t*>(reserve(map, 8));
    *first = 1;
    *second = 2;
    *third = 3;
    ring_submit(third, 0);
    EXPECT_EQ(consume(map), List{});
    ring_discard(second, 0);
    EXPECT_EQ(consume(map), List{});
    ring_submit(first, 0);
    EXPECT_EQ(consume(map), (List{1, 3}));
}

TEST_F(RingBuffer, the_consumer_stops_behind_the_record_that_it_did_not_like) {
    Map& map = ring();
    for (std::uint64_t i = 0; i < 3; ++i) {
        ASSERT_EQ(output(map, i), no_error);
    }
    const long result = ring_consume(
        map,
        [](void*, void* data, std::size_t) {
            return *static_cast<std::uint64_t*>(data) == 1 ? -7L : 0L;
        },
        nullptr);
    EXPECT_EQ(result, -7);
    EXPECT_EQ(consume(map), List{2});
}

TEST_F(RingBuffer, a_reserved_record_is_known_by_address_and_owner) {
    Map& map = ring();
    Map& other = ring(2 * kBytes);
    for (int lap = 0; lap < 200; ++lap) {
        auto* record = static_cast<std::byte*>(reserve(map, 1000));
        ASSERT_NE(record, nullptr);
        EXPECT_EQ(ring_of_record(record), &map);
        EXPECT_EQ(ring_record_size(map, record, self()), 1000U);
        EXPECT_EQ(ring_record_size(map, record + 8, self()), 0U);
        EXPECT_EQ(ring_record_size(map, record + 1, self()), 0U);
        EXPECT_EQ(ring_record_size(map, record, kOther), 0U);
        EXPECT_EQ(ring_record_size(other, record, self()), 0U);
        ring_submit(record, 0);
        EXPECT_EQ(ring_record_size(map, record, self()), 0U);
        consume(map);
        EXPECT_EQ(ring_record_size(map, record, self()), 0U);
    }
    std::uint64_t local = 0;
    EXPECT_EQ(ring_of_record(&local), nullptr);
    EXPECT_EQ(ring_record_size(map, &local, self()), 0U);
}

TEST_F(RingBuffer, the_consumer_is_woken_when_it_has_caught_up_or_is_forced_to) {
    static std::atomic<int> woken;
    woken.store(0);
    set_ring_hook([](Map&) noexcept { woken.fetch_add(1); });
    Map& map = ring();
    const auto settled = [] {
        task::Worker::synchronize();
        return woken.load();
    };
    ASSERT_EQ(output(map, 1), no_error);  // the consumer has consumed all before it
    EXPECT_EQ(settled(), 1);
    ASSERT_EQ(output(map, 2), no_error);  // it has not looked yet
    EXPECT_EQ(settled(), 1);
    ASSERT_EQ(output(map, 3, BPF_RB_FORCE_WAKEUP), no_error);
    EXPECT_EQ(settled(), 2);
    EXPECT_EQ(consume(map).size(), 3U);
    ASSERT_EQ(output(map, 4, BPF_RB_NO_WAKEUP), no_error);
    EXPECT_EQ(settled(), 2);
    EXPECT_EQ(consume(map).size(), 1U);
    ring_discard(reserve(map, 8), 0);
    EXPECT_EQ(settled(), 3);
    set_ring_hook(nullptr);
}

/// The consumer's position, as a user who has mapped its page writes it.
platform::Atomic<std::uint64_t>& consumer_position(Map& map) {
    return *reinterpret_cast<platform::Atomic<std::uint64_t>*>(sync::kArenaBase +
                                                               ring_layout(map).consumer_offset);
}

// The kernel looks for the oldest busy record for this, too.
TEST_F(RingBuffer, a_position_that_a_user_sets_ahead_gives_no_busy_record_away) {
    Map& map = ring();
    ASSERT_EQ(output(map, 1), no_error);
    void* const busy = reserve(map, 3000);
    ASSERT_NE(busy, nullptr);
    platform::Atomic<std::uint64_t>& position = consumer_position(map);
    position.store(16 + 3008, std::memory_order_release);
    EXPECT_EQ(reserve(map, 3000), nullptr);
    EXPECT_EQ(reserve(map, kBytes - 8 - 3008 - 8 + 8), nullptr);
    // What lies before it, and no more, is free.
    void* const behind = reserve(map, kBytes - 8 - 3008 - 8);
    ASSERT_NE(behind, nullptr);
    EXPECT_EQ(ring_record_size(map, busy, self()), 3000U);
    EXPECT_EQ(ring_dropped(map), 2U);
    ring_submit(busy, 0);
    void* const other = reserve(map, 2000);
    ASSERT_NE(other, nullptr);
    ring_discard(other, 0);
    ring_discard(behind, 0);
}

TEST_F(RingBuffer, a_position_that_a_user_sets_anywhere_leads_nobody_out_of_the_ring) {
    Map& map = ring();
    for (std::uint64_t value = 0; value < 20; ++value) {
        const std::uint64_t words[4] = {value, ~value, UINT32_MAX, UINT64_MAX >> 2};
        ASSERT_EQ(ring_output(map, words, sizeof words, 0, self()), no_error);
    }
    for (const std::uint64_t position :
         {std::uint64_t{1}, std::uint64_t{16}, std::uint64_t{24}, std::uint64_t{32},
          std::uint64_t{20} * 40 + 8, UINT64_MAX, UINT64_MAX - 7, std::uint64_t{1} << 63}) {
        consumer_position(map).store(position, std::memory_order_release);
        ring_consume(
            map,
            [](void* argument, void* data, std::size_t size) {
                const auto at = reinterpret_cast<std::uintptr_t>(data) - sync::kArenaBase -
                                ring_layout(*static_cast<Map*>(argument)).data_offset;
                EXPECT_LE(at + size, 2 * kBytes);
                return 0L;
            },
            &map);
        if (void* const record = reserve(map, 8)) {
            ring_discard(record, 0);
        }
    }
}

TEST_F(RingBuffer, a_dead_producers_record_is_discarded_wherever_the_consumer_says_that_it_is) {
    Map& map = ring();
    ASSERT_NE(ring_reserve(map, 1000, 0, kOther), nullptr);
    consumer_position(map).store(2016, std::memory_order_release);
    ops_of(map.type)->sweep(map, kOther);
    consumer_position(map).store(0, std::memory_order_release);
    ASSERT_EQ(output(map, 2), no_error);
    EXPECT_EQ(consume(map), List{2});
    void* const large = reserve(map, 4000);
    ASSERT_NE(large, nullptr);
    ring_discard(large, 0);
}

// What libbpf's ring_buffer does with the descriptor of the map.
TEST_F(RingBuffer, a_consumer_that_maps_the_pages_sees_the_records) {
    Map& map = ring();
    const RingLayout layout = ring_layout(map);
    const int fd = sync::Arena::descriptor();
    const auto view = [fd](std::uint64_t offset, std::size_t bytes, void* at, int protection) {
        return ::mmap(at, bytes, protection, MAP_SHARED | (at == nullptr ? 0 : MAP_FIXED), fd,
                      static_cast<off_t>(offset));
    };
    auto* consumer = static_cast<std::atomic<std::uint64_t>*>(
        view(layout.consumer_offset, 4096, nullptr, PROT_READ | PROT_WRITE));
    ASSERT_NE(consumer, MAP_FAILED);
    auto* area = static_cast<std::byte*>(
        ::mmap(nullptr, 4096 + 2 * kBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_EQ(view(layout.producer_offset, 4096, area, PROT_READ), area);
    ASSERT_EQ(view(layout.data_offset, kBytes, area + 4096, PROT_READ), area + 4096);
    ASSERT_EQ(view(layout.data_offset, kBytes, area + 4096 + kBytes, PROT_READ),
              area + 4096 + kBytes);
    EXPECT_EQ(layout.data_bytes, kBytes);
    const auto* producer = reinterpret_cast<std::atomic<std::uint64_t>*>(area);
    for (std::uint64_t i = 0; i < 2000; ++i) {
        ASSERT_EQ(output(map, i), no_error);
        const std::uint64_t position = consumer->load();
        ASSERT_EQ(producer->load(), position + 16);
        const auto* record =
            reinterpret_cast<const std::uint32_t*>(area + 4096 + (position & (kBytes - 1)));
        ASSERT_EQ(record[0], 8U);
        ASSERT_EQ(*reinterpret_cast<const std::uint64_t*>(record + 2), i);
        consumer->store(position + 16);
    }
    ::munmap(consumer, 4096);
    ::munmap(area, 4096 + 2 * kBytes);
}

TEST_F(RingBuffer, a_member_that_joins_later_maps_what_wraps) {
    Map& map = ring();
    const RingLayout layout = ring_layout(map);
    auto* data = reinterpret_cast<std::byte*>(sync::kArenaBase + layout.data_offset);
    // As a joining process has it: one linear view.
    ASSERT_EQ(::mmap(data + kBytes, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                     sync::Arena::descriptor(), static_cast<off_t>(layout.data_offset + kBytes)),
              data + kBytes);
    ASSERT_EQ(map_mirrors(sync::Arena::descriptor()), no_error);
    data[100] = std::byte{42};
    EXPECT_EQ(data[kBytes + 100], std::byte{42});
}

TEST_F(RingBuffer, windows_of_dead_rings_are_used_again) {
    std::uint64_t offset = 0;
    for (int i = 0; i < 600; ++i) {
        Map& map = ring(1U << 20);
        EXPECT_TRUE(offset == 0 || ring_layout(map).data_offset == offset);
        offset = ring_layout(map).data_offset;
        EXPECT_EQ(ring_query(map, BPF_RB_PROD_POS), 0U);
        EXPECT_EQ(output(map, 1), no_error);
        EXPECT_EQ(consume(map), List{1});
        put_user(map);
        task::wait_until([&] { return sync::Pool::load(&map).state() == sync::kStateFree; });
        if (i > 20) {
            break;
        }
    }
}

TEST_F(RingBuffer, every_record_of_four_producers_arrives_once_and_in_their_order) {
    constexpr std::uint64_t kEach = 20000;
    constexpr unsigned kProducers = 4;
    Map& map = ring();
    std::vector<std::thread> producers;
    for (std::uint64_t producer = 0; producer < kProducers; ++producer) {
        producers.push_back(task::task_thread([&map, producer] {
            for (std::uint64_t i = 0; i < kEach;) {
                const std::uint64_t value = producer << 32 | i;
                const std::uint64_t words[3] = {value, value, value};
                // Odd sizes, so that records lie everywhere.
                const std::size_t size = 8 + (i % 3) * 8;
                if (ring_output(map, words, size, 0, self()) == no_error) {
                    ++i;
                } else {
                    std::this_thread::yield();
                }
            }
        }));
    }
    std::vector<std::uint64_t> next(kProducers, 0);
    std::uint64_t total = 0;
    task::wait_until([&] {
        for (std::uint64_t value : consume(map)) {
            EXPECT_EQ(value & UINT32_MAX, next[value >> 32]++);
            ++total;
        }
        return total == kEach * kProducers;
    });
    for (std::thread& producer : producers) {
        producer.join();
    }
    EXPECT_EQ(consume(map), List{});
}

}  // namespace
}  // namespace taskwork::map
