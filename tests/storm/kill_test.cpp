// SPDX-License-Identifier: Apache-2.0
//
// A storm of deaths: processes of one domain schedule onto each other and themselves, cancel,
// delete, claim and update a map, with events on top; one of them is killed by SIGKILL at a random
// instant and another one joins in its place, again and again. The others go on, and whenever it is
// quiet the counts balance, no work, context, claim, reader slot or task of a dead one is left.
//
//   TASKWORK_STORM_KILLS   how many (300; 60 where a sanitizer slows it; 10,000 with
//   TASKWORK_PROVE) TASKWORK_SEED          the sequence of random numbers
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <iostream>
#include <thread>

#include "tests/storm/storm.hpp"

namespace taskwork::storm {
namespace {

constexpr std::uint32_t kMembers = 4;
constexpr std::uint32_t kThreads = 2;  ///< Of a member; targets are members * kThreads.
constexpr std::uint64_t kBetweenLooks = 100;

constexpr bool kSlow = kThreadSanitizer || kAddressSanitizer;

class KillStorm : public Storm {
protected:
    struct Member {
        pid_t pid = 0;
        std::array<std::uint64_t, kThreads> living{};  ///< Turns of its threads at the last look.
    };

    static std::uint64_t event_us() { return kSlow ? 2000 : 200; }

    /// What a thread of a member does, until it is told to stop or killed.
    void live(std::uint32_t target, std::uint64_t seed) {
        if (task::register_current(0, 0) != no_error) {
            ::_exit(3);
        }
        {
            Taking taking(*scene_, target, seed, event_us());
            taking.storm();
        }
        task::exit_current();
    }

    void start(std::uint32_t index) {
        Member& member = members_[index];
        const std::uint64_t seed = seed_ + ++born_ * 1000;
        for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
            Target& target = scene_->targets[index * kThreads + thread];
            target.quiet.store(0, std::memory_order_relaxed);
            member.living[thread] = target.living.load(std::memory_order_relaxed);
        }
        member.pid = ::fork();
        ASSERT_GE(member.pid, 0);
        if (member.pid != 0) {
            return;
        }
        if (task::join_process("storm member") != no_error) {
            ::_exit(3);
        }
        if (kThreadSanitizer) {  // No threads in a child of a process with threads.
            live(index * kThreads, seed);
        } else {
            std::thread second([&] { live(index * kThreads + 1, seed + 1); });
            live(index * kThreads, seed);
            second.join();
        }
        ::_exit(0);
    }

    /// Threads of a member that can be there.
    static constexpr std::uint32_t threads_each() { return kThreadSanitizer ? 1 : kThreads; }

    /// Stops for a moment, and looks at everything.
    [[nodiscard]] bool all_is_well() {
        if (!await("every member goes on", [&] {
                for (std::uint32_t index = 0; index < kMembers; ++index) {
                    for (std::uint32_t thread = 0; thread < threads_each(); ++thread) {
                        const Target& target = scene_->targets[index * kThreads + thread];
                        if (target.living.load(std::memory_order_relaxed) <
                            members_[index].living[thread] + 20) {
                            return false;
                        }
                    }
                }
                return true;
            })) {
            return false;
        }
        const bool quiet = calm_down(20'000, [&] {
            for (std::uint32_t index = 0; index < kMembers; ++index) {
                for (std::uint32_t thread = 0; thread < threads_each(); ++thread) {
                    if (scene_->targets[index * kThreads + thread].quiet.load(
                            std::memory_order_acquire) == 0) {
                        return false;
                    }
                }
            }
            return true;
        });
        const task::TaskTable& table = task::TaskTable::get();
        const bool well = quiet &&
                          await("the dead are swept",
                                [&] {
                                    return table.processes.count_free() ==
                                               table.processes.count() - 1 - kMembers &&
                                           table.tasks.count_free() ==
                                               table.tasks.count() - 2 - kMembers * threads_each();
                                }) &&
                          await("a grace period ends: no reader slot is open",
                                [&] { return !reader_is_open(); }) &&
                          await("K130: there is a context for each slot in use",
                                [&] { return contexts_in_use() == slots_in_use(); });
        if (well) {
            expect_balance();
        }
        for (std::uint32_t index = 0; index < kMembers; ++index) {
            for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
                members_[index].living[thread] =
                    scene_->targets[index * kThreads + thread].living.load(
                        std::memory_order_relaxed);
            }
        }
        enter(Phase::storm);
        return well && !HasFailure();
    }

    [[nodiscard]] bool reader_is_open() const {
        task::TaskTable& table = task::TaskTable::get();
        for (std::uint32_t index = 0; index < table.tasks.count(); ++index) {
            for (const sync::ReaderSlot& slot : table.task_at(index).readers) {
                if (slot.is_open()) {
                    return true;
                }
            }
        }
        return false;
    }

    void expect_balance() {
        const Sum books = sum();
        const defer::WorkCounts counts = defer::counts(defer::WorkTable::get().domain);
        EXPECT_EQ(counts.scheduled, counts.ran + counts.cancelled + counts.dropped) << state();
        // A victim may die between an end and its book: once a thread, and level.
        const std::uint64_t slack = kills_ * kThreads * 3;
        EXPECT_LE(books.scheduled, counts.scheduled) << state();
        EXPECT_LE(counts.scheduled, books.scheduled + slack) << state();
        EXPECT_LE(books.ran, counts.ran + slack) << state();
        EXPECT_LE(counts.ran, books.ran + slack) << state();
    }

    Member members_[kMembers];
    std::uint64_t born_ = 0;
    std::uint64_t kills_ = 0;
};

TEST_F(KillStorm, members_killed_at_random_instants_leave_the_others_going_and_nothing_behind) {
    const std::uint64_t wanted =
        setting("TASKWORK_STORM_KILLS", is_long() ? 10'000 : (kSlow ? 60 : 300));
    Random random;
    random.start(seed_);
    const std::uint64_t start_ns = platform::now_ns();
    for (std::uint32_t index = 0; index < kMembers; ++index) {
        start(index);
    }
    bool well = true;
    std::uint64_t refused = 0;
    std::uint64_t recycled = 0;
    while (well && kills_ < wanted) {
        // Of the newest ones, some are joining still.
        ::usleep(
            static_cast<useconds_t>(random.below(4) == 0 ? random.below(100) : random.below(2500)));
        const auto index = static_cast<std::uint32_t>(random.below(kMembers));
        ::kill(members_[index].pid, SIGKILL);
        int status = 0;
        ASSERT_EQ(::waitpid(members_[index].pid, &status, 0), members_[index].pid);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
            // Found no place: the dead were not swept as fast as they fell.
            ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 3)
                << "status " << status << "\n"
                << state();
            ++refused;
        }
        ++kills_;
        start(index);
        if (kills_ % 10 == 0) {
            recycled += recycle();
            well = !HasFailure();
        }
        if (well && (kills_ % kBetweenLooks == 0 || kills_ == wanted)) {
            well = all_is_well();
        }
    }
    const double seconds = static_cast<double>(platform::now_ns() - start_ns) / 1e9;
    enter(Phase::stop);
    for (Member& member : members_) {
        if (!well) {
            ::kill(member.pid, SIGKILL);
        }
        int status = 0;
        ASSERT_EQ(::waitpid(member.pid, &status, 0), member.pid);
        if (well) {
            EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
        }
    }
    ASSERT_TRUE(well) << "after " << kills_ << " kills";
    expect_whole();
    expect_balance();
    const Sum books = sum();
    const defer::WorkCounts counts = defer::counts(defer::WorkTable::get().domain);
    if (!kThreadSanitizer) {  // Single threads under it get their signals late, but get them.
        EXPECT_GT(counts.dropped, 0U) << "some died with works pending";
    }
    EXPECT_GT(recycled, 0U) << "grace periods came to their ends in the storm";
    EXPECT_LE(refused, kills_ / 100);
    std::cout << kills_ << " kills in " << seconds << " s; " << books.acts
              << " acts: " << counts.scheduled << " scheduled, " << counts.ran << " ran, "
              << counts.cancelled << " cancelled, " << counts.dropped << " dropped; "
              << books.events << " events, " << books.claims << " claims, " << recycled
              << " slots recycled; " << refused << " found no place" << std::endl;
}

}  // namespace
}  // namespace taskwork::storm
