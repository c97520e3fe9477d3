// SPDX-License-Identifier: Apache-2.0
//
// L.3 instruction by instruction: another thread cancels a work and waits while its target stands
// after the first, second, ... instruction of the run point that runs it.
#include <atomic>

#include "library/test_library.hpp"
#include "task/single_step.hpp"

namespace taskwork::library {
namespace {

constexpr std::uint64_t kMillisecond = 1'000'000;

/// Plain data but for what the threads tell each other.
struct Stand {
    Work work;
    std::atomic<int> asked{0};
    std::atomic<int> returned{0};
    std::atomic<int> began{0};
    std::atomic<int> over{0};
    int round = 0;
    int began_too_late = 0;
};
Stand* stand = nullptr;

/// For as long as the canceller may take to come back, the target stands here. One that waits for
/// the callback does not come back; then nothing is said, however slow it is.
void let_it_cancel(void*) {
    stand->asked = stand->round;
    const std::uint64_t end = platform::now_ns() + 5 * kMillisecond;
    while (stand->returned != stand->round && platform::now_ns() < end) {
    }
}

void run_point(void*) { safe_point(); }

TEST(CancelAndWait, no_callback_begins_after_it_returned_wherever_the_target_stood) {
    if (!task::kCanSingleStep) {
        GTEST_SKIP() << "stepping needs the shipped code";
    }
    ASSERT_EQ(init(), kNoError);
    Stand here;
    stand = &here;
    const Task me = this_task();
    const Target canceller([&here] {
        const int round = here.asked;
        if (here.returned == round) {
            std::this_thread::yield();
            return;
        }
        EXPECT_EQ(here.work.cancel_and_wait(), kNoError);
        EXPECT_EQ(here.began == round, here.over == round) << "it returned while the callback ran";
        here.returned = round;
    });
    const auto schedule_one = [&] {
        ASSERT_EQ(schedule(here.work, me, at_safe_point([]() noexcept {
                               stand->began = stand->round;
                               stand->began_too_late += stand->returned == stand->round ? 1 : 0;
                               stand->over = stand->round;
                           }),
                           Mode::resume),
                  kNoError);
    };
    here.round = -1;
    schedule_one();
    safe_point();  // What only a first call does (lazy binding) is not among its instructions.
    schedule_one();
    const std::uint64_t steps =
        task::single_step(run_point, nullptr, [](void*) {}, nullptr, 1, 1, false);
    ASSERT_GT(steps, 100U);
    int cancelled = 0;
    for (std::uint64_t at = 1; at <= steps; ++at) {
        here.round = static_cast<int>(at);
        schedule_one();
        task::single_step(run_point, nullptr, let_it_cancel, nullptr, at, 0, false);
        here.asked = here.round;
        wait_until([&] { return here.returned == here.round; });
        ASSERT_EQ(here.began_too_late, 0) << "a callback began after its canceller had waited; the "
                                             "target stood after instruction "
                                          << at << " of " << steps;
        cancelled += here.began == here.round ? 0 : 1;
    }
    EXPECT_GT(cancelled, 10);
    EXPECT_LT(cancelled, static_cast<int>(steps));
}

}  // namespace
}  // namespace taskwork::library
