// SPDX-License-Identifier: Apache-2.0
#include "map/spin_lock.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csetjmp>
#include <new>
#include <thread>
#include <vector>

#include "map/test_map.hpp"
#include "map/test_steps.hpp"
#include "map/value.hpp"

namespace taskwork::map {
namespace {

/// Longer than any load of the machine keeps a holder away.
constexpr std::uint64_t kPatienceNs = 60'000'000'000;

struct Value {
    std::uint64_t first;
    std::uint64_t second;
    std::uint32_t lock;
    std::uint32_t pad;
};

class SpinLock : public MapTest {
protected:
    static MapSpec locked(std::uint32_t entries) {
        MapSpec spec = array(entries, sizeof(Value));
        spec.fields.spin_lock = offsetof(Value, lock);
        return spec;
    }
    SpinLock() : map_(make(locked(40))) {}

    Value& value(std::uint32_t key) { return *static_cast<Value*>(lookup(map_, &key)); }
    LockWord& word(std::uint32_t key) { return *lock_word(map_, &value(key)); }
    static SpinLocks& locks() { return MapTable::get().locks; }
    static std::errc take(LockWord& word, std::uint64_t timeout_ns = kPatienceNs) {
        return locks().lock(*task::current(), word, timeout_ns);
    }
    static void give(LockWord& word) { locks().unlock(*task::current(), word); }
    static bool is_free(const LockWord& word) { return word.load(std::memory_order_acquire) == 0; }

    /// Adds 1 to the first field of value 0 under its lock; false if it cannot be had.
    /// Not inlined into loops: UBSan then looks at the flags of an addition to the thread pointer
    /// that the linker makes a lea, which sets none.
    [[gnu::noinline]] bool increment() {
        const Sections sections;
        if (take(word(0)) != no_error) {
            return false;
        }
        ++value(0).first;  // Not atomic: the lock is all there is.
        give(word(0));
        return true;
    }

    /// A thread that holds `held` until the end of the scope, and, if there is one, waits for
    /// `wanted` meanwhile.
    class Holder {
    public:
        explicit Holder(LockWord& held, LockWord* wanted = nullptr)
            : thread_(task::task_thread([this, &held, wanted] {
                  const Sections sections;
                  EXPECT_EQ(take(held), no_error);
                  task_.store(task::current(), std::memory_order_release);
                  if (wanted != nullptr) {
                      result_ = take(*wanted);
                      if (result_ == no_error) {
                          give(*wanted);
                      }
                  } else {
                      task::wait_until([this] { return leave_.load(std::memory_order_acquire); });
                  }
                  give(held);
              })) {
            task::wait_until([this, wanted] {
                const task::Task* task = task_.load(std::memory_order_acquire);
                return task != nullptr && locks().held(*task) == (wanted == nullptr ? 1U : 2U);
            });
        }
        ~Holder() { join(); }
        Holder(const Holder&) = delete;
        Holder& operator=(const Holder&) = delete;
        /// What it got for `wanted`.
        std::errc join() {
            leave_.store(true, std::memory_order_release);
            if (thread_.joinable()) {
                thread_.join();
            }
            return result_;
        }

    private:
        std::atomic<task::Task*> task_{nullptr};
        std::atomic<bool> leave_{false};
        std::errc result_ = no_error;
        std::thread thread_;  ///< Last: it uses the others.
    };

    static MapSpec locked_hash() {
        MapSpec spec = MapTest::spec(BPF_MAP_TYPE_HASH, 4, sizeof(Value), 4);
        spec.fields.spin_lock = offsetof(Value, lock);
        return spec;
    }

    /// A thread that holds the lock of a map's value 0, sets its first field to 7 and, when the
    /// thread that made this waits for the lock or is done(), does the rest.
    class Interference {
    public:
        template <class Rest>
        Interference(Map& map, Rest rest)
            : thread_(task::task_thread([this, &map, rest, waiting = task::current()] {
                  const Sections sections;
                  const std::uint32_t key = 0;
                  auto& value = *static_cast<Value*>(lookup(map, &key));
                  EXPECT_EQ(lock_value(map, &value), no_error);
                  value.first = 7;
                  holds_.store(true, std::memory_order_release);
                  task::wait_until([this, waiting] {
                      return done_.load(std::memory_order_acquire) || locks().held(*waiting) != 0;
                  });
                  rest(value);
                  unlock_value(map, &value);
              })) {
            task::wait_until([this] { return holds_.load(std::memory_order_acquire); });
        }
        ~Interference() {
            done();
            thread_.join();
        }
        Interference(const Interference&) = delete;
        Interference& operator=(const Interference&) = delete;
        void done() const { done_.store(true, std::memory_order_release); }

    private:
        std::atomic<bool> holds_{false};
        mutable std::atomic<bool> done_{false};
        std::thread thread_;  ///< Last: it uses the others.
    };

    Map& map_;
};

TEST_F(SpinLock, excludes_threads) {
    constexpr int kThreads = 4;
    constexpr std::uint64_t kRounds = 20'000;
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
        threads.push_back(task::task_thread([this] {
            for (std::uint64_t round = 0; round < kRounds; ++round) {
                ASSERT_TRUE(increment());
            }
        }));
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    const Sections sections;
    EXPECT_EQ(value(0).first, kThreads * kRounds);
    EXPECT_TRUE(is_free(word(0)));
}

TEST_F(SpinLock, excludes_processes) {
    if (kThreadSanitizer) {
        GTEST_SKIP() << "ThreadSanitizer does not follow a child of a process with threads";
    }
    constexpr std::uint64_t kRounds = 20'000;
    std::vector<pid_t> children;
    for (int i = 0; i < 3; ++i) {
        const pid_t child = ::fork();
        if (child == 0) {
            if (task::join_process("locker") != no_error ||
                task::register_current(0, 0) != no_error) {
                ::_exit(3);
            }
            for (std::uint64_t round = 0; round < kRounds; ++round) {
                if (!increment()) {
                    ::_exit(4);
                }
            }
            ::_exit(0);
        }
        children.push_back(child);
    }
    for (const pid_t child : children) {
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        EXPECT_EQ(status, 0);
    }
    const Sections sections;
    EXPECT_EQ(value(0).first, 3 * kRounds);
}

TEST_F(SpinLock, taken_again_by_its_holder_is_a_deadlock_at_once) {
    const Sections sections;
    ASSERT_EQ(take(word(0)), no_error);
    const std::uint64_t begin_ns = platform::now_ns();
    EXPECT_EQ(take(word(0)), std::errc::resource_deadlock_would_occur);
    EXPECT_LT(platform::now_ns() - begin_ns, kPatienceNs);
    EXPECT_EQ(locks().held(*task::current()), 1U);
    EXPECT_FALSE(is_free(word(0)));
    give(word(0));
    EXPECT_TRUE(is_free(word(0)));
    EXPECT_EQ(take(word(0)), no_error);
    give(word(0));
}

TEST_F(SpinLock, is_got_or_refused_at_once_by_an_event_at_every_instruction_of_its_holder) {
    if (!task::kCanSingleStep) {
        GTEST_SKIP() << "no single step under this sanitizer";
    }
    struct Context {
        LockWord* word;
        unsigned got = 0;
        unsigned refused = 0;
        unsigned other = 0;
    } context{&word(0)};
    const Sections sections;
    for (int round = 0; round < 3; ++round) {
        task::single_step(
            [](void* argument) {
                LockWord& lock = *static_cast<Context*>(argument)->word;
                if (take(lock) == no_error) {
                    give(lock);
                }
            },
            &context,
            [](void* argument) {
                auto& seen = *static_cast<Context*>(argument);
                const std::errc error = take(*seen.word);
                if (error == no_error) {
                    give(*seen.word);
                }
                ++(error == no_error                                   ? seen.got
                   : error == std::errc::resource_deadlock_would_occur ? seen.refused
                                                                       : seen.other);
            },
            &context);
        EXPECT_TRUE(is_free(word(0)));
        EXPECT_EQ(locks().held(*task::current()), 0U);
    }
    EXPECT_GT(context.got, 0U);
    EXPECT_GT(context.refused, 0U);
    EXPECT_EQ(context.other, 0U) << "timed out on a lock of its own thread";
}

TEST_F(SpinLock, of_two_threads_that_want_each_others_one_is_refused_and_both_end) {
    constexpr int kRounds = 50;
    unsigned refused = 0;
    for (int round = 0; round < kRounds; ++round) {
        const Sections sections;
        ASSERT_EQ(take(word(0)), no_error);
        // It waits for ours when this returns; we want its own.
        Holder holder(word(1), &word(0));
        const std::errc ours = take(word(1));
        if (ours == no_error) {
            give(word(1));
        }
        give(word(0));
        const std::errc theirs = holder.join();
        EXPECT_TRUE(ours == no_error || ours == std::errc::resource_deadlock_would_occur);
        EXPECT_TRUE(theirs == no_error || theirs == std::errc::resource_deadlock_would_occur);
        EXPECT_TRUE(ours != no_error || theirs != no_error);
        refused += ours != no_error || theirs != no_error ? 1 : 0;
        EXPECT_TRUE(is_free(word(0)));
        EXPECT_TRUE(is_free(word(1)));
    }
    EXPECT_EQ(refused, static_cast<unsigned>(kRounds));
}

TEST_F(SpinLock, whose_holder_waits_for_what_an_event_has_interrupted_is_a_deadlock) {
    task::Task& me = *task::current();
    const Sections sections;
    ASSERT_EQ(take(word(0)), no_error);
    Holder holder(word(1), &word(0));
    {
        const task::NmiScope scope(me, platform::stack_pointer(), false);
        ASSERT_TRUE(scope.entered());
        EXPECT_EQ(take(word(1)), std::errc::resource_deadlock_would_occur);
    }
    give(word(0));
    EXPECT_EQ(holder.join(), no_error);
}

TEST_F(SpinLock, that_stays_held_is_given_up_after_the_time_and_in_an_event_after_a_short_one) {
    const Sections sections;
    Holder holder(word(0));
    std::uint64_t begin_ns = platform::now_ns();
    EXPECT_EQ(take(word(0), kResilientLockNs), std::errc::timed_out);
    EXPECT_GE(platform::now_ns() - begin_ns, kResilientLockNs);
    {
        const task::NmiScope scope(*task::current(), platform::stack_pointer(), false);
        begin_ns = platform::now_ns();
        // Its own time, whatever is asked for.
        EXPECT_EQ(take(word(0)), std::errc::timed_out);
        EXPECT_GE(platform::now_ns() - begin_ns, kLockNmiNs);
    }
    EXPECT_EQ(locks().held(*task::current()), 0U);
    EXPECT_EQ(holder.join(), no_error);
    EXPECT_EQ(take(word(0)), no_error);
    give(word(0));
}

TEST_F(SpinLock, is_refused_to_a_task_that_holds_as_many_as_its_table_has) {
    const Sections sections;
    for (std::uint32_t key = 0; key < HeldLocks::kMax; ++key) {
        ASSERT_EQ(take(word(key)), no_error);
    }
    EXPECT_EQ(take(word(HeldLocks::kMax)), std::errc::resource_deadlock_would_occur);
    EXPECT_TRUE(is_free(word(HeldLocks::kMax)));
    // An execution that ends gives back all above what it found.
    locks().unlock_down_to(*task::current(), 2);
    EXPECT_EQ(locks().held(*task::current()), 2U);
    for (std::uint32_t key = 0; key < HeldLocks::kMax; ++key) {
        EXPECT_EQ(is_free(word(key)), key >= 2) << key;
    }
    locks().unlock_down_to(*task::current(), 0);
    EXPECT_TRUE(is_free(word(0)));
}

TEST_F(SpinLock, whose_owner_is_killed_at_any_instruction_is_opened_while_others_wait) {
    if (!task::kCanSingleStep) {
        GTEST_SKIP() << "no single step under this sanitizer";
    }
    // Others go on all the time.
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> rounds{0};
    std::thread other = task::task_thread([&] {
        while (!stop.load(std::memory_order_acquire)) {
            const Sections sections;
            ASSERT_EQ(take(word(0)), no_error);
            EXPECT_EQ(value(0).first, value(0).second);
            give(word(0));
            rounds.fetch_add(1, std::memory_order_relaxed);
        }
    });
    const auto body = [](void* argument) {
        auto& lock = *static_cast<LockWord*>(argument);
        if (take(lock) == no_error) {
            give(lock);
        }
    };
    LockWord* lock = nullptr;
    {
        const Sections sections;
        lock = &word(0);
    }
    std::uint64_t deaths = 0;
    const std::uint64_t stride = std::getenv("TASKWORK_PROVE") != nullptr ? 1 : 3;
    // Bounded: waiting for `other`, a child takes any number of steps.
    for (std::uint64_t at = 1; at < 400 && die_in(body, lock, at); at += stride) {
        ++deaths;
        const std::uint64_t before = rounds.load(std::memory_order_relaxed);
        task::wait_until([&] { return rounds.load(std::memory_order_relaxed) > before + 1; });
    }
    stop.store(true, std::memory_order_release);
    other.join();
    EXPECT_GT(deaths, 10U);
    RecordProperty("deaths", static_cast<int>(deaths));
    const Sections sections;
    EXPECT_TRUE(is_free(word(0)));
}

std::jmp_buf jump;

[[gnu::noinline]] void leave_a_region_by_longjmp(LockWord& word) {
    // Deep enough that the frame cannot be taken for the one that jumps back.
    volatile char deeper[4096];
    asm volatile("" : : "r"(deeper) : "memory");
    alignas(task::Section) unsigned char storage[sizeof(task::Section)];
    new (storage) task::Section(task::current());
    EXPECT_EQ(MapTable::get().locks.lock(*task::current(), word, kPatienceNs), no_error);
    std::longjmp(jump, 1);
}

[[gnu::noinline]] void abandon_a_region(LockWord& word) {
    if (setjmp(jump) == 0) {
        leave_a_region_by_longjmp(word);
    }
}

TEST_F(SpinLock, of_a_region_left_by_longjmp_is_opened_by_the_next_execution) {
    task::Task& me = *task::current();
    const std::uintptr_t here = platform::stack_pointer();
    me.stack_low = here - (std::uintptr_t{1} << 20);
    me.stack_high = here + (std::uintptr_t{1} << 20);
    LockWord& lock = word(0);
    abandon_a_region(lock);
    EXPECT_FALSE(is_free(lock));
    {
        const task::Section next(&me);
        locks().begin(me);
    }
    EXPECT_TRUE(is_free(lock));
    EXPECT_EQ(locks().held(me), 0U);
    // So does an event's, unless the region may be what it has interrupted.
    for (const bool left : {false, true}) {
        abandon_a_region(lock);
        if (left) {
            me.section.reset();
        }
        {
            const task::NmiScope scope(me, me.section.stamp(), false);
            ASSERT_TRUE(scope.entered());
            locks().begin(me);
            EXPECT_EQ(is_free(lock), left);
        }
        locks().unlock_down_to(me, 0);
        me.section.reset();
    }
}

TEST_F(SpinLock, of_a_thread_that_has_ended_in_its_region_is_opened_by_who_waits) {
    task::task_thread([this] {
        const Sections sections;
        EXPECT_EQ(take(word(0)), no_error);
    }).join();
    const Sections sections;
    EXPECT_FALSE(is_free(word(0)));
    EXPECT_EQ(take(word(0), kResilientLockNs), no_error);
    give(word(0));
}

TEST_F(SpinLock, of_a_value_is_refused_to_the_copy_that_its_holder_makes) {
    const Sections sections;
    const std::uint32_t key = 0;
    Value copy{};
    ASSERT_EQ(lock_value(map_, &value(key)), no_error);
    EXPECT_EQ(lookup_copy(map_, &key, &copy, BPF_F_LOCK), std::errc::device_or_resource_busy);
    EXPECT_EQ(update(map_, &key, &copy, BPF_F_LOCK), std::errc::device_or_resource_busy);
    unlock_value(map_, &value(key));
    EXPECT_EQ(lookup_copy(map_, &key, &copy, BPF_F_LOCK), no_error);

    Map& hash = make(locked_hash());
    ASSERT_EQ(update(hash, &key, &copy, 0), no_error);
    ASSERT_EQ(lock_value(hash, lookup(hash, &key)), no_error);
    EXPECT_EQ(lookup_and_remove(hash, &key, &copy, BPF_F_LOCK), std::errc::device_or_resource_busy);
    ASSERT_NE(lookup(hash, &key), nullptr) << "refused, and gone all the same";
    unlock_value(hash, lookup(hash, &key));
    EXPECT_EQ(lookup_and_remove(hash, &key, &copy, BPF_F_LOCK), no_error);
    EXPECT_EQ(lookup(hash, &key), nullptr);
}

TEST_F(SpinLock, is_waited_for_by_a_lookup_that_deletes) {
    Map& hash = make(locked_hash());
    const std::uint32_t key = 0;
    Value taken{};
    {
        const Sections sections;
        ASSERT_EQ(update(hash, &key, &taken, 0), no_error);
    }
    const Interference other(hash, [&hash, key](Value& held) {
        held.second = 7;
        EXPECT_NE(lookup(hash, &key), nullptr) << "is deleted before the lock is free";
    });
    const Sections sections;
    EXPECT_EQ(lookup_and_remove(hash, &key, &taken, BPF_F_LOCK), no_error);
    other.done();
    EXPECT_EQ(taken.first, 7U);
    EXPECT_EQ(taken.second, 7U);
}

TEST_F(SpinLock, of_an_element_that_is_deleted_meanwhile_loses_no_update) {
    Map& hash = make(locked_hash());
    const std::uint32_t key = 0;
    const Value whole{5, 5, 0, 0};
    {
        const Sections sections;
        ASSERT_EQ(update(hash, &key, &whole, 0), no_error);
    }
    const Interference other(hash,
                             [&hash, key](Value&) { EXPECT_EQ(remove(hash, &key), no_error); });
    const Sections sections;
    EXPECT_EQ(update(hash, &key, &whole, BPF_F_LOCK), no_error);
    other.done();
    const auto* found = static_cast<const Value*>(lookup(hash, &key));
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(found->first, 5U);
}

TEST_F(SpinLock, keeps_copies_of_users_whole) {
    constexpr std::uint64_t kRounds = 20'000;
    std::atomic<bool> stop{false};
    std::thread reader = task::task_thread([&] {
        const std::uint32_t key = 0;
        while (!stop.load(std::memory_order_acquire)) {
            Value seen{};
            const Sections sections;
            ASSERT_EQ(lookup_copy(map_, &key, &seen, BPF_F_LOCK), no_error);
            ASSERT_EQ(seen.first, seen.second);
            ASSERT_EQ(seen.lock, 0U);
        }
    });
    const std::uint32_t key = 0;
    for (std::uint64_t round = 1; round <= kRounds; ++round) {
        const Value whole{round, round, 0xdead, 0};
        const Sections sections;
        ASSERT_EQ(update(map_, &key, &whole, BPF_F_LOCK), no_error);
    }
    stop.store(true, std::memory_order_release);
    reader.join();
}

}  // namespace
}  // namespace taskwork::map
