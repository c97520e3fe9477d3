// SPDX-License-Identifier: Apache-2.0
//
// Ring buffers consumed by libbpf's ring_buffer, and by a bare epoll loop.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "uapi/test_host.hpp"

namespace taskwork::uapi {
namespace {

struct Record {
    std::uint32_t context;
    std::uint32_t number;
    std::uint64_t time_ns;
    char text[8];
};

/// tests/bpf/check_ringbuf: each run of `in_task` leaves the records 1 and 2.
class Ring : public HostTest {
protected:
    void SetUp() override {
        HostTest::SetUp();
        ASSERT_EQ(object_.load(), 0) << libbpf_log;
        ring_ = object_.map_descriptor("ring");
        consumer_ = ring_buffer__new(ring_, consume, this, nullptr);
        ASSERT_NE(consumer_, nullptr);
    }
    void TearDown() override { ring_buffer__free(consumer_); }

    static int consume(void* argument, void* data, std::size_t size) {
        auto& self = *static_cast<Ring*>(argument);
        EXPECT_EQ(size, sizeof(Record));
        self.numbers_.push_back(static_cast<Record*>(data)->number);
        return self.verdict_;
    }

    TestObject object_{"check_ringbuf"};
    int ring_ = -1;
    ring_buffer* consumer_ = nullptr;
    std::vector<std::uint32_t> numbers_;
    int verdict_ = 0;
};

TEST_F(Ring, poll_delivers_what_was_submitted_and_then_waits) {
    for (int round = 0; round < 200; ++round) {  // several laps of the ring
        ASSERT_EQ(ring_buffer__poll(consumer_, 0), 0);
        ASSERT_EQ(object_.run("in_task"), 0);
        ASSERT_EQ(ring_buffer__poll(consumer_, 10000), 2);
        ASSERT_EQ(numbers_, (std::vector<std::uint32_t>{1, 2}));
        numbers_.clear();
    }
}

TEST_F(Ring, a_consumer_that_has_caught_up_is_not_woken_again) {
    ASSERT_EQ(object_.run("in_task"), 0);
    ASSERT_EQ(ring_buffer__poll(consumer_, 10000), 2);
    epoll_event event{};
    EXPECT_EQ(epoll_wait(ring_buffer__epoll_fd(consumer_), &event, 1, 20), 0);
    EXPECT_EQ(ring_buffer__poll(consumer_, 20), 0);
}

TEST_F(Ring, a_blocked_consumer_is_woken) {
    std::thread producer([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));  // likely blocked by then
        EXPECT_EQ(object_.run("in_task"), 0);
    });
    while (numbers_.size() < 2) {
        const int polled = ring_buffer__poll(consumer_, 10000);
        EXPECT_GE(polled, 0);  // 0: woken for the discarded record
        if (polled < 0) {
            break;
        }
    }
    producer.join();
    EXPECT_EQ(numbers_, (std::vector<std::uint32_t>{1, 2}));
}

// As with the kernel, whose polling is level-triggered: what was left is offered again at once.
TEST_F(Ring, a_consumer_that_left_records_is_woken_for_them) {
    ASSERT_EQ(object_.run("in_task"), 0);
    verdict_ = -1;
    EXPECT_EQ(ring_buffer__poll(consumer_, 10000), -1);
    verdict_ = 0;
    EXPECT_EQ(ring_buffer__poll(consumer_, 10000), 1);
    EXPECT_EQ(numbers_, (std::vector<std::uint32_t>{1, 2}));
}

TEST_F(Ring, consuming_without_waiting_settles_the_next_wait_too) {
    ASSERT_EQ(object_.run("in_task"), 0);
    EXPECT_EQ(ring_buffer__consume(consumer_), 2);
    EXPECT_EQ(ring_buffer__poll(consumer_, 20), 0);
    pollfd waiting{.fd = ring_, .events = POLLIN, .revents = 0};
    EXPECT_EQ(poll(&waiting, 1, 0), 0);
    ASSERT_EQ(object_.run("in_task"), 0);
    EXPECT_EQ(poll(&waiting, 1, 10000), 1);
}

TEST_F(Ring, only_the_consumers_page_can_be_written) {
    const std::size_t page = 4096;
    EXPECT_EQ(mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_SHARED, ring_, page), MAP_FAILED);
    EXPECT_EQ(errno, EPERM);
    EXPECT_EQ(mmap(nullptr, 5 * page, PROT_READ, MAP_SHARED, ring_, page), MAP_FAILED);
    EXPECT_EQ(errno, EINVAL);
    // A part of the data, seen through its second copy.
    ASSERT_EQ(object_.run("in_task"), 0);
    auto* first = static_cast<char*>(mmap(nullptr, page, PROT_READ, MAP_SHARED, ring_, 2 * page));
    auto* second = static_cast<char*>(mmap(nullptr, page, PROT_READ, MAP_SHARED, ring_, 3 * page));
    ASSERT_NE(first, MAP_FAILED);
    ASSERT_NE(second, MAP_FAILED);
    EXPECT_EQ(reinterpret_cast<Record*>(first + 8)->number, 1u);
    EXPECT_EQ(reinterpret_cast<Record*>(second + 8)->number, 1u);
    EXPECT_NE(mprotect(first, page, PROT_READ | PROT_WRITE), 0);
    munmap(first, page);
    munmap(second, page);
}

}  // namespace
}  // namespace taskwork::uapi
