// SPDX-License-Identifier: Apache-2.0
//
// From a program that schedules to its callback, in one process; and the other kfuncs.
#include "bpf/kfuncs.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "bpf/statistics.hpp"
#include "bpf/task_view.hpp"
#include "bpf/test_program.hpp"

namespace taskwork::bpf {
namespace {

using namespace test;

/// value: { u64 text or mark; bpf_task_work at 8; u64 seen_key; u64 seen_ids }
constexpr int kMark = 0;
constexpr int kSlot = 8;
constexpr int kSeenKey = 16;
constexpr int kSeenIds = 24;
constexpr std::uint32_t kValueBytes = 32;

struct Value {
    std::uint64_t mark;
    std::uint64_t slot;
    std::uint64_t seen_key;
    std::uint64_t seen_ids;
};

class TaskWorkTest : public ::testing::Test {
protected:
    /// Looks the value of the key `key` up (key of 4 bytes) and schedules the callback, which is
    /// what `callback` says, on the current task; R0 is the result.
    Program& scheduler(map::Map& map, std::uint32_t key, const char* kfunc,
                       const std::vector<Piece>& callback) {
        std::vector<Piece> pieces{
            store_imm(BPF_W, R10, -4, key),       // 0
            domain.wide_map(R1, map),             // 1
            copy(R2, R10),                        // 3
            add(R2, -4),                          // 4
            call(BPF_FUNC_map_lookup_elem),       // 5
            copy(R6, R0),                         // 6
            call(BPF_FUNC_get_current_task_btf),  // 7
            copy(R1, R0),                         // 8
            copy(R2, R6),                         // 9
            add(R2, kSlot),                       // 10
            domain.wide_map(R3, map),             // 11
            function(R4, 4),                      // 13: the callback is at 18
            set(R5, 0),                           // 15
            BpfDomain::call_kfunc(kfunc),         // 16
            leave(),                              // 17
        };
        pieces.insert(pieces.end(), callback.begin(), callback.end());
        return domain.load(pieces);
    }
    /// A callback that adds 1 to the mark, and notes its key and who runs it.
    static std::initializer_list<Piece> noting() {
        static const std::initializer_list<Piece> pieces = {
            copy(R6, R2),
            copy(R7, R3),
            load(BPF_DW, R1, R7, kMark),
            add(R1, 1),
            store(BPF_DW, R7, kMark, R1),
            load(BPF_W, R1, R6, 0),
            store(BPF_DW, R7, kSeenKey, R1),
            call(BPF_FUNC_get_current_pid_tgid),
            store(BPF_DW, R7, kSeenIds, R0),
            set(R0, 0),
            leave(),
        };
        return pieces;
    }
    Value* value(map::Map& map, std::uint32_t key) {
        const task::ReadSection section(*task::current(), sync::Flavour::sleepable);
        return static_cast<Value*>(map::lookup(map, &key));
    }
    void insert(map::Map& map, std::uint32_t key) {
        const Value zero{};
        const task::ReadSection section(*task::current(), sync::Flavour::sleepable);
        ASSERT_EQ(map::update(map, &key, &zero, 0), no_error);
    }
    std::uint64_t results(const Program& program, ScheduleResult result) {
        return program.schedule_results[static_cast<unsigned>(result)].load(
            std::memory_order_relaxed);
    }
    static std::uint64_t ids() {
        return static_cast<std::uint64_t>(getpid()) << 32 | static_cast<std::uint64_t>(gettid());
    }

    BpfDomain domain;
    const Statistics statistics;
};

TEST_F(TaskWorkTest, runs_the_callback_at_the_end_of_the_handler_that_scheduled_it) {
    map::Map& map = domain.hash(4, kValueBytes, 4, kSlot);
    insert(map, 77);
    for (const char* kfunc :
         {"bpf_task_work_schedule_signal", "bpf_task_work_schedule_resume",
          "bpf_task_work_schedule_signal_impl", "bpf_task_work_schedule_resume_impl"}) {
        SCOPED_TRACE(kfunc);
        Program& program = scheduler(map, 77, kfunc, noting());
        Value& seen = *value(map, 77);
        const std::uint64_t before = seen.mark;
        EXPECT_EQ(domain.run_in_nmi(program), 0u);
        EXPECT_EQ(seen.mark, before + 1);
        EXPECT_EQ(seen.seen_key, 77u);
        EXPECT_EQ(seen.seen_ids, ids());
        EXPECT_EQ(results(program, ScheduleResult::ok), 1u);
        EXPECT_EQ(program.callbacks.load(std::memory_order_relaxed), 1u);
        EXPECT_EQ(program.faults.load(std::memory_order_relaxed), 0u);
    }
}

TEST_F(TaskWorkTest, gives_callbacks_of_arrays_the_index_as_their_key) {
    map::Map& map = domain.array(kValueBytes, 3, 0, kSlot);
    Program& program = scheduler(map, 2, "bpf_task_work_schedule_signal", noting());
    EXPECT_EQ(domain.run_in_nmi(program), 0u);
    EXPECT_EQ(value(map, 2)->seen_key, 2u);
    EXPECT_EQ(value(map, 2)->mark, 1u);
    EXPECT_EQ(value(map, 0)->mark, 0u);
}

TEST_F(TaskWorkTest, schedules_a_slot_once_until_its_callback_has_run) {
    map::Map& map = domain.array(kValueBytes, 1, 0, kSlot);
    Program& program = scheduler(map, 0, "bpf_task_work_schedule_signal", noting());
    {
        const task::Section section(task::current());
        EXPECT_EQ(domain.run(program), 0u);
        EXPECT_EQ(domain.run(program), negative(EBUSY));
        EXPECT_EQ(domain.run_in_nmi(program), negative(EBUSY));
        EXPECT_EQ(value(map, 0)->mark, 0u);
    }
    EXPECT_EQ(value(map, 0)->mark, 1u);
    EXPECT_EQ(results(program, ScheduleResult::ok), 1u);
    EXPECT_EQ(results(program, ScheduleResult::busy), 2u);
    EXPECT_EQ(domain.run(program), 0u);
    EXPECT_EQ(value(map, 0)->mark, 2u);
}

TEST_F(TaskWorkTest, runs_the_callback_on_another_thread_that_it_names) {
    map::Map& map = domain.array(kValueBytes, 1, 0, kSlot);
    std::atomic<int> target{0};
    std::atomic<bool> stop{false};
    std::thread other = task::task_thread([&] {
        describe_task(*task::current());
        target = gettid();
        while (!stop) {
            std::this_thread::yield();
        }
    });
    task::wait_until([&] { return target != 0; });
    const std::initializer_list<Piece> callback = noting();
    std::vector<Piece> pieces{
        store_imm(BPF_W, R10, -4, 0),                            // 0
        domain.wide_map(R1, map),                                // 1
        copy(R2, R10),                                           // 3
        add(R2, -4),                                             // 4
        call(BPF_FUNC_map_lookup_elem),                          // 5
        copy(R6, R0),                                            // 6
        set(R1, target.load()),                                  // 7
        BpfDomain::call_kfunc("bpf_task_from_pid"),              // 8
        copy(R7, R0),                                            // 9
        copy(R1, R0),                                            // 10
        copy(R2, R6),                                            // 11
        add(R2, kSlot),                                          // 12
        domain.wide_map(R3, map),                                // 13
        function(R4, 5),                                         // 15
        BpfDomain::call_kfunc("bpf_task_work_schedule_signal"),  // 17
        copy(R1, R7),                                            // 18
        BpfDomain::call_kfunc("bpf_task_release"),               // 19
        leave(),                                                 // 20
    };
    pieces.insert(pieces.end(), callback.begin(), callback.end());
    Program& program = domain.load(pieces);
    domain.run(program);
    EXPECT_EQ(results(program, ScheduleResult::ok), 1u);
    const std::uint64_t* seen = &value(map, 0)->seen_ids;
    const auto seen_ids = [seen] { return __atomic_load_n(seen, __ATOMIC_RELAXED); };
    task::wait_until([&] { return seen_ids() != 0; });
    EXPECT_EQ(seen_ids() & 0xffffffff, static_cast<std::uint64_t>(target.load()));
    stop = true;
    other.join();
}

TEST_F(TaskWorkTest, lets_a_callback_schedule_another_slot_but_not_its_own) {
    map::Map& map = domain.array(kValueBytes, 2, 0, kSlot);
    // Schedules its own slot, which is busy while it runs, then that of key 1 with noting().
    std::vector<Piece> callback{
        copy(R6, R1),                                            // +0
        copy(R7, R3),                                            // +1
        call(BPF_FUNC_get_current_task_btf),                     // +2
        copy(R8, R0),                                            // +3
        copy(R1, R8),                                            // +4
        copy(R2, R7),                                            // +5
        add(R2, kSlot),                                          // +6
        copy(R3, R6),                                            // +7
        function(R4, 17),                                        // +8
        BpfDomain::call_kfunc("bpf_task_work_schedule_signal"),  // +10
        store(BPF_DW, R7, kMark, R0),                            // +11
        store_imm(BPF_W, R10, -4, 1),                            // +12
        copy(R1, R6),                                            // +13
        copy(R2, R10),                                           // +14
        add(R2, -4),                                             // +15
        call(BPF_FUNC_map_lookup_elem),                          // +16
        copy(R1, R8),                                            // +17
        copy(R2, R0),                                            // +18
        add(R2, kSlot),                                          // +19
        copy(R3, R6),                                            // +20
        function(R4, 4),                                         // +21
        BpfDomain::call_kfunc("bpf_task_work_schedule_resume"),  // +23
        set(R0, 0),                                              // +24
        leave(),                                                 // +25
    };
    // noting() begins at +26.
    const std::initializer_list<Piece> second = noting();
    callback.insert(callback.end(), second.begin(), second.end());
    Program& program = scheduler(map, 0, "bpf_task_work_schedule_signal", callback);
    EXPECT_EQ(domain.run_in_nmi(program), 0u);
    EXPECT_EQ(value(map, 0)->mark, negative(EBUSY));
    EXPECT_EQ(value(map, 1)->mark, 1u);
    EXPECT_EQ(value(map, 1)->seen_key, 1u);
    EXPECT_EQ(results(program, ScheduleResult::ok), 2u);
    EXPECT_EQ(results(program, ScheduleResult::busy), 1u);
    EXPECT_EQ(program.callbacks.load(std::memory_order_relaxed), 2u);
    EXPECT_EQ(program.faults.load(std::memory_order_relaxed), 0u);
}

TEST_F(TaskWorkTest, lets_callbacks_read_user_memory_and_their_key_but_not_write_it) {
    map::Map& map = domain.hash(4, kValueBytes, 2, kSlot);
    insert(map, 5);
    static const char text[] = "from user";
    const auto address = reinterpret_cast<std::uint64_t>(text);
    Program& reads =
        scheduler(map, 5, "bpf_task_work_schedule_signal",
                  {copy(R1, R3), add(R1, kSeenKey), set(R2, 16), wide(R3, address), set(R4, 0),
                   BpfDomain::call_kfunc("bpf_copy_from_user_str"), set(R0, 0), leave()});
    EXPECT_EQ(domain.run_in_nmi(reads), 0u);
    EXPECT_STREQ(reinterpret_cast<const char*>(&value(map, 5)->seen_key), text);
    EXPECT_EQ(reads.faults.load(std::memory_order_relaxed), 0u);

    Program& writes = scheduler(map, 5, "bpf_task_work_schedule_signal",
                                {store_imm(BPF_W, R2, 0, 9), set(R0, 0), leave()});
    EXPECT_EQ(domain.run_in_nmi(writes), 0u);
    EXPECT_EQ(writes.faults.load(std::memory_order_relaxed), 1u);
    EXPECT_EQ(writes.last_fault_kind.load(std::memory_order_relaxed),
              static_cast<std::uint64_t>(FaultKind::bad_store));
    EXPECT_NE(value(map, 5), nullptr);
    // A callback that faulted has run, and the slot can be used again.
    EXPECT_EQ(domain.run_in_nmi(writes), 0u);
    EXPECT_EQ(results(writes, ScheduleResult::ok), 2u);
}

TEST_F(TaskWorkTest, lets_a_callback_delete_its_own_element) {
    map::Map& map = domain.hash(4, kValueBytes, 2, kSlot);
    insert(map, 5);
    Program& program = scheduler(map, 5, "bpf_task_work_schedule_signal",
                                 {copy(R7, R3), load(BPF_W, R4, R2, 0), store(BPF_W, R10, -4, R4),
                                  copy(R2, R10), add(R2, -4), call(BPF_FUNC_map_delete_elem),
                                  // The value stays memory until the callback ends.
                                  store_imm(BPF_DW, R7, kSeenKey, 1), set(R0, 0), leave()});
    EXPECT_EQ(domain.run_in_nmi(program), 0u);
    EXPECT_EQ(program.callbacks.load(std::memory_order_relaxed), 1u);
    EXPECT_EQ(program.faults.load(std::memory_order_relaxed), 0u);
    EXPECT_EQ(value(map, 5), nullptr);
}

TEST_F(TaskWorkTest, faults_on_arguments_that_the_verifier_would_refuse) {
    map::Map& map = domain.array(kValueBytes, 2, 0, kSlot);
    map::Map& other = domain.array(kValueBytes, 2, 0, kSlot);
    map::Map& plain = domain.array(kValueBytes, 2);
    enum class Wrong {
        none,
        task,
        slot_offset,
        slot_null,
        slot_stack,
        other_map,
        map_plain,
        map_null,
        function
    };
    const auto with = [&](Wrong wrong) -> Program& {
        std::vector<Piece> pieces{
            store_imm(BPF_W, R10, -4, 0),         // 0
            domain.wide_map(R1, map),             // 1
            copy(R2, R10),                        // 3
            add(R2, -4),                          // 4
            call(BPF_FUNC_map_lookup_elem),       // 5
            copy(R6, R0),                         // 6
            call(BPF_FUNC_get_current_task_btf),  // 7
            copy(R1, R0),                         // 8
            wrong == Wrong::task ? add(R1, 8) : add(R1, 0),
            copy(R2, R6),
            wrong == Wrong::slot_offset  ? add(R2, kSlot + 8)
            : wrong == Wrong::slot_null  ? set(R2, 0)
            : wrong == Wrong::slot_stack ? copy(R2, R10)
                                         : add(R2, kSlot),  // 11
            wrong == Wrong::other_map   ? domain.wide_map(R3, other)
            : wrong == Wrong::map_plain ? domain.wide_map(R3, plain)
            : wrong == Wrong::map_null  ? wide(R3, 0)
                                        : domain.wide_map(R3, map),      // 12
            wrong == Wrong::function ? wide(R4, 18) : function(R4, 3),  // 14
            BpfDomain::call_kfunc("bpf_task_work_schedule_signal"),     // 16
            leave(),                                                    // 17
            set(R0, 0),
            leave(),
        };
        return domain.load(pieces);
    };
    EXPECT_EQ(domain.run(with(Wrong::none)), 0u);
    EXPECT_FALSE(domain.execution.faulted);
    for (const Wrong wrong :
         {Wrong::task, Wrong::slot_offset, Wrong::slot_null, Wrong::slot_stack, Wrong::other_map,
          Wrong::map_plain, Wrong::map_null, Wrong::function}) {
        SCOPED_TRACE(static_cast<int>(wrong));
        domain.expect_fault(with(wrong), FaultKind::bad_argument, 16);
    }
}

TEST_F(TaskWorkTest, says_ebadf_to_a_program_that_nobody_holds_any_more) {
    // K10: its pending callbacks still run, but it makes no new ones.
    map::Map& map = domain.array(kValueBytes, 2, 0, kSlot);
    Program& program = scheduler(map, 0, "bpf_task_work_schedule_signal", noting());
    const std::uint32_t free = ProgramTable::get().programs.count_free();
    {
        const task::Section section(task::current());
        EXPECT_EQ(domain.run(program), 0u);
        put_program(program);
        // Held by its context in flight, however long that is.
        task::Worker::synchronize();
        EXPECT_EQ(ProgramTable::get().programs.count_free(), free);
        EXPECT_EQ(domain.run(program), negative(EBADF));
        EXPECT_EQ(results(program, ScheduleResult::bad_program), 1u);
    }
    EXPECT_EQ(value(map, 0)->mark, 1u);
    // Nobody loads or closes anything that would have somebody look.
    task::wait_until([&] { return ProgramTable::get().programs.count_free() == free + 1; });
    EXPECT_EQ(program.insns, nullptr);
}

TEST_F(TaskWorkTest, frees_a_program_that_nobody_holds_when_its_works_are_cancelled) {
    map::Map& map = domain.array(kValueBytes, 2, 0, kSlot);
    Program& program = scheduler(map, 0, "bpf_task_work_schedule_resume", noting());
    const std::uint32_t free = ProgramTable::get().programs.count_free();
    const std::uint32_t references = map.references.load(std::memory_order_relaxed);
    const task::Section section(task::current());  // nothing runs
    EXPECT_EQ(domain.run(program), 0u);
    put_program(program);
    task::Worker::synchronize();
    EXPECT_EQ(ProgramTable::get().programs.count_free(), free);
    defer::cancel(*map::task_work_slot(map, value(map, 0)));
    task::wait_until([&] { return ProgramTable::get().programs.count_free() == free + 1; });
    EXPECT_EQ(map.references.load(std::memory_order_relaxed), references - 1);
}

TEST_F(TaskWorkTest, says_ebusy_when_the_map_has_no_user) {
    map::Map& map = domain.array(kValueBytes, 2, 0, kSlot);
    Program& program = scheduler(map, 0, "bpf_task_work_schedule_signal", noting());
    map::put_user(map);  // the program still refers to it
    EXPECT_EQ(domain.run(program), negative(EBUSY));
    map::get_user(map);
    EXPECT_EQ(domain.run(program), 0u);
}

TEST_F(TaskWorkTest, K52_takes_no_notice_of_what_a_callback_returns) {
    map::Map& map = domain.array(kValueBytes, 1, 0, kSlot);
    std::uint64_t ran = 0;
    for (const std::int32_t result : {0, 1, -7, INT32_MAX, INT32_MIN}) {
        SCOPED_TRACE(result);
        Program& program = scheduler(map, 0, "bpf_task_work_schedule_signal",
                                     {load(BPF_DW, R1, R3, kMark), add(R1, 1),
                                      store(BPF_DW, R3, kMark, R1), set(R0, result), leave()});
        for (int round = 0; round < 2; ++round) {
            EXPECT_EQ(domain.run_in_nmi(program), 0u);
            EXPECT_EQ(value(map, 0)->mark, ++ran);
        }
        EXPECT_EQ(program.faults.load(std::memory_order_relaxed), 0u);
        EXPECT_EQ(program.callbacks.load(std::memory_order_relaxed), 2u);
    }
}

// ---- Other kfuncs -------------------------------------------------------------------------------

class KfuncTest : public TaskWorkTest {};

TEST_F(KfuncTest, finds_tasks_by_thread_id) {
    const auto find = [&](std::int64_t tid) {
        return domain.run(
            domain.load({set(R1, tid), BpfDomain::call_kfunc("bpf_task_from_pid"), leave()}));
    };
    EXPECT_EQ(find(gettid()), reinterpret_cast<std::uint64_t>(task::current()->view));
    EXPECT_EQ(find(0x7fffffff), 0u);
    EXPECT_EQ(find(0), 0u);
    EXPECT_EQ(find(-1), 0u);
}

TEST_F(KfuncTest, acquires_and_releases_tasks_only) {
    const auto acquire = [&](Piece argument) -> Program& {
        return domain.load({argument, BpfDomain::call_kfunc("bpf_task_acquire"), copy(R6, R0),
                            copy(R1, R0), BpfDomain::call_kfunc("bpf_task_release"), copy(R0, R6),
                            leave()});
    };
    const auto self = reinterpret_cast<std::uint64_t>(task::current()->view);
    EXPECT_EQ(domain.run(acquire(wide(R1, self))), self);
    // A parent that is not of the domain is a task to be read, but not one to be held.
    const auto parent = reinterpret_cast<std::uint64_t>(task_view(*task::current()).real_parent);
    EXPECT_EQ(domain.run(domain.load(
                  {wide(R1, parent), BpfDomain::call_kfunc("bpf_task_acquire"), leave()})),
              0u);
    EXPECT_FALSE(domain.execution.faulted);
    domain.expect_fault(acquire(wide(R1, 0)), FaultKind::bad_argument, 2);
    domain.expect_fault(acquire(wide(R1, self + 8)), FaultKind::bad_argument, 2);
    domain.expect_fault(
        domain.load({set(R1, 0), BpfDomain::call_kfunc("bpf_task_release"), leave()}),
        FaultKind::bad_argument, 1);
}

TEST_F(KfuncTest, copies_user_strings) {
    static const char text[] = "user text";
    const auto copy_string = [&](std::int64_t size, std::uint64_t from, std::int64_t flags) {
        std::vector<Piece> pieces{set(R1, -1),
                                  store(BPF_DW, R10, -8, R1),
                                  store(BPF_DW, R10, -16, R1),
                                  copy(R1, R10),
                                  add(R1, -16),
                                  set(R2, size),
                                  wide(R3, from),
                                  set(R4, flags),
                                  BpfDomain::call_kfunc("bpf_copy_from_user_str"),
                                  leave()};
        return static_cast<std::int64_t>(domain.run(domain.load_sleepable(pieces)));
    };
    const auto bytes = [] {
        return std::string(
            reinterpret_cast<const char*>(task::current()->bpf_stack[0]) + kFrameBytes - 16, 16);
    };
    const auto at = reinterpret_cast<std::uint64_t>(text);
    EXPECT_EQ(copy_string(16, at, 0), 10);
    EXPECT_EQ(bytes(), std::string("user text\0\xff\xff\xff\xff\xff\xff", 16));
    EXPECT_EQ(copy_string(16, at, 1), 10);
    EXPECT_EQ(bytes(), std::string("user text\0\0\0\0\0\0\0", 16));
    EXPECT_EQ(copy_string(5, at, 0), 5);
    EXPECT_STREQ(bytes().c_str(), "user");
    EXPECT_EQ(copy_string(16, at, 2), -EINVAL);
    EXPECT_EQ(copy_string(16, 0, 1), -EFAULT);
    EXPECT_EQ(bytes(), std::string(16, '\0'));
    EXPECT_EQ(copy_string(17, at, 0), 0);
    EXPECT_TRUE(domain.execution.faulted);
}

// ---- What programs see of tasks -----------------------------------------------------------------

class TaskViewTest : public TaskWorkTest {};

TEST_F(TaskViewTest, describes_the_process_as_it_is) {
    const task_struct& seen = task_view(*task::current());
    EXPECT_EQ(seen.pid, gettid());
    EXPECT_EQ(seen.tgid, getpid());
    EXPECT_EQ(seen.group_leader, &seen);
    ASSERT_NE(seen.real_parent, nullptr);
    EXPECT_EQ(seen.real_parent->tgid, getppid());
    EXPECT_NE(seen.real_parent->comm[0], '\0');
    EXPECT_EQ(seen.real_parent->real_parent, seen.real_parent);
    EXPECT_GT(seen.start_boottime, 0u);
    EXPECT_LE(seen.start_boottime, platform::boot_ns());
    EXPECT_LE(seen.start_time, platform::now_ns());
    // Ticks are 10 ms; this process is younger than an hour.
    EXPECT_GT(seen.start_time + 3'600'000'000'000U, platform::now_ns());

    const mm_struct& mm = *seen.mm;
    EXPECT_GE(reinterpret_cast<std::uint64_t>(environ[0]), mm.env_start);
    EXPECT_LT(reinterpret_cast<std::uint64_t>(environ[0]), mm.env_end);
    EXPECT_LT(mm.arg_start, mm.arg_end);
    EXPECT_LE(mm.arg_end, mm.env_start);
    EXPECT_NE(std::strstr(reinterpret_cast<const char*>(mm.arg_start), "kfuncs_test"), nullptr);
    const auto code = reinterpret_cast<std::uint64_t>(&describe_task);
    EXPECT_GE(code, mm.start_code);
    EXPECT_LT(code, mm.end_code);
    EXPECT_LE(mm.start_brk, mm.brk);
    EXPECT_GT(mm.start_stack, reinterpret_cast<std::uint64_t>(&mm));
}

TEST_F(TaskViewTest, gives_threads_their_leader_and_follows_their_names) {
    std::thread other = task::task_thread([] {
        task::Task& task = *task::current();
        pthread_setname_np(pthread_self(), "before) (x");
        describe_task(task);
        const task_struct& seen = task_view(task);
        EXPECT_EQ(seen.pid, gettid());
        EXPECT_EQ(seen.tgid, getpid());
        EXPECT_EQ(seen.group_leader->pid, getpid());
        EXPECT_EQ(seen.group_leader->mm, seen.mm);
        EXPECT_STREQ(seen.comm, "before) (x");
        EXPECT_LE(seen.start_boottime, platform::boot_ns());
        EXPECT_GT(seen.start_boottime, 0u);
        pthread_setname_np(pthread_self(), "fifteen_letters");
        refresh_tasks();
        EXPECT_STREQ(seen.comm, "fifteen_letters");
    });
    other.join();
}

}  // namespace
}  // namespace taskwork::bpf
