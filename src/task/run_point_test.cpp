// SPDX-License-Identifier: Apache-2.0
#include "task/run_point.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csetjmp>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "sync/arena.hpp"
#include "sync/deferral.hpp"
#include "sync/signal.hpp"
#include "task/lists.hpp"
#include "task/test_domain.hpp"

namespace taskwork::task {
namespace {

/// A node and what became of it; in the arena, as nodes must be.
struct alignas(64) TestNode {
    WorkNode node;
    platform::Atomic<std::uint32_t> husk;
    platform::Atomic<std::uint32_t> dropped;
    int number;
    std::int32_t ran_on;
};

std::vector<int> order;
/// Called in place of a work's body, if set.
void (*body)(Task& task, TestNode& node) = nullptr;

void run(Task& task, WorkNode& node) noexcept {
    auto& test = reinterpret_cast<TestNode&>(node);
    if (test.husk.load(std::memory_order_acquire) != 0) {
        test.dropped.fetch_add(1, std::memory_order_relaxed);
        return;
    }
    order.push_back(test.number);
    test.ran_on = task.tid;
    if (body != nullptr) {
        body(task, test);
    }
}
/// Called once when the worker is about to ask whether a node is a husk, if set.
std::function<void()> before_is_husk;

bool is_husk(const WorkNode& node) noexcept {
    if (before_is_husk) {
        std::exchange(before_is_husk, nullptr)();
    }
    return reinterpret_cast<const TestNode&>(node).husk.load(std::memory_order_acquire) != 0;
}
void drop(WorkNode& node) noexcept {
    reinterpret_cast<TestNode&>(node).dropped.fetch_add(1, std::memory_order_relaxed);
}

class RunPointTest : public testing::Test {
protected:
    void SetUp() override {
        set_work_ops({run, is_husk, drop});
        set_event_hook(nullptr, nullptr);
        order.clear();
        order.reserve(4096);  // Works run in handlers: nothing may be allocated there.
        body = nullptr;
        before_is_husk = nullptr;
        nodes_ = static_cast<TestNode*>(sync::Arena::allocate(sizeof(TestNode) * 1024, 64));
        for (int index = 0; index < 1024; ++index) {
            nodes_[index].number = index;
        }
    }
    bool push_to(Task& task, int index, std::uint32_t round = 1) {
        const ReadSection brief(*current(), sync::Flavour::brief);
        return push(task, nodes_[index].node, round);
    }
    TestDomain domain_;
    TestNode* nodes_ = nullptr;
};

TEST_F(RunPointTest, K55_a_batch_runs_newest_first_at_a_safe_point) {
    Task& me = *current();
    for (int index = 0; index < 4; ++index) {
        ASSERT_TRUE(push_to(me, index));
    }
    safe_point();
    EXPECT_EQ(order, (std::vector<int>{3, 2, 1, 0}));
    EXPECT_EQ(nodes_[0].ran_on, platform::thread_id());
}

TEST_F(RunPointTest, works_wait_for_the_end_of_the_outermost_section) {
    Task& me = *current();
    {
        const Section outer(&me);
        {
            const Section inner(&me);
            ASSERT_TRUE(push_to(me, 0));
            safe_point();
        }
        EXPECT_TRUE(order.empty());
    }
    EXPECT_EQ(order, std::vector<int>{0});
}

TEST_F(RunPointTest, K56_a_work_pushed_by_a_work_runs_before_the_program_goes_on) {
    body = [](Task& task, TestNode& node) {
        if (node.number < 3) {
            const ReadSection brief(task, sync::Flavour::brief);
            push(task, (&node + 1)->node, 1);
        }
    };
    ASSERT_TRUE(push_to(*current(), 0));
    safe_point();
    EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3}));
}

TEST_F(RunPointTest, a_drain_ends_when_its_budget_is_used_up_and_the_rest_runs_later) {
    body = [](Task& task, TestNode& node) {
        if (node.number < 20) {
            const ReadSection brief(task, sync::Flavour::brief);
            push(task, (&node + 1)->node, 1);
        }
    };
    ASSERT_TRUE(push_to(*current(), 0));
    safe_point();
    EXPECT_EQ(order.size(), kDrainPasses);
    EXPECT_EQ(current()->statistics.drains_cut.get(), 1U);
    // By which the library's safe point, one load when idle, knows that it is not.
    EXPECT_NE(current()->attention.load(std::memory_order_relaxed), 0U);
    safe_point();
    safe_point();
    EXPECT_EQ(order.size(), 21U);
    EXPECT_EQ(current()->attention.load(std::memory_order_relaxed), 0U);
}

// With 3 ms callbacks and an event each ms every pass brought more works than the one before.
TEST_F(RunPointTest, what_events_schedule_on_top_of_callbacks_gets_one_pass_of_its_own) {
    body = [](Task& task, TestNode& node) {
        const NmiScope event(task, platform::stack_pointer(), false);
        const ReadSection brief(task, sync::Flavour::brief);
        push(task, (&node + 1)->node, 1);
    };
    ASSERT_TRUE(push_to(*current(), 0));
    safe_point();
    EXPECT_EQ(order, (std::vector<int>{0, 1}));
    safe_point();
    EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3}));
}

TEST_F(RunPointTest, works_do_not_run_inside_works) {
    body = [](Task& task, TestNode& node) {
        if (node.number == 0) {
            const ReadSection brief(task, sync::Flavour::brief);
            push(task, (&node + 1)->node, 1);
            safe_point();
            EXPECT_EQ(order.size(), 1U);
        }
    };
    ASSERT_TRUE(push_to(*current(), 0));
    safe_point();
    EXPECT_EQ(order.size(), 2U);
}

TEST_F(RunPointTest, works_wait_for_the_end_of_the_handler_of_an_event) {
    Task& me = *current();
    {
        const NmiScope scope(me, platform::stack_pointer(), false);
        EXPECT_TRUE(scope.entered());
        EXPECT_EQ(current_level(me), Level::nmi);
        ASSERT_TRUE(push_to(me, 0));
        safe_point();
        EXPECT_TRUE(order.empty());
    }
    EXPECT_EQ(order, std::vector<int>{0});
    EXPECT_EQ(current_level(me), Level::task);
}

TEST_F(RunPointTest, an_event_inside_an_event_is_dropped_and_counted) {
    Task& me = *current();
    const NmiScope outer(me, platform::stack_pointer(), false);
    {
        const NmiScope nested(me, platform::stack_pointer(), false);
        EXPECT_FALSE(nested.entered());
    }
    EXPECT_EQ(me.statistics.events_nested.get(), 1U);
    EXPECT_EQ(current_level(me), Level::nmi);
}

TEST_F(RunPointTest, an_event_in_a_section_leaves_the_works_to_the_section) {
    Task& me = *current();
    {
        const Section section(&me);
        {
            const NmiScope scope(me, platform::stack_pointer(), false);
            ASSERT_TRUE(push_to(me, 0));
        }
        EXPECT_TRUE(order.empty());
    }
    EXPECT_EQ(order, std::vector<int>{0});
}

TEST_F(RunPointTest, K59_signal_mode_reaches_a_thread_that_computes) {
    TargetThread target(true);
    Task& other = target.task();
    body = [](Task&, TestNode& node) { node.husk.store(2, std::memory_order_release); };
    ASSERT_TRUE(push_to(other, 5));
    notify(other, Notify::signal);
    wait_until([&] { return nodes_[5].husk.load(std::memory_order_acquire) == 2; });
    EXPECT_EQ(nodes_[5].ran_on, other.tid) << "K47: in the target thread only";
    target.release();
}

TEST_F(RunPointTest, one_notification_serves_a_batch) {
    TargetThread target;
    Task& other = target.task();
    for (int index = 0; index < 100; ++index) {
        ASSERT_TRUE(push_to(other, index));
        notify(other, Notify::signal);
    }
    EXPECT_EQ(current()->statistics.notifications.get(), 1U);
    target.release();
    EXPECT_EQ(order.size(), 100U);
}

// The flag of a pusher whose node was run before it set the flag stayed set on an empty list, and
// the next pusher, finding it set, told nobody.
TEST_F(RunPointTest, a_notification_that_comes_late_does_not_silence_the_next) {
    Task& me = *current();
    me.pending.store(2, std::memory_order_seq_cst);
    safe_point();
    EXPECT_EQ(me.pending.load(std::memory_order_seq_cst), 0U);
}

// M28: the flag must not stay set when nobody was told.
TEST_F(RunPointTest, a_notification_that_fails_leaves_the_flag_clear) {
    // Not one of the table: the worker asks after the thread ids of those.
    const auto nobody = std::make_unique<Task>();
    nobody->pid.set(platform::process_id());
    nobody->tid.set(0x3fffffff);  // No such thread.
    notify(*nobody, Notify::signal);
    EXPECT_EQ(nobody->pending.load(std::memory_order_seq_cst), 0U);
}

TEST_F(RunPointTest, resume_after_signal_is_silent_and_signal_after_resume_is_not) {
    TargetThread target;
    Task& other = target.task();
    notify(other, Notify::resume);
    EXPECT_EQ(current()->statistics.notifications.get(), 0U);
    notify(other, Notify::signal);
    EXPECT_EQ(current()->statistics.notifications.get(), 1U);
    notify(other, Notify::resume);
    notify(other, Notify::signal);
    EXPECT_EQ(current()->statistics.notifications.get(), 1U);
    target.release();
}

TEST_F(RunPointTest, K74_thread_exit_runs_what_is_pending_and_closes_the_list) {
    platform::Atomic<Task*> target;
    std::thread thread = task_thread([&] {
        target.store(current(), std::memory_order_release);
        const Section section(current());
        for (int index = 0; index < 3; ++index) {
            push_to(*current(), index);
        }
    });
    thread.join();
    EXPECT_EQ(order.size(), 3U);
    // Until the worker has buried it the control block still says that it is closed.
    Worker::synchronize();
}

TEST_F(RunPointTest, a_push_onto_an_exited_task_is_refused) {
    const ReadSection sleepable(*current(), sync::Flavour::sleepable);  // Keeps the control block.
    platform::Atomic<Task*> target;
    std::thread thread = task_thread([&] { target.store(current(), std::memory_order_release); });
    thread.join();
    EXPECT_FALSE(push_to(*target.load(std::memory_order_acquire), 0));
}

// A notification that came between the closing of the list and the end of the thread drained the
// closed list, which opened it again: what was pushed then was never run.
TEST_F(RunPointTest, a_drain_after_the_closing_does_not_open_the_list_again) {
    platform::Atomic<std::uint32_t> refused;
    std::thread([&] {
        ASSERT_EQ(register_current(0, 0), no_error);
        Task& me = *current();
        close_and_run(me);
        me.pending.store(2, std::memory_order_seq_cst);
        drain(me);
        refused.store(push_to(me, 0) ? 0 : 1, std::memory_order_release);
        exit_current();
    }).join();
    EXPECT_EQ(refused.load(std::memory_order_acquire), 1U);
}

TEST_F(RunPointTest, control_blocks_of_dead_threads_are_used_again) {
    TaskTable& table = TaskTable::get();
    for (int round = 0; round < 500; ++round) {
        task_thread([] {}).join();
        if (table.tasks.count_free() < 8) {
            Worker::synchronize();
        }
    }
    Worker::synchronize();
    Worker::synchronize();
    EXPECT_EQ(table.tasks.count_free(), table.tasks.count() - 2) << "this thread and the worker";
    EXPECT_EQ(table.tasks_refused.load(std::memory_order_relaxed), 0U);
}

TEST_F(RunPointTest, more_threads_than_tasks_are_refused_and_counted) {
    TaskTable& table = TaskTable::get();
    const std::uint32_t room = table.tasks.count_free();
    platform::Atomic<std::uint32_t> refused;
    platform::Atomic<std::uint32_t> ready;
    platform::Atomic<std::uint32_t> stop;
    std::vector<std::thread> threads;
    for (std::uint32_t index = 0; index < room + 2; ++index) {
        threads.emplace_back([&] {
            if (register_current(0, 0) != no_error) {
                refused.fetch_add(1, std::memory_order_relaxed);
            }
            ready.fetch_add(1, std::memory_order_release);
            while (stop.load(std::memory_order_acquire) == 0) {
                std::this_thread::yield();
            }
            exit_current();
        });
    }
    wait_until([&] { return ready.load(std::memory_order_acquire) == room + 2; });
    stop.store(1, std::memory_order_release);
    for (auto& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(refused.load(std::memory_order_relaxed), 2U);
    EXPECT_EQ(table.tasks_refused.load(std::memory_order_relaxed), 2U);
}

TEST_F(RunPointTest, the_worker_unlinks_husks_between_live_nodes) {
    Task& me = *current();
    const Section section(&me);  // Nothing runs meanwhile.
    for (int index = 0; index < 200; ++index) {
        ASSERT_TRUE(push_to(me, index));
        if (index % 2 == 0) {
            nodes_[index].husk.store(1, std::memory_order_release);
        }
    }
    sync::DeferralQueue::get().queue(me.compact_item);
    // All but node 199's neighbours: the head itself (199) is live, so every husk is interior.
    wait_until([&] {
        unsigned dropped = 0;
        for (int index = 0; index < 200; ++index) {
            dropped += nodes_[index].dropped.load(std::memory_order_relaxed);
        }
        return dropped == 100;
    });
    section.~Section();
    new (const_cast<Section*>(&section)) Section(&me);
    EXPECT_EQ(order.size(), 100U);
    for (int index = 0; index < 200; ++index) {
        EXPECT_EQ(nodes_[index].dropped.load(std::memory_order_relaxed), index % 2 == 0 ? 1U : 0U);
    }
}

// The worker stood between a predecessor's link and its successor while both were run and the
// successor was pushed onto another list and cancelled there: it dropped a node that was linked.
TEST_F(RunPointTest, the_worker_leaves_a_husk_that_has_moved_to_another_list) {
    Task& me = *current();
    TargetThread target;
    Task& other = target.task();
    TestNode& moving = nodes_[0];
    ASSERT_TRUE(push_to(me, 0));
    ASSERT_TRUE(push_to(me, 1));
    before_is_husk = [&] {
        safe_point();
        ASSERT_EQ(order, (std::vector<int>{1, 0}));
        ASSERT_TRUE(push_to(other, 0, 2));
        ASSERT_TRUE(push_to(other, 2, 2));
        moving.husk.store(1, std::memory_order_release);
    };
    compact(me);
    EXPECT_EQ(moving.dropped.load(std::memory_order_relaxed), 0U);
    target.release();
    EXPECT_EQ(order, (std::vector<int>{1, 0, 2}));
    EXPECT_EQ(moving.dropped.load(std::memory_order_relaxed), 1U) << "by the other target";
}

// A pusher that was held up while its round ended and the next began wrote over the new link.
TEST_F(RunPointTest, a_push_of_an_earlier_round_does_not_touch_a_later_ones_link) {
    Task& me = *current();
    const Section section(&me);
    ASSERT_TRUE(push_to(me, 1, 5));
    ASSERT_TRUE(push_to(me, 0, 5));
    EXPECT_FALSE(push_to(me, 0, 4));
    const Link link{nodes_[0].node.next.load(std::memory_order_acquire)};
    EXPECT_EQ(link.round(), 5U);
    EXPECT_EQ(link.next(), sync::arena_index(&nodes_[1].node));
}

// A drain refused for want of stack left the flag set, and later schedulers silent.
TEST_F(RunPointTest, works_put_off_for_want_of_stack_leave_the_flag_clear) {
    Task& me = *current();
    ASSERT_TRUE(push_to(me, 0));
    me.pending.store(2, std::memory_order_seq_cst);
    me.stack_low = 0x1000;
    me.stack_high = 0x2000;
    safe_point();
    EXPECT_EQ(me.pending.load(std::memory_order_seq_cst), 0U);
    me.stack_low = me.stack_high = 0;
    safe_point();
    EXPECT_EQ(order, std::vector<int>{0});
}

// Drainer and worker meet on one list again and again: each node is run or dropped once.
TEST_F(RunPointTest, draining_and_compaction_at_once_drop_each_husk_once) {
    Task& me = *current();
    for (std::uint32_t round = 1; round <= 300; ++round) {
        order.clear();
        {
            const Section section(&me);
            for (int index = 0; index < 64; ++index) {
                nodes_[index].dropped.store(0, std::memory_order_relaxed);
                nodes_[index].husk.store(index % 3 != 0 ? 1 : 0, std::memory_order_release);
                ASSERT_TRUE(push_to(me, index, round));
            }
            sync::DeferralQueue::get().queue(me.compact_item);
        }
        Worker::synchronize();
        unsigned dropped = 0;
        for (int index = 0; index < 64; ++index) {
            const std::uint32_t times = nodes_[index].dropped.load(std::memory_order_relaxed);
            ASSERT_EQ(times, index % 3 != 0 ? 1U : 0U) << "node " << index << " round " << round;
            dropped += times;
        }
        ASSERT_EQ(order.size() + dropped, 64U);
    }
}

std::jmp_buf jump;

// An application's handler that longjmps out of our section left it open in 99 of 200 time-outs.
[[gnu::noinline]] void leave_a_section_by_longjmp() {
    // Deep enough that the frame cannot be taken for the one that jumps back.
    volatile char deeper[4096];
    asm volatile("" : : "r"(deeper) : "memory");
    alignas(Section) unsigned char storage[sizeof(Section)];
    new (storage) Section(current());
    std::longjmp(jump, 1);
}

TEST_F(RunPointTest, a_section_left_by_longjmp_is_reset_by_the_next_one) {
    Task& me = *current();
    // The bounds of this thread's stack as the preload library gives them.
    const std::uintptr_t here = platform::stack_pointer();
    me.stack_low = here - (std::uintptr_t{1} << 20);
    me.stack_high = here + (std::uintptr_t{1} << 20);
    if (setjmp(jump) == 0) {
        leave_a_section_by_longjmp();
    }
    EXPECT_TRUE(me.section.is_open());
    ASSERT_TRUE(push_to(me, 0));
    {
        const Section next(&me);
    }
    EXPECT_FALSE(me.section.is_open());
    EXPECT_EQ(me.statistics.resets.get(), 1U);
    EXPECT_EQ(order, std::vector<int>{0});
}

std::uintptr_t real_stack_pointer() {
    std::uintptr_t pointer = 0;
    asm volatile("movq %%rsp, %0" : "=r"(pointer));
    return pointer;
}

// Events on 8 KiB stacks made by makecontext overran them and killed the program.
TEST_F(RunPointTest, works_do_not_run_on_a_stack_that_nothing_is_known_of) {
    Task& me = *current();
    ASSERT_TRUE(push_to(me, 0));
    me.stack_low = 0x1000;  // Not where we are.
    me.stack_high = 0x2000;
    safe_point();
    EXPECT_TRUE(order.empty());
    me.stack_low = me.stack_high = 0;
    safe_point();
    EXPECT_EQ(order, std::vector<int>{0});
}

// The stamp was that of the constructor's frame, below the code of the scope it opens: an event
// there took the section, or the handler it had interrupted, for abandoned.
TEST_F(RunPointTest, a_scope_is_not_stale_to_the_code_in_it) {
    Task& me = *current();
    const std::uintptr_t here = platform::stack_pointer();
    me.stack_low = here - (std::uintptr_t{1} << 20);
    me.stack_high = here + (std::uintptr_t{1} << 20);
    {
        const Section section(&me);
        recover(me, real_stack_pointer());
        EXPECT_TRUE(me.section.is_open());
    }
    {
        const NmiScope scope(me, real_stack_pointer(), false);
        const NmiScope nested(me, real_stack_pointer(), false);
        EXPECT_TRUE(scope.entered());
        EXPECT_FALSE(nested.entered());
    }
    EXPECT_EQ(me.statistics.resets.get(), 0U);
}

TEST_F(RunPointTest, an_open_section_of_a_live_frame_is_not_reset) {
    Task& me = *current();
    const std::uintptr_t here = platform::stack_pointer();
    me.stack_low = here - (std::uintptr_t{1} << 20);
    me.stack_high = here + (std::uintptr_t{1} << 20);
    const Section outer(&me);
    [](Task& task) {
        const Section inner(&task);
        EXPECT_EQ(task.statistics.resets.get(), 0U);
    }(me);
    EXPECT_TRUE(me.section.is_open());
}

TEST_F(RunPointTest, a_signal_is_ours_by_its_mark_alone) {
    siginfo_t info{};
    info.si_code = SI_USER;
    ucontext_t context{};
    EXPECT_FALSE(on_signal(sync::kSignal, &info, &context));
    info.si_code = SI_QUEUE;
    info.si_value.sival_ptr = reinterpret_cast<void*>(sync::kNotifyMark);
    EXPECT_TRUE(on_signal(sync::kSignal, &info, &context));
}

TEST_F(RunPointTest, K76_a_forked_child_is_no_task_until_it_joins_and_inherits_no_works) {
    Task& me = *current();
    const Section section(&me);
    ASSERT_TRUE(push_to(me, 0));
    const pid_t child = ::fork();
    if (child == 0) {
        int wrong = 0;
        wrong |= current() != nullptr ? 1 : 0;
        wrong |= current_process() != nullptr ? 2 : 0;
        wrong |= join_process("child") != no_error ? 4 : 0;
        wrong |= register_current(0, 0) != no_error ? 8 : 0;
        wrong |= current() == nullptr || current() == &me ? 16 : 0;
        safe_point();
        wrong |= order.empty() ? 0 : 32;
        exit_current();
        ::_exit(wrong);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
}

TEST_F(RunPointTest, a_killed_member_gives_its_control_blocks_back) {
    TaskTable& table = TaskTable::get();
    const std::uint32_t before = table.tasks.count_free();
    const std::uint32_t processes = table.processes.count_free();
    const pid_t child = ::fork();
    if (child == 0) {
        join_process("child");
        register_current(0, 0);
        current()->readers[0].enter();  // Dies inside a section.
        ::raise(SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    wait_until([&] {
        return table.tasks.count_free() == before && table.processes.count_free() == processes;
    });
}

}  // namespace
}  // namespace taskwork::task
