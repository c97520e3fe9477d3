// SPDX-License-Identifier: Apache-2.0
//
// The deferred core under real threads (K121-K124, K130): sixteen schedulers, a deleter, threads
// that are born and exit while they are targets, children that join and leave, and an event every
// 50 us on top of all of it. When it is quiet, every schedule has ended exactly once, nothing waits
// for a wake-up that was lost, and every pool is whole.
//
//   TASKWORK_STORM_SECONDS   how long (2; 180 with TASKWORK_PROVE)
//   TASKWORK_SEED            the sequence of random numbers
#include <sys/wait.h>
#include <unistd.h>

#include <iostream>
#include <thread>
#include <vector>

#include "tests/storm/storm.hpp"

namespace taskwork::storm {
namespace {

constexpr std::uint32_t kSchedulers = 16;
constexpr std::uint32_t kChurners = 4;  ///< Targets from kSchedulers on,
constexpr std::uint32_t kForks = 2;     ///< and behind them.

constexpr bool kSlow = kThreadSanitizer || kAddressSanitizer;

class Stress : public Storm {
protected:
    /// Somebody who comes and goes is at it.
    class Passing {
    public:
        explicit Passing(Stress& storm) : storm_(storm) {
            storm_.passing_.fetch_add(1, std::memory_order_seq_cst);
        }
        ~Passing() { storm_.passing_.fetch_sub(1, std::memory_order_seq_cst); }
        Passing(const Passing&) = delete;
        Passing& operator=(const Passing&) = delete;

    private:
        Stress& storm_;
    };

    [[nodiscard]] bool stopping() const { return phase() == Phase::stop; }

    void scheduler(std::uint32_t index) {
        ASSERT_EQ(task::register_current(0, 0), no_error);
        {
            Taking taking(*scene_, index, seed_ + index, event_us());
            taking.storm();
        }
        task::exit_current();
    }

    /// Threads of a few turns, one after the other; works come to them until they are gone.
    void churner(std::uint32_t index) {
        for (std::uint64_t born = 0; !stopping(); ++born) {
            if (phase() == Phase::quiet || phase() == Phase::settle) {
                ::usleep(1000);
                continue;
            }
            const Passing passing(*this);
            if (phase() == Phase::quiet) {
                continue;  // Since just now.
            }
            std::thread([&] {
                if (task::register_current(0, 0) != no_error) {
                    return;  // Faster than control blocks come back.
                }
                lives_.fetch_add(1, std::memory_order_relaxed);
                {
                    Taking taking(*scene_, index, seed_ + index + born * 64,
                                  born % 2 == 0 ? event_us() : 0);
                    for (int turn = 0; turn < 40; ++turn) {
                        taking.turn();
                    }
                    // Others still find it by its thread id, and schedule, while it exits.
                    if (born % 2 == 0) {
                        scene_->targets[index].task.store(nullptr, std::memory_order_release);
                        task::exit_current();
                    }
                }
                task::exit_current();
            }).join();
        }
    }

    /// Children of a few turns that leave as they should. Not under ThreadSanitizer: what one
    /// thread of a process hands to another by way of a second process it takes for a race.
    void forker(std::uint32_t index) {
        for (std::uint64_t born = 0; !stopping(); ++born) {
            // Whoever seems to wait for a wake-up is told again after each death: not while it is
            // looked for lost ones.
            if (phase() != Phase::storm) {
                ::usleep(1000);
                continue;
            }
            const Passing passing(*this);
            if (phase() == Phase::quiet) {
                continue;
            }
            const pid_t child = ::fork();
            if (child == 0) {
                if (task::join_process("storm child") != no_error ||
                    task::register_current(0, 0) != no_error) {
                    ::_exit(2);
                }
                {
                    Taking taking(*scene_, index, seed_ + index + born * 64, event_us());
                    for (int turn = 0; turn < 100; ++turn) {
                        taking.turn();
                    }
                }
                task::exit_current();
                ::_exit(0);
            }
            int status = 0;
            ASSERT_EQ(::waitpid(child, &status, 0), child);
            ASSERT_TRUE(WIFEXITED(status)) << status << "\n" << state();
            if (WEXITSTATUS(status) == 0) {
                children_.fetch_add(1, std::memory_order_relaxed);
            }
        }
    }

    /// Recycles slots of deleted elements, as a map does: after a grace period.
    void deleter() {
        ASSERT_EQ(task::register_current(0, 0), no_error);
        while (!stopping()) {
            deletes_.fetch_add(recycle(), std::memory_order_relaxed);
            if (HasFailure()) {
                break;
            }
        }
        task::exit_current();
    }

    /// One event every 50 us on each processor: those of threads that do not run wait for them.
    static std::uint64_t event_us() {
        const unsigned processors = std::max(1U, std::thread::hardware_concurrency());
        const std::uint64_t all = kSchedulers + kChurners + kForks;
        return 50 * std::max<std::uint64_t>(1, all / processors) * (kSlow ? 10 : 1);
    }

    platform::Atomic<std::uint32_t> passing_;
    platform::Atomic<std::uint64_t> lives_;
    platform::Atomic<std::uint64_t> children_;
    platform::Atomic<std::uint64_t> deletes_;
};

TEST_F(Stress, K121_K122_K124_K130_schedulers_deleters_births_exits_forks_and_events_lose_nothing) {
    const std::uint64_t seconds = setting("TASKWORK_STORM_SECONDS", is_long() ? 180 : 2);
    scene_->by_pointer.store(1, std::memory_order_relaxed);
    scene_->deletes_one_in.store(4096, std::memory_order_relaxed);
    std::vector<std::thread> threads;
    for (std::uint32_t index = 0; index < kSchedulers; ++index) {
        threads.emplace_back([this, index] { scheduler(index); });
    }
    for (std::uint32_t index = 0; index < kChurners; ++index) {
        threads.emplace_back([this, index] { churner(kSchedulers + index); });
    }
    for (std::uint32_t index = 0; index < (kThreadSanitizer ? 0 : kForks); ++index) {
        threads.emplace_back([this, index] { forker(kSchedulers + kChurners + index); });
    }
    threads.emplace_back([this] { deleter(); });

    const std::uint64_t start = platform::now_ns();
    const std::uint64_t end = start + seconds * std::uint64_t{1'000'000'000};
    bool calm = true;
    // On a slow machine until everything has happened, at last for ten times as long.
    const auto everything = [&] {
        return deletes_.load(std::memory_order_relaxed) > 0 &&
               lives_.load(std::memory_order_relaxed) > 0 &&
               (kThreadSanitizer || children_.load(std::memory_order_relaxed) > 0);
    };
    while (calm && (platform::now_ns() < end ||
                    (!everything() && platform::now_ns() < end + 9 * (end - start)))) {
        ::usleep(200'000);
        calm = calm_down(100'000, [&] {
            std::uint32_t quiet = 0;
            for (std::uint32_t index = 0; index < kSchedulers; ++index) {
                quiet += scene_->targets[index].quiet.load(std::memory_order_acquire);
            }
            return quiet == kSchedulers && passing_.load(std::memory_order_seq_cst) == 0;
        });
        enter(Phase::storm);
    }
    enter(Phase::stop);
    for (std::thread& thread : threads) {
        thread.join();
    }
    ASSERT_TRUE(calm);
    expect_whole();

    const Sum books = sum();
    const defer::WorkCounts counts = defer::counts(defer::WorkTable::get().domain);
    EXPECT_EQ(counts.scheduled, books.scheduled) << state();
    EXPECT_EQ(counts.ran, books.ran) << state();
    EXPECT_EQ(counts.dropped, 0U) << "nobody died";
    EXPECT_GT(books.busy, 0U) << "K121";
    EXPECT_GT(counts.cancelled, 0U) << "K122";
    EXPECT_TRUE(everything()) << "slots recycled, threads and processes come and gone";
    EXPECT_GT(books.events, 0U);
    std::cout << books.acts << " acts: " << counts.scheduled << " scheduled, " << counts.ran
              << " ran, " << counts.cancelled << " cancelled; " << books.busy << " busy, "
              << books.claims << " claims, " << books.events << " events, "
              << lives_.load(std::memory_order_relaxed) << " threads and "
              << children_.load(std::memory_order_relaxed) << " processes came and went, "
              << deletes_.load(std::memory_order_relaxed) << " slots recycled" << std::endl;
}

}  // namespace
}  // namespace taskwork::storm
