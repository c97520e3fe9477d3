// SPDX-License-Identifier: Apache-2.0
#include "sync/grace.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "sync/arena.hpp"

namespace taskwork::sync {
namespace {

ReaderSlot slots[2];

bool walk(Flavour, std::uint64_t epoch) noexcept {
    return slots[0].is_open_since(epoch) || slots[1].is_open_since(epoch);
}

class GraceTest : public testing::Test {
protected:
    void SetUp() override {
        ASSERT_TRUE(Arena::create(std::size_t{4} << 20).has_value());
        ASSERT_EQ(GracePeriods::create(), no_error);
        GracePeriods::set_reader_walk(walk);
        GracePeriods::register_process();
        slots[0].reset();
        slots[1].reset();
    }
    void TearDown() override { Arena::destroy(); }
    GracePeriods& grace() { return GracePeriods::get(); }
};

TEST_F(GraceTest, ends_at_once_without_readers) {
    EXPECT_TRUE(grace().poll(grace().start(), Flavour::brief));
}

TEST_F(GraceTest, waits_for_a_section_that_was_open_and_not_for_later_ones) {
    slots[0].enter();
    const GraceTicket ticket = grace().start();
    slots[1].enter();
    EXPECT_FALSE(grace().poll(ticket, Flavour::brief));
    slots[0].exit();
    EXPECT_TRUE(grace().poll(ticket, Flavour::brief)) << "the later section must not hold it up";
    slots[1].exit();
}

TEST_F(GraceTest, sections_nest_and_close_with_the_outermost) {
    slots[0].enter();
    slots[0].enter();
    const GraceTicket ticket = grace().start();
    slots[0].exit();
    EXPECT_TRUE(slots[0].is_open());
    EXPECT_FALSE(grace().poll(ticket, Flavour::brief));
    slots[0].exit();
    EXPECT_TRUE(grace().poll(ticket, Flavour::brief));
}

TEST_F(GraceTest, an_inner_section_keeps_the_epoch_of_the_outer_one) {
    slots[0].enter();
    const GraceTicket ticket = grace().start();
    slots[0].enter();
    slots[0].exit();
    EXPECT_FALSE(grace().poll(ticket, Flavour::brief));
    slots[0].exit();
}

TEST_F(GraceTest, a_reset_slot_holds_nothing_up_and_a_late_exit_is_harmless) {
    slots[0].enter();
    slots[0].enter();
    const GraceTicket ticket = grace().start();
    slots[0].reset();
    EXPECT_TRUE(grace().poll(ticket, Flavour::brief));
    slots[0].exit();
    EXPECT_FALSE(slots[0].is_open());
}

// The age of what a reader sees, as rcutorture measures it: an object seen inside a section may
// have been unlinked, but never be released.
TEST_F(GraceTest, a_reader_never_sees_an_object_past_its_grace_period) {
    struct Object {
        platform::Atomic<std::uint32_t> released;
    };
    static Object objects[64];
    static platform::Atomic<std::uint32_t> published;
    for (auto& object : objects) {
        object.released.store(0, std::memory_order_relaxed);
    }
    published.store(0, std::memory_order_relaxed);
    platform::Atomic<std::uint32_t> stop;
    platform::Atomic<std::uint64_t> seen_released;
    std::thread reader([&] {
        while (stop.load(std::memory_order_relaxed) == 0) {
            slots[0].enter();
            const std::uint32_t index = published.load(std::memory_order_acquire);
            for (int look = 0; look < 10; ++look) {
                if (objects[index].released.load(std::memory_order_acquire) != 0) {
                    seen_released.fetch_add(1, std::memory_order_relaxed);
                }
            }
            slots[0].exit();
        }
    });
    for (std::uint32_t round = 1; round < 20'000; ++round) {
        const std::uint32_t before = (round - 1) % 64;
        objects[round % 64].released.store(0, std::memory_order_release);
        published.store(round % 64, std::memory_order_release);
        const GraceTicket ticket = grace().start();
        while (!grace().poll(ticket, Flavour::brief)) {
        }
        objects[before].released.store(1, std::memory_order_release);
    }
    stop.store(1, std::memory_order_relaxed);
    reader.join();
    EXPECT_EQ(seen_released.load(std::memory_order_relaxed), 0U);
}

}  // namespace
}  // namespace taskwork::sync
