// SPDX-License-Identifier: Apache-2.0
//
// Records of bpf_perf_event_output, consumed by libbpf's perf_buffer.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include "event/event.hpp"
#include "map/program_array.hpp"
#include "uapi/descriptors.hpp"
#include "uapi/test_host.hpp"
#include "uapi/thread.hpp"

namespace taskwork::uapi {
namespace {

class PerfBuffer : public HostTest {
protected:
    void SetUp() override {
        HostTest::SetUp();
        event::EventTable::get().include_host.store(1, std::memory_order_relaxed);
        array_ = bpf_map_create(BPF_MAP_TYPE_PERF_EVENT_ARRAY, "events", 4, 4,
                                static_cast<std::uint32_t>(libbpf_num_possible_cpus()), nullptr);
        ASSERT_GE(array_, 0);
    }
    void TearDown() override {
        perf_buffer__free(buffer_);
        close(array_);
    }
    void consume(int array, std::size_t pages = 2) {
        buffer_ = perf_buffer__new(array, pages, took, lost, this, nullptr);
        ASSERT_NE(buffer_, nullptr) << libbpf_log << last_diagnosis();
    }
    static void took(void* self, int processor, void* data, std::uint32_t size) {
        std::uint64_t number = 0;
        ASSERT_GE(size, sizeof number);
        std::memcpy(&number, data, sizeof number);
        auto& test = *static_cast<PerfBuffer*>(self);
        test.numbers_.push_back(number);
        test.sizes_.push_back(size);
        test.processors_.push_back(processor);
    }
    static void lost(void* self, int, unsigned long long count) {
        static_cast<PerfBuffer*>(self)->lost_ += count;
    }
    /// What a program on this processor does.
    std::errc send(std::uint64_t number, std::uint64_t flags = 0, std::uint32_t processor = 0,
                   std::size_t size = sizeof(std::uint64_t)) {
        int error = 0;
        const auto object = object_as<MapObject>(array_, error);
        const ElementSection section;
        std::vector<std::byte> bytes(std::max(size, sizeof number));
        std::memcpy(bytes.data(), &number, sizeof number);
        return map::perf_output(object->map(), flags, processor, bytes.data(), size,
                                task::current()->process);
    }

    int array_ = -1;
    perf_buffer* buffer_ = nullptr;
    std::vector<std::uint64_t> numbers_;
    std::vector<std::uint32_t> sizes_;
    std::vector<int> processors_;
    std::uint64_t lost_ = 0;
};

TEST_F(PerfBuffer, delivers_records_in_order_over_many_laps) {
    consume(array_);
    std::uint64_t number = 0;
    while (number < 3000) {
        for (int burst = 0; burst < 20; ++burst) {
            ASSERT_EQ(send(number++), no_error);
        }
        while (numbers_.size() < number) {
            ASSERT_GE(perf_buffer__poll(buffer_, 10'000), 1) << numbers_.size();
        }
    }
    for (std::uint64_t i = 0; i < number; ++i) {
        ASSERT_EQ(numbers_[i], i);
        ASSERT_EQ(sizes_[i], 12U);  // 8 and what the kernel pads it with
        ASSERT_EQ(processors_[i], 0);
    }
    EXPECT_EQ(lost_, 0U);
    EXPECT_EQ(perf_buffer__poll(buffer_, 0), 0) << "it has caught up";
}

TEST_F(PerfBuffer, wakes_a_consumer_that_waits) {
    consume(array_);
    std::thread producer = task::task_thread([this] { EXPECT_EQ(send(7), no_error); });
    EXPECT_EQ(perf_buffer__poll(buffer_, 10'000), 1);
    producer.join();
    EXPECT_EQ(numbers_, std::vector<std::uint64_t>{7});
}

TEST_F(PerfBuffer, tells_how_many_records_found_no_room) {
    consume(array_, 1);
    constexpr std::uint64_t kSent = 1000;
    std::uint64_t refused = 0;
    for (std::uint64_t number = 0; number < kSent; ++number) {
        refused += send(number, 0, 0, 100) == std::errc::no_space_on_device ? 1U : 0U;
    }
    task::Worker::synchronize();
    while (numbers_.size() + lost_ < kSent) {
        while (perf_buffer__poll(buffer_, 0) > 0) {
        }
        // The next record is preceded by what was lost before it.
        const std::errc result = send(kSent, 0, 0, 100);
        ASSERT_TRUE(result == no_error || result == std::errc::no_space_on_device);
        if (result == no_error) {
            while (numbers_.empty() || numbers_.back() != kSent) {
                ASSERT_GE(perf_buffer__poll(buffer_, 10'000), 0);
            }
            numbers_.pop_back();
        }
    }
    EXPECT_EQ(numbers_.size() + lost_, kSent);
    EXPECT_GE(lost_, refused);
    EXPECT_GT(numbers_.size(), 10U);
    EXPECT_GT(lost_, 100U);
}

TEST_F(PerfBuffer, what_cannot_be_sent_is_refused_as_by_the_kernel) {
    const auto processors = static_cast<std::uint32_t>(libbpf_num_possible_cpus());
    EXPECT_EQ(send(1), std::errc::no_such_file_or_directory) << "no event yet";
    EXPECT_EQ(send(1, processors), std::errc::argument_list_too_long);
    EXPECT_EQ(send(1, std::uint64_t{1} << 32), std::errc::invalid_argument);

    perf_event_attr attr{};
    attr.type = PERF_TYPE_SOFTWARE;
    attr.size = sizeof attr;
    attr.config = PERF_COUNT_SW_BPF_OUTPUT;
    attr.sample_type = PERF_SAMPLE_RAW;
    attr.disabled = 1;
    int event = static_cast<int>(syscall(SYS_perf_event_open, &attr, -1, 0, -1, 0));
    ASSERT_GE(event, 0);
    const std::uint32_t zero = 0;
    ASSERT_EQ(bpf_map_update_elem(array_, &zero, &event, BPF_ANY), 0);
    EXPECT_EQ(send(1), std::errc::operation_not_supported) << "disabled";
    ASSERT_EQ(ioctl(event, PERF_EVENT_IOC_ENABLE, 0), 0);
    EXPECT_EQ(send(1), std::errc::no_space_on_device) << "nobody has mapped it";
    EXPECT_EQ(send(1, 0, 1), std::errc::operation_not_supported) << "of another processor";
    EXPECT_EQ(mmap(nullptr, 4 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, event, 0), MAP_FAILED)
        << "the data are no power of two";
    void* const pages = mmap(nullptr, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, event, 0);
    ASSERT_NE(pages, MAP_FAILED);
    EXPECT_EQ(send(1), no_error);
    munmap(pages, 3 * 4096);

    attr.config = PERF_COUNT_SW_CPU_CLOCK;
    const int clock = static_cast<int>(syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0));
    ASSERT_GE(clock, 0);
    ASSERT_EQ(bpf_map_update_elem(array_, &zero, &clock, BPF_ANY), 0);
    EXPECT_EQ(send(1), std::errc::invalid_argument) << "an event of another kind";
    ASSERT_EQ(bpf_map_delete_elem(array_, &zero), 0);
    EXPECT_EQ(send(1), std::errc::no_such_file_or_directory);
    close(clock);
    close(event);
}

TEST_F(PerfBuffer, an_entry_keeps_its_event_until_the_last_user_leaves) {
    consume(array_);
    ASSERT_EQ(send(1), no_error);
    perf_buffer__free(buffer_);  // closes the events and takes them out
    buffer_ = nullptr;
    EXPECT_EQ(send(1), std::errc::no_such_file_or_directory);
}

/// The whole way: a program that is fired by a clock, its records consumed meanwhile.
TEST_F(PerfBuffer, a_programs_records_arrive_each_once) {
    TestObject object("perf_output");
    ASSERT_EQ(object.load(), 0) << libbpf_log << last_diagnosis();
    ASSERT_NO_FATAL_FAILURE(consume(object.map_descriptor("records"), 8));
    perf_event_attr attr{};
    attr.type = PERF_TYPE_SOFTWARE;
    attr.size = sizeof attr;
    attr.config = PERF_COUNT_SW_CPU_CLOCK;
    attr.sample_period = 1'000'000;
    const int clock = static_cast<int>(syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0));
    ASSERT_GE(clock, 0);
    bpf_link* const link = bpf_program__attach_perf_event(object.program("in_nmi"), clock);
    ASSERT_NE(link, nullptr) << libbpf_log << last_diagnosis();
    while (numbers_.size() < 20) {
        ASSERT_GE(perf_buffer__poll(buffer_, 0), 0);
    }
    bpf_link__destroy(link);
    while (perf_buffer__poll(buffer_, 0) > 0) {
    }
    EXPECT_EQ(lost_, 0U);
    std::set<std::uint64_t> different(numbers_.begin(), numbers_.end());
    EXPECT_EQ(different.size(), numbers_.size());
    EXPECT_EQ(*different.rbegin(), numbers_.size()) << "none is missing before the last";
}

}  // namespace
}  // namespace taskwork::uapi
