// SPDX-License-Identifier: Apache-2.0
//
// Locks in programs: what they exclude, and what ends an execution that the kernel's verifier would
// have refused. The phrases and numbers of the kernel: tests/reference/spin_locks_test.cpp.
#include <atomic>
#include <cerrno>
#include <thread>
#include <vector>

#include "bpf/test_program.hpp"
#include "map/value.hpp"

namespace taskwork::bpf {
namespace {

using namespace test;

constexpr int kFirst = 0;
constexpr int kLock = 8;
constexpr int kSlot = 16;
constexpr int kSecond = 24;
constexpr std::uint32_t kValueBytes = 32;

struct Value {
    std::uint64_t first;
    std::uint32_t lock;
    std::uint32_t pad;
    std::uint64_t slot;
    std::uint64_t second;
};

class SpinLocks : public ::testing::Test {
protected:
    SpinLocks() {
        map::MapSpec spec;
        spec.type = BPF_MAP_TYPE_ARRAY;
        spec.key_size = 4;
        spec.value_size = kValueBytes;
        spec.max_entries = 4;
        spec.fields.task_work = kSlot;
        spec.fields.spin_lock = kLock;
        spin_ = &domain.add_map(spec);
        std::swap(spec.fields.spin_lock, spec.fields.res_spin_lock);
        resilient_ = &domain.add_map(spec);
    }

    static bpf_insn kfunc_call(const char* name) { return BpfDomain::call_kfunc(name); }
    static constexpr const char* kTake = "bpf_res_spin_lock";
    static constexpr const char* kGive = "bpf_res_spin_unlock";
    static constexpr const char* kTakeIrq = "bpf_res_spin_lock_irqsave";
    static constexpr const char* kGiveIrq = "bpf_res_spin_unlock_irqrestore";

    /// R6 = the value of key 0, R7 = that of key 1: 14 instructions.
    std::vector<Piece> begin(const map::Map& map) const {
        std::vector<Piece> pieces;
        for (int key = 0; key < 2; ++key) {
            const std::vector<Piece> lookup = {
                store_imm(BPF_W, R10, -4, key),
                domain.wide_map(R1, map),
                copy(R2, R10),
                add(R2, -4),
                call(BPF_FUNC_map_lookup_elem),
                copy(key == 0 ? R6 : R7, R0),
            };
            pieces.insert(pieces.end(), lookup.begin(), lookup.end());
        }
        return pieces;
    }
    static constexpr std::uint64_t kBegin = 14;

    Program& program(const map::Map& map, const std::vector<Piece>& body) {
        std::vector<Piece> pieces = begin(map);
        pieces.insert(pieces.end(), body.begin(), body.end());
        return domain.load(domain.sleepable_spec(), pieces);
    }
    /// Three instructions.
    static std::vector<Piece> on(Register value, bpf_insn call) {
        return {copy(R1, value), add(R1, kLock), call};
    }
    static std::vector<Piece> join(std::initializer_list<std::vector<Piece>> parts) {
        std::vector<Piece> all;
        for (const std::vector<Piece>& part : parts) {
            all.insert(all.end(), part.begin(), part.end());
        }
        return all;
    }
    static std::vector<Piece> end(std::int64_t result = 0) { return {set(R0, result), leave()}; }
    static std::vector<Piece> lock(Register value) { return on(value, call(BPF_FUNC_spin_lock)); }
    static std::vector<Piece> unlock(Register value) {
        return on(value, call(BPF_FUNC_spin_unlock));
    }
    static std::vector<Piece> take(Register value) { return on(value, kfunc_call(kTake)); }
    static std::vector<Piece> give(Register value) { return on(value, kfunc_call(kGive)); }

    Value& value(map::Map& map, std::uint32_t key) {
        return *static_cast<Value*>(map::lookup(map, &key));
    }
    map::LockWord& word(map::Map& map, std::uint32_t key) {
        return *map::lock_word(map, &value(map, key));
    }
    /// The execution ends with this fault at this instruction behind begin(), and no lock stays.
    void expect_end(const map::Map& map, const std::vector<Piece>& body, FaultKind kind,
                    std::uint64_t insn) {
        domain.expect_fault(program(map, body), kind, kBegin + insn);
        expect_free();
    }
    void expect_free() {
        for (map::Map* map : {spin_, resilient_}) {
            for (std::uint32_t key = 0; key < 4; ++key) {
                EXPECT_EQ(word(*map, key).load(std::memory_order_acquire), 0u) << key;
            }
        }
        EXPECT_EQ(map::MapTable::get().locks.held(*task::current()), 0u);
    }

    BpfDomain domain;
    map::Map* spin_;
    map::Map* resilient_;
};

// ---- What they are for --------------------------------------------------------------------------

TEST_F(SpinLocks, of_both_kinds_let_a_program_in_and_out) {
    EXPECT_EQ(domain.run(program(*spin_, join({lock(R6), unlock(R6), end(7)}))), 7u);
    EXPECT_EQ(
        domain.run(program(*resilient_,
                           join({take(R6), {copy(R8, R0)}, give(R6), {copy(R0, R8), leave()}}))),
        0u);
    EXPECT_FALSE(domain.execution.faulted);
    expect_free();
}

TEST_F(SpinLocks, are_nested_in_the_order_of_a_stack) {
    EXPECT_EQ(
        domain.run(program(*resilient_, join({take(R6), take(R7), give(R7), give(R6), end(7)}))),
        7u);
    EXPECT_EQ(
        domain.run(program(*resilient_, join({take(R6), take(R7),
                                              // Another one of the same program.
                                              give(R7), take(R7), give(R7), give(R6), end(8)}))),
        8u);
    expect_free();
}

TEST_F(SpinLocks, may_be_taken_by_a_function_and_given_back_by_its_caller) {
    Program& split =
        program(*spin_, join({{copy(R1, R6), call_function(5)},  // 14
                              unlock(R6),                        // 16
                              end(7),                            // 19
                              // The function, at 21.
                              {add(R1, kLock), call(BPF_FUNC_spin_lock), set(R0, 0), leave()}}));
    EXPECT_EQ(domain.run(split), 7u);
    expect_free();
}

TEST_F(SpinLocks, lose_no_increment_of_four_threads_while_users_read_whole_values) {
    constexpr int kThreads = 4;
    constexpr int kRounds = 2000;
    const auto increment = [](int field) -> std::vector<Piece> {
        return {load(BPF_DW, R1, R6, field), add(R1, 1), store(BPF_DW, R6, field, R1)};
    };
    for (const bool resilient : {false, true}) {
        map::Map& map = resilient ? *resilient_ : *spin_;
        Program& counting =
            program(map, join({resilient ? take(R6) : lock(R6), increment(kFirst),
                               increment(kSecond), resilient ? give(R6) : unlock(R6), end(0)}));
        std::atomic<int> running{kThreads};
        std::vector<std::thread> threads;
        for (int i = 0; i < kThreads; ++i) {
            threads.push_back(task::task_thread([&] {
                for (int round = 0; round < kRounds; ++round) {
                    Execution execution;
                    execution.task = task::current();
                    execution.program = &counting;
                    const task::Section section(execution.task);
                    bpf::run(execution);
                    ASSERT_FALSE(execution.faulted);
                }
                running.fetch_sub(1, std::memory_order_release);
            }));
        }
        std::uint64_t reads = 0;
        while (running.load(std::memory_order_acquire) != 0) {
            // Users have BPF_F_LOCK for bpf_spin_lock alone.
            if (resilient) {
                std::this_thread::yield();
                continue;
            }
            const std::uint32_t key = 0;
            Value seen{};
            const task::Section section(task::current());
            const task::ReadSection sleepable(*task::current(), sync::Flavour::sleepable);
            ASSERT_EQ(map::lookup_copy(map, &key, &seen, BPF_F_LOCK), no_error);
            ASSERT_EQ(seen.first, seen.second) << "after " << reads << " reads";
            ++reads;
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
        EXPECT_EQ(value(map, 0).first, std::uint64_t{kThreads} * kRounds);
        EXPECT_EQ(value(map, 0).second, std::uint64_t{kThreads} * kRounds);
        EXPECT_EQ(counting.faults.load(std::memory_order_relaxed), 0u);
    }
    expect_free();
}

TEST_F(SpinLocks, work_in_callbacks_of_task_work_and_of_helpers) {
    // bpf_loop(2, callback, value, 0), the callback at 14 + 7.
    Program& looping = program(*spin_, join({{set(R1, 2), function(R2, 5), copy(R3, R6), set(R4, 0),
                                              call(BPF_FUNC_loop), leave()},  // 14 to 20
                                             {copy(R6, R2)},
                                             lock(R6),                            // 21
                                             {store_imm(BPF_DW, R6, kFirst, 5)},  // 25
                                             unlock(R6),
                                             end(0)}));  // 26
    EXPECT_EQ(domain.run(looping), 2u);
    EXPECT_EQ(value(*spin_, 0).first, 5u);
    // Scheduled onto this very thread.
    Program& scheduling = program(
        *spin_, join({{call(BPF_FUNC_get_current_task_btf), copy(R1, R0), copy(R2, R6),
                       add(R2, kSlot), domain.wide_map(R3, *spin_), function(R4, 4), set(R5, 0),
                       kfunc_call("bpf_task_work_schedule_signal_impl"), leave()},  // 14 to 24
                      {copy(R6, R3)},
                      lock(R6),
                      {store_imm(BPF_DW, R6, kFirst, 6)},
                      unlock(R6),
                      end(0)}));
    EXPECT_EQ(domain.run(scheduling), 0u);
    EXPECT_EQ(value(*spin_, 0).first, 6u);
    EXPECT_EQ(scheduling.faults.load(std::memory_order_relaxed), 0u);
    expect_free();
}

// ---- Deadlocks and time -------------------------------------------------------------------------

TEST_F(SpinLocks, resilient_ones_refuse_what_the_program_holds_already) {
    Program& twice = program(
        *resilient_, join({take(R6), take(R6), {copy(R8, R0)}, give(R6), {copy(R0, R8), leave()}}));
    EXPECT_EQ(domain.run(twice), negative(EDEADLK));
    EXPECT_EQ(domain.run_in_nmi(twice), negative(EDEADLK));
    EXPECT_FALSE(domain.execution.faulted);
    expect_free();
}

TEST_F(SpinLocks, resilient_ones_refuse_an_event_what_it_has_interrupted_holds) {
    Program& once = program(*resilient_, join({take(R6),
                                               {copy(R8, R0), jump_if(BPF_JNE, R0, 0, 3)},
                                               give(R6),
                                               {copy(R0, R8), leave()}}));
    map::SpinLocks& locks = map::MapTable::get().locks;
    task::Task& me = *task::current();
    const task::Section section(&me);
    const task::ReadSection sleepable(me, sync::Flavour::sleepable);
    ASSERT_EQ(locks.lock(me, word(*resilient_, 0), 0), no_error);
    EXPECT_EQ(domain.run_in_nmi(once), negative(EDEADLK));
    EXPECT_EQ(locks.held(me), 1u);
    locks.unlock(me, word(*resilient_, 0));
    EXPECT_EQ(domain.run_in_nmi(once), 0u);
    expect_free();
}

TEST_F(SpinLocks, held_for_too_long_time_out_or_end_the_execution) {
    // Retries for ever.
    Program& retrying =
        program(*resilient_, join({take(R6), {jump_if(BPF_JNE, R0, 0, -4)}, give(R6), end(0)}));
    Program& once = program(*resilient_, join({take(R6), {leave()}}));
    Program& spinning = program(*spin_, join({lock(R6), unlock(R6), end(0)}));
    std::atomic<bool> taken{false};
    std::atomic<bool> leave_it{false};
    std::thread holder = task::task_thread([&] {
        task::Task& me = *task::current();
        map::SpinLocks& locks = map::MapTable::get().locks;
        const task::Section section(&me);
        const task::ReadSection sleepable(me, sync::Flavour::sleepable);
        EXPECT_EQ(locks.lock(me, word(*resilient_, 0), 0), no_error);
        EXPECT_EQ(locks.lock(me, word(*spin_, 0), 0), no_error);
        taken.store(true, std::memory_order_release);
        while (!leave_it.load(std::memory_order_acquire)) {
            std::this_thread::yield();
        }
        locks.unlock_down_to(me, 0);
    });
    task::wait_until([&] { return taken.load(std::memory_order_acquire); });
    EXPECT_EQ(domain.run(once), negative(ETIMEDOUT));
    EXPECT_FALSE(domain.execution.faulted);
    EXPECT_EQ(domain.run_in_nmi(once), negative(ETIMEDOUT));
    // bpf_spin_lock has no result.
    domain.expect_fault(spinning, FaultKind::lock_timeout, kBegin + 2);
    // In an event the application waits.
    EXPECT_EQ(domain.run_in_nmi(retrying), 0u);
    EXPECT_TRUE(domain.execution.faulted);
    EXPECT_EQ(static_cast<FaultKind>(retrying.last_fault_kind.load(std::memory_order_relaxed)),
              FaultKind::too_long);
    leave_it.store(true, std::memory_order_release);
    holder.join();
    expect_free();
}

// ---- What the kernel's verifier refuses ---------------------------------------------------------

TEST_F(SpinLocks, forbid_calls_while_they_are_held) {
    const std::vector<Piece> asks = {call(BPF_FUNC_ktime_get_ns)};
    expect_end(*spin_, join({lock(R6), asks, unlock(R6), end()}), FaultKind::call_under_lock, 3);
    expect_end(*resilient_, join({take(R6), asks, give(R6), end()}), FaultKind::call_under_lock, 3);
    // One bpf_spin_lock at a time.
    expect_end(*spin_, join({lock(R6), lock(R7), unlock(R7), unlock(R6), end()}),
               FaultKind::call_under_lock, 5);
}

TEST_F(SpinLocks, K114_forbid_to_schedule_while_they_are_held) {
    for (const bool resilient : {false, true}) {
        const map::Map& map = resilient ? *resilient_ : *spin_;
        Program& scheduling =
            program(map, join({{call(BPF_FUNC_get_current_task_btf), copy(R8, R0)},  // 14
                               resilient ? take(R6) : lock(R6),                      // 16
                               {copy(R1, R8), copy(R2, R6), add(R2, kSlot),
                                domain.wide_map(R3, map), function(R4, 8), set(R5, 0),  // 19 to 26
                                kfunc_call("bpf_task_work_schedule_signal_impl")},      // 27
                               resilient ? give(R6) : unlock(R6),
                               end(),
                               end(),
                               end()}));
        domain.expect_fault(scheduling, FaultKind::call_under_lock, 27);
        EXPECT_EQ(defer::counts(map.works).scheduled, 0u);
        expect_free();
    }
}

TEST_F(SpinLocks, must_be_given_back_before_the_end) {
    for (const bool resilient : {false, true}) {
        Program& leaking = program(resilient ? *resilient_ : *spin_,
                                   join({resilient ? take(R6) : lock(R6), {set(R0, 7), leave()}}));
        EXPECT_EQ(domain.run(leaking), 0u);
        EXPECT_TRUE(domain.execution.faulted);
        EXPECT_EQ(static_cast<FaultKind>(leaking.last_fault_kind.load(std::memory_order_relaxed)),
                  FaultKind::lock_leaked);
        expect_free();
    }
    // By a callback, too, that its caller could not give back.
    Program& looping = program(*spin_, join({{set(R1, 2), function(R2, 5), copy(R3, R6), set(R4, 0),
                                              call(BPF_FUNC_loop), leave()},
                                             {copy(R6, R2)},
                                             lock(R6),
                                             end(0)}));
    domain.expect_fault(looping, FaultKind::lock_leaked, kBegin + 5);
    expect_free();
}

TEST_F(SpinLocks, are_opened_when_a_fault_ends_the_execution) {
    expect_end(*spin_, join({lock(R6), {set(R1, 0), load(BPF_DW, R0, R1, 0)}, unlock(R6), end()}),
               FaultKind::bad_load, 4);
    expect_end(*resilient_,
               join({take(R6),
                     take(R7),
                     {set(R1, 0), store(BPF_DW, R1, 0, R1)},
                     give(R7),
                     give(R6),
                     end()}),
               FaultKind::bad_store, 7);
    expect_end(*spin_, join({lock(R6), {jump(-1)}, unlock(R6), end()}), FaultKind::too_long, 3);
}

TEST_F(SpinLocks, are_given_back_only_by_who_took_them_last) {
    expect_end(*spin_, join({unlock(R6), end()}), FaultKind::lock_misused, 2);
    expect_end(*spin_, join({lock(R6), unlock(R7), end()}), FaultKind::lock_misused, 5);
    expect_end(*spin_, join({lock(R6), unlock(R6), unlock(R6), end()}), FaultKind::lock_misused, 8);
    expect_end(*resilient_, join({give(R6), end()}), FaultKind::lock_misused, 2);
    expect_end(*resilient_, join({take(R6), take(R7), give(R6), give(R7), end()}),
               FaultKind::lock_misused, 8);
    // An event's program does not open what it has interrupted.
    task::Task& me = *task::current();
    map::SpinLocks& locks = map::MapTable::get().locks;
    const task::Section section(&me);
    const task::ReadSection sleepable(me, sync::Flavour::sleepable);
    ASSERT_EQ(locks.lock(me, word(*resilient_, 0), 0, 1), no_error);
    Program& opening = program(*resilient_, join({give(R6), end(7)}));
    EXPECT_EQ(domain.run_in_nmi(opening), 0u);
    EXPECT_TRUE(domain.execution.faulted);
    EXPECT_EQ(locks.held(me), 1u);
    locks.unlock(me, word(*resilient_, 0));
    expect_free();
}

TEST_F(SpinLocks, taken_with_irqsave_are_given_back_with_the_same_flags) {
    const auto irq = [](const char* kfunc, Register value, int flags) -> std::vector<Piece> {
        return {copy(R1, value), add(R1, kLock), copy(R2, R10), add(R2, flags), kfunc_call(kfunc)};
    };
    Program& whole =
        program(*resilient_, join({irq(kTakeIrq, R6, -16), irq(kTakeIrq, R7, -24),
                                   irq(kGiveIrq, R7, -24), irq(kGiveIrq, R6, -16), end(7)}));
    EXPECT_EQ(domain.run(whole), 7u);
    EXPECT_EQ(domain.run_in_nmi(whole), 7u);
    expect_end(*resilient_, join({irq(kTakeIrq, R6, -16), give(R6), end()}),
               FaultKind::lock_misused, 7);
    expect_end(*resilient_,
               join({{store_imm(BPF_DW, R10, -16, 0)}, take(R6), irq(kGiveIrq, R6, -16), end()}),
               FaultKind::lock_misused, 8);
    expect_end(
        *resilient_,
        join({irq(kTakeIrq, R6, -16), irq(kTakeIrq, R7, -24), irq(kGiveIrq, R7, -16), end()}),
        FaultKind::lock_misused, 14);
    expect_end(*resilient_, join({irq(kTakeIrq, R6, 8), end()}), FaultKind::bad_argument, 4);
}

TEST_F(SpinLocks, are_where_the_maps_of_the_program_have_one_and_nowhere_else) {
    const map::Map& plain = domain.array(kValueBytes, 4);
    expect_end(plain, join({lock(R6), end()}), FaultKind::bad_argument, 2);
    expect_end(plain, join({take(R6), end()}), FaultKind::bad_argument, 2);
    // Of the other kind.
    expect_end(*resilient_, join({lock(R6), end()}), FaultKind::bad_argument, 2);
    expect_end(*spin_, join({take(R6), end()}), FaultKind::bad_argument, 2);
    // Beside it, or on the stack.
    expect_end(*spin_, join({{add(R6, 4)}, lock(R6), end()}), FaultKind::bad_argument, 3);
    expect_end(*spin_, join({{copy(R6, R10), add(R6, -16 - kLock)}, lock(R6), end()}),
               FaultKind::bad_argument, 4);
    // Nor are they read or written.
    expect_end(*spin_, join({{load(BPF_W, R0, R6, kLock), leave()}}), FaultKind::bad_load, 0);
    expect_end(*resilient_, join({{store_imm(BPF_W, R6, kLock, 0)}, end()}), FaultKind::bad_store,
               0);
}

TEST_F(SpinLocks, are_taken_by_updates_of_programs_that_ask_for_it) {
    const auto update = [this](map::Map& map) -> Program& {
        return program(map, {store_imm(BPF_DW, R10, -40, 9), store_imm(BPF_DW, R10, -32, 9),
                             store_imm(BPF_DW, R10, -24, 9), store_imm(BPF_DW, R10, -16, 9),
                             domain.wide_map(R1, map), copy(R2, R10), add(R2, -4), copy(R3, R10),
                             add(R3, -40), set(R4, BPF_F_LOCK), call(BPF_FUNC_map_update_elem),
                             leave()});
    };
    EXPECT_EQ(domain.run(update(*spin_)), 0u);
    EXPECT_EQ(value(*spin_, 1).first, 9u);
    EXPECT_EQ(value(*spin_, 1).lock, 0u);
    EXPECT_EQ(domain.run(update(*resilient_)), negative(EINVAL));
    expect_free();
}

// The kernel refuses resilient ones as well; here they cannot hang a handler.
TEST_F(SpinLocks, of_the_kind_that_can_hang_are_not_for_events) {
    const auto refused = domain.try_load({domain.wide_map(R1, *spin_), set(R0, 0), leave()});
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, std::errc::invalid_argument);
    EXPECT_NE(domain.log.find("tracing progs cannot use bpf_spin_lock yet"), std::string::npos);
    EXPECT_TRUE(
        domain.try_load({domain.wide_map(R1, *resilient_), set(R0, 0), leave()}).has_value());
    // One found in an inner map is a fault.
    Program& spinning = program(*spin_, join({lock(R6), unlock(R6), end(0)}));
    EXPECT_EQ(domain.run_in_nmi(spinning), 0u);
    EXPECT_TRUE(domain.execution.faulted);
    EXPECT_EQ(static_cast<FaultKind>(spinning.last_fault_kind.load(std::memory_order_relaxed)),
              FaultKind::bad_call);
}

}  // namespace
}  // namespace taskwork::bpf
