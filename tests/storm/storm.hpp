// SPDX-License-Identifier: Apache-2.0
//
// What the storms share: a scene in the arena that every process of the domain works on, one random
// action (legal in every context, events included), and the books that are compared when all is
// quiet.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "defer/task_work.hpp"
#include "map/map.hpp"
#include "sync/pool.hpp"
#include "task/test_domain.hpp"
#include "task/test_events.hpp"
#include "tests/random.hpp"

namespace taskwork::storm {

inline constexpr std::uint32_t kValues = 48;
inline constexpr std::uint32_t kTargets = 64;
inline constexpr std::uint32_t kTasks = 128;
inline constexpr std::uint32_t kKeys = 16;
inline constexpr std::uint32_t kContexts = 1024;
inline constexpr std::uint32_t kScratch = 192;

using test::is_long;
using test::Random;
using test::setting;

struct alignas(64) Value {
    defer::Slot slot;
};

/// Of one control block, whoever has it: what was done by its thread and its handlers.
struct alignas(64) Books {
    Random random;
    platform::Atomic<std::uint64_t> acts;
    platform::Atomic<std::uint64_t> scheduled;  ///< schedule() returned no_error.
    platform::Atomic<std::uint64_t> busy;
    platform::Atomic<std::uint64_t> ran;  ///< Callbacks that came to their end.
    platform::Atomic<std::uint64_t> events;
    platform::Atomic<std::uint64_t> claims;
};

enum class Phase : std::uint32_t {
    storm,   ///< Everybody acts.
    half,    ///< Targets of even number block, without a run point; the others act on them.
    quiet,   ///< Everybody blocks.
    settle,  ///< Everybody comes to safe points, and does nothing else.
    stop,
};

/// Whom works may be scheduled onto. The thread publishes its task, and takes it back before it
/// exits; that of a killed one is left behind, so members go by the thread id as well.
struct alignas(64) Target {
    platform::Atomic<task::Task*> task;
    platform::Atomic<std::int32_t> tid;
    platform::Atomic<std::uint32_t> quiet;   ///< The thread blocks as the phase asks it to.
    platform::Atomic<std::uint64_t> living;  ///< Raised by each of its turns.
};

struct alignas(64) Scene {
    Value values[kValues];
    defer::WorkTotals totals;
    Target targets[kTargets];
    Books books[kTasks];
    platform::Atomic<std::uint32_t> phase;
    platform::Atomic<std::uint32_t> grace_ended;
    platform::Atomic<std::int32_t> unexpected;   ///< An error that no act may have.
    platform::Atomic<std::uint32_t> by_pointer;  ///< Targets are taken as published, unlooked.
    platform::Atomic<std::uint64_t> deletes_one_in{128};  ///< Of cancels.
    sync::Pool scratch;                                   ///< Claimed and released by acts.
    map::Map* map;
};

/// What the books say when nothing moves.
struct Sum {
    std::uint64_t acts = 0;
    std::uint64_t scheduled = 0;
    std::uint64_t busy = 0;
    std::uint64_t ran = 0;
    std::uint64_t events = 0;
    std::uint64_t claims = 0;
};

/// A domain with the scene in it.
class Storm : public testing::Test {
protected:
    void SetUp() override;
    void TearDown() override;

    [[nodiscard]] Phase phase() const;
    void enter(Phase phase);
    [[nodiscard]] Sum sum() const;

    /// Waits; after `seconds` fails with the state of everything.
    template <class Condition>
    [[nodiscard]] bool await(const char* what, Condition condition, unsigned seconds = 20) {
        const std::uint64_t end = platform::now_ns() + seconds * std::uint64_t{1'000'000'000};
        while (!condition()) {
            if (platform::now_ns() > end) {
                ADD_FAILURE() << "does not come: " << what << "\n" << state();
                return false;
            }
            ::usleep(200);
        }
        return true;
    }
    /// Counts, contexts and tasks, for a failure's message.
    [[nodiscard]] std::string state() const;
    [[nodiscard]] std::uint64_t in_flight() const;
    /// Works in flight that need no safe point: with every thread in a wait of its own, what stays
    /// is a lost wake-up.
    [[nodiscard]] std::uint64_t in_flight_anywhere() const;
    /// From storm by way of half to quiet and settle: whoever is asked for blocks, no wake-up is
    /// lost, and in the end nothing is in flight. False: it
    /// failed. The phase is left at settle.
    template <class Condition>
    [[nodiscard]] bool calm_down(unsigned half_us, Condition all_quiet) {
        enter(Phase::half);
        ::usleep(half_us);  // Time for works to come to those who block.
        enter(Phase::quiet);
        if (!await("everybody blocks", all_quiet) ||
            !await("no wake-up is lost: nothing is in flight but for safe points",
                   [&] { return in_flight_anywhere() == 0; })) {
            return false;
        }
        enter(Phase::settle);
        return await("nothing is in flight", [&] { return in_flight() == 0; });
    }
    /// Slots that hold a context: of values and of elements.
    [[nodiscard]] std::uint32_t slots_in_use() const;
    /// Contexts that are neither free nor on their way.
    [[nodiscard]] std::uint32_t contexts_in_use() const;

    /// Makes the slots of deleted values empty, as a map recycles elements: a grace period after
    /// the deletion. Returns how many; fails if the grace period does not end.
    std::uint32_t recycle();
    /// When all is quiet: cancels everything and expects every pool whole, every reader slot
    /// closed, no task or process alive but the host's.
    void expect_whole();

    task::TestDomain domain_{std::size_t{256} << 20, kTasks};
    Scene* scene_ = nullptr;
    std::uint64_t seed_ = 0;
    std::uint64_t committed_ = 0;
};

/// One random act of the calling thread: schedule (onto anybody, on any slot), cancel, delete,
/// claim and release, map update and removal. Context: any; the thread is a task.
void act(Scene& scene) noexcept;

/// Publishes the calling thread as target `index`, seeds its books, starts its events (one every
/// `event_us`; 0: none). The destructor takes all that back.
/// Context: task. The thread is a task.
class Taking {
public:
    Taking(Scene& scene, std::uint32_t index, std::uint64_t seed, std::uint64_t event_us);
    ~Taking();
    Taking(const Taking&) = delete;
    Taking& operator=(const Taking&) = delete;

    /// Acts until the phase is Phase::stop, in Phase::quiet blocks without any run point of its
    /// own.
    void storm() noexcept;
    /// One turn of it.
    void turn() noexcept;

private:
    [[nodiscard]] Phase phase() const noexcept;
    [[nodiscard]] bool is_to_be_quiet() const noexcept;
    void be_quiet() noexcept;
    void settle() noexcept;
    Scene& scene_;
    const std::uint32_t index_;
    Target& target_;
    Books& books_;
    task::EventTimer events_;
};

}  // namespace taskwork::storm
