// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/mman.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "library/test_library.hpp"

namespace taskwork::library {
namespace {

class TraceTest : public testing::Test {
protected:
    void SetUp() override {
        ASSERT_EQ(init(), kNoError);
        me_ = this_task();
    }
    void TearDown() override { trace::stop(); }

    static nlohmann::json written() {
        const int file = ::memfd_create("trace", MFD_CLOEXEC);
        EXPECT_EQ(trace::write_json(file), kNoError);
        std::string text(static_cast<std::size_t>(::lseek(file, 0, SEEK_END)), '\0');
        EXPECT_EQ(::pread(file, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
        ::close(file);
        return nlohmann::json::parse(text);
    }
    static std::size_t count(const nlohmann::json& trace, const std::string& phase) {
        std::size_t found = 0;
        for (const auto& event : trace["traceEvents"]) {
            found += event["ph"] == phase ? 1 : 0;
        }
        return found;
    }
    Task me_;
};

TEST_F(TraceTest, holds_a_span_a_slice_and_an_arrow_for_each_schedule) {
    const Target target;
    ASSERT_EQ(trace::start(1000), kNoError);
    EXPECT_EQ(trace::start(1000), std::errc::device_or_resource_busy);
    Work work;
    ASSERT_EQ(schedule(work, target.task(), anywhere([]() noexcept {})), kNoError);
    wait_until([&] { return work.state() == Work::State::idle; });
    ASSERT_EQ(schedule(work, me_, at_safe_point([]() noexcept {})), kNoError);
    EXPECT_TRUE(work.cancel());
    trace::stop();
    ASSERT_EQ(schedule(work, me_, anywhere([]() noexcept {})), kNoError);  // not recorded
    const nlohmann::json trace = written();
    EXPECT_EQ(count(trace, "b"), 2U);
    EXPECT_EQ(count(trace, "e"), 2U);
    EXPECT_EQ(count(trace, "B"), 1U);
    EXPECT_EQ(count(trace, "E"), 1U);
    EXPECT_EQ(count(trace, "s"), 2U);
    EXPECT_EQ(count(trace, "f"), 1U);
    std::vector<std::string> outcomes;
    for (const auto& event : trace["traceEvents"]) {
        if (event["ph"] == "e") {
            outcomes.push_back(event["args"]["outcome"]);
        }
        if (event["ph"] == "B") {
            EXPECT_EQ(event["tid"], target.task().thread_id());
        }
        if (event["ph"] == "s") {
            EXPECT_EQ(event["tid"], me_.thread_id());
        }
    }
    EXPECT_EQ(outcomes, (std::vector<std::string>{"ran", "cancelled"}));
}

TEST_F(TraceTest, of_one_work_leaves_the_others_out) {
    Work wanted;
    Work other;
    ASSERT_EQ(trace::start(16, &wanted), std::errc::invalid_argument) << "it has no context yet";
    ASSERT_EQ(schedule(wanted, me_, anywhere([]() noexcept {})), kNoError);
    ASSERT_EQ(trace::start(16, &wanted), kNoError);
    ASSERT_EQ(schedule(wanted, me_, anywhere([]() noexcept {})), kNoError);
    ASSERT_EQ(schedule(other, me_, anywhere([]() noexcept {})), kNoError);
    trace::stop();
    EXPECT_EQ(count(written(), "b"), 1U);
}

TEST_F(TraceTest, a_full_ring_keeps_the_newest_and_counts_all) {
    ASSERT_EQ(trace::start(64), kNoError);
    Work work;
    for (int round = 0; round < 1000; ++round) {
        ASSERT_EQ(schedule(work, me_, anywhere([]() noexcept {})), kNoError);
    }
    trace::stop();
    EXPECT_EQ(trace::recorded(), 4000U);  // pending, scheduled, running, ran
    const nlohmann::json trace = written();
    EXPECT_LE(count(trace, "b"), 32U);
    EXPECT_GE(count(trace, "b"), 8U);
    EXPECT_LE(count(trace, "e"), count(trace, "b"));
}

TEST_F(TraceTest, an_empty_trace_is_valid_and_a_bad_descriptor_is_an_error) {
    ASSERT_EQ(trace::start(16), kNoError);
    trace::stop();
    EXPECT_EQ(count(written(), "b"), 0U);
    EXPECT_EQ(trace::write_json(-1), std::errc::bad_file_descriptor);
    EXPECT_EQ(trace::start(0), std::errc::invalid_argument);
}

}  // namespace
}  // namespace taskwork::library
