// SPDX-License-Identifier: Apache-2.0
#include "bpf/verifier/verifier.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "bpf/test_program.hpp"

namespace taskwork::bpf::verifier {
namespace {

using namespace taskwork::bpf::test;
using ::testing::HasSubstr;

/// Judges programs without a domain: maps are descriptions, numbered from 0.
class Verifier : public ::testing::Test {
protected:
    Verifier() {
        values.name = "values";
        values.type = BPF_MAP_TYPE_HASH;
        values.key_size = 4;
        values.value_size = 16;
        values.max_entries = 8;
        values.has_types = true;
        works = values;
        works.name = "works";
        works.fields.task_work = 8;
        other = works;
        other.name = "other";
        locked = values;
        locked.name = "locked";
        locked.fields.spin_lock = 8;
        ring.name = "ring";
        ring.type = BPF_MAP_TYPE_RINGBUF;
        ring.max_entries = 4096;
    }
    enum : std::uint64_t { kValues, kWorks, kOther, kLocked, kRing };

    Verdict verdict_of(const std::vector<Piece>& pieces) {
        std::vector<bpf_insn> insns;
        for (const Piece& piece : pieces) {
            insns.insert(insns.end(), piece.insns.begin(),
                         piece.insns.begin() + static_cast<std::ptrdiff_t>(piece.count));
        }
        const Input input{.insns = insns,
                          .type = type,
                          .sleepable = sleepable,
                          .maps = {&values, &works, &other, &locked, &ring},
                          .functions = functions,
                          .lines = {},
                          .log_level = log_level};
        log.clear();
        return verify(input, log);
    }
    void accepts(const std::vector<Piece>& pieces) {
        const Verdict verdict = verdict_of(pieces);
        EXPECT_EQ(verdict.error, 0) << verdict.reason << "\n" << log;
    }
    void refuses(const std::vector<Piece>& pieces, const char* phrase, int error = 0) {
        const Verdict verdict = verdict_of(pieces);
        EXPECT_NE(verdict.error, 0) << "accepted; expected: " << phrase << "\n" << log;
        EXPECT_THAT(verdict.reason, HasSubstr(phrase)) << log;
        if (error != 0) {
            EXPECT_EQ(verdict.error, error);
        }
    }
    static Piece map_in(Register dst, std::uint64_t index) {
        return wide(dst, index, BPF_PSEUDO_MAP_FD);
    }
    static bpf_insn kfunc_call(const char* name) {
        return make(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, kfunc_by_name(name));
    }
    /// R0: a value of the map or null, by a key on the stack.
    static std::vector<Piece> lookup(std::uint64_t map) {
        return {store_imm(BPF_W, R10, -4, 0), copy(R2, R10), add(R2, -4), map_in(R1, map),
                call(BPF_FUNC_map_lookup_elem)};
    }
    static std::vector<Piece> join(std::vector<Piece> first, const std::vector<Piece>& second) {
        first.insert(first.end(), second.begin(), second.end());
        return first;
    }

    MapInfo values, works, other, locked, ring;
    std::uint32_t type = BPF_PROG_TYPE_PERF_EVENT;
    bool sleepable = false;
    std::uint32_t log_level = 2;
    std::vector<FunctionInfo> functions;
    std::string log;
};

TEST_F(Verifier, accepts_a_program_that_returns_a_number) { accepts({set(R0, 0), leave()}); }

TEST_F(Verifier, refuses_reading_what_was_never_written) {
    refuses({leave()}, "R0 !read_ok", EACCES);
    refuses({copy(R0, R3), leave()}, "R3 !read_ok");
    refuses({set(R1, 0), call(BPF_FUNC_ktime_get_ns), copy(R0, R1), leave()}, "R1 !read_ok");
}

TEST_F(Verifier, refuses_code_that_nothing_leads_to) {
    refuses({set(R0, 0), leave(), set(R0, 1), leave()}, "unreachable insn 2", EINVAL);
}

TEST_F(Verifier, ends_the_log_with_what_it_cost) {
    log_level = 1;
    accepts({set(R0, 0), leave()});
    EXPECT_THAT(log, HasSubstr("processed 2 insns (limit 1000000) max_states_per_insn 0 "
                               "total_states 0 peak_states 0 mark_read 0\n"));
    log_level = 2;
    accepts({set(R0, 7), leave()});
    EXPECT_THAT(log, HasSubstr("0: R1=ctx() R10=fp0\n0: (b7) r0 = 7"));
}

TEST_F(Verifier, wants_a_null_check_of_what_a_map_may_not_have) {
    refuses(join(lookup(kValues), {load(BPF_DW, R0, R0, 0), leave()}),
            "R0 invalid mem access 'map_value_or_null'", EACCES);
    accepts(join(lookup(kValues), {jump_if(BPF_JEQ, R0, 0, 1), load(BPF_DW, R0, R0, 8), leave()}));
    refuses(join(lookup(kValues),
                 {jump_if(BPF_JNE, R0, 0, 2), load(BPF_DW, R0, R0, 8), leave(), leave()}),
            "R0 invalid mem access 'scalar'");
}

TEST_F(Verifier, keeps_accesses_inside_values) {
    const auto at = [](int offset) {
        return join(lookup(kValues),
                    {jump_if(BPF_JEQ, R0, 0, 1), load(BPF_DW, R0, R0, offset), leave()});
    };
    accepts(at(0));
    accepts(at(8));
    refuses(at(9), "invalid access to map value, value_size=16 off=9 size=8");
    refuses(at(-1), "R0 min value is outside of the allowed memory range");
}

TEST_F(Verifier, wants_variable_offsets_to_be_bounded) {
    const auto with = [](const std::vector<Piece>& check, int skip) {
        return join(
            join({call(BPF_FUNC_ktime_get_ns), copy(R6, R0)}, lookup(kValues)),
            join({jump_if(BPF_JEQ, R0, 0, skip)},
                 join(check, {alu(BPF_ADD, R0, R6), load(BPF_B, R0, R0, 0), set(R0, 0), leave()})));
    };
    accepts(with({alu(BPF_AND, R6, 15)}, 3));
    refuses(with({alu(BPF_AND, R6, 31)}, 3), "R0 max value is outside of the allowed memory range");
    refuses(with({}, 2), "unbounded");
    accepts(with({jump_if(BPF_JGT, R6, 15, 2)}, 3));
    refuses(with({jump_if(BPF_JSGT, R6, 15, 2)}, 3), "unbounded min value");
}

TEST_F(Verifier, keeps_pointers_on_the_stack) {
    accepts(
        {store(BPF_DW, R10, -8, R1), load(BPF_DW, R2, R10, -8), load(BPF_DW, R0, R2, 0), leave()});
    refuses({store(BPF_DW, R10, -8, R1), store_imm(BPF_B, R10, -8, 0), load(BPF_DW, R2, R10, -8),
             load(BPF_DW, R0, R2, 0), leave()},
            "R2 invalid mem access 'scalar'");
    refuses({set(R0, 0), store(BPF_DW, R10, -520, R0), leave()},
            "invalid write to stack R10 off=-520 size=8");
    refuses({load(BPF_DW, R0, R10, 0), leave()}, "invalid read from stack R10 off=0 size=8");
    refuses({store_imm(BPF_DW, R10, -12, 0), set(R0, 0), leave()}, "misaligned stack access");
}

TEST_F(Verifier, lets_contexts_be_accessed_by_their_rules) {
    accepts({load(BPF_DW, R0, R1, 160), leave()});
    refuses({load(BPF_W, R0, R1, 160), leave()}, "invalid bpf_context access off=160 size=4");
    refuses({load(BPF_DW, R0, R1, 184), leave()}, "invalid bpf_context access off=184 size=8");
    refuses({store_imm(BPF_DW, R1, 0, 0), set(R0, 0), leave()}, "invalid bpf_context access");
    refuses({add(R1, 8), load(BPF_DW, R0, R1, 0), leave()},
            "dereference of modified ctx ptr R1 off=8 disallowed");
    type = BPF_PROG_TYPE_SYSCALL;
    sleepable = true;
    accepts({store_imm(BPF_DW, R1, 1000, 0), set(R0, 0), leave()});
}

TEST_F(Verifier, ends_loops_that_are_bounded) {
    accepts({set(R1, 0), add(R1, 1), jump_if(BPF_JLT, R1, 1000, -2), set(R0, 0), leave()});
    refuses({set(R0, 0), jump(-1), leave()}, "unreachable insn 2");
    refuses({set(R0, 0), jump_if(BPF_JEQ, R0, 0, -1), leave()}, "infinite loop detected at insn 1");
}

TEST_F(Verifier, gives_up_after_a_million_instructions) {
    refuses({set(R1, 0), add(R1, 1), jump_if(BPF_JNE, R1, 100000000, -2), set(R0, 0), leave()},
            "BPF program is too large. Processed 1000001 insn", E2BIG);
}

TEST_F(Verifier, ends_paths_that_come_to_what_was_seen) {
    // 40 branches that meet again: 2^40 paths.
    std::vector<Piece> pieces;
    for (int i = 0; i < 40; ++i) {
        pieces.insert(pieces.end(),
                      {call(BPF_FUNC_get_prandom_u32), copy(R6, R0), set(R7, 0), set(R8, 1),
                       jump_if(BPF_JEQ, R6, 0, 1), set(R7, 1), copy(R6, R7)});
    }
    pieces.insert(pieces.end(), {copy(R0, R6), leave()});
    const Verdict verdict = verdict_of(pieces);
    EXPECT_EQ(verdict.error, 0) << verdict.reason;
    EXPECT_LT(verdict.statistics.insns_processed, 2000u);
}

TEST_F(Verifier, does_not_end_a_path_on_which_a_number_matters_that_was_another) {
    // R6 is 0 or 100; the second path must not be taken for the first, which was walked.
    refuses(
        join({call(BPF_FUNC_get_prandom_u32), set(R6, 0), jump_if(BPF_JEQ, R0, 0, 1), set(R6, 100),
              set(R7, 0), set(R8, 0), set(R9, 0), copy(R7, R8), copy(R7, R9),
              call(BPF_FUNC_get_prandom_u32), jump_if(BPF_JEQ, R0, 7, 1), set(R8, 2), copy(R7, R8)},
             join(lookup(kValues), {jump_if(BPF_JEQ, R0, 0, 2), alu(BPF_ADD, R0, R6),
                                    load(BPF_B, R0, R0, 0), set(R0, 0), leave()})),
        "R0 min value is outside of the allowed memory range");
}

TEST_F(Verifier, checks_arguments_of_helpers) {
    refuses({set(R1, 0), set(R2, 0), call(BPF_FUNC_map_lookup_elem), leave()},
            "R1 type=scalar expected=map_ptr", EACCES);
    refuses({map_in(R1, kValues), set(R2, 5), call(BPF_FUNC_map_lookup_elem), leave()},
            "R2 type=scalar expected=fp, pkt, pkt_meta, map_key, map_value");
    refuses(
        {map_in(R1, kRing), copy(R2, R10), add(R2, -4), call(BPF_FUNC_map_lookup_elem), leave()},
        "invalid zero-sized read");
    refuses({map_in(R1, kValues), set(R2, 0), call(BPF_FUNC_ringbuf_query), leave()},
            "cannot pass map_type 1 into func bpf_ringbuf_query#134");
    refuses({copy(R1, R10), add(R1, -8), call(BPF_FUNC_get_current_comm), leave()}, "R2 !read_ok");
    refuses({call(BPF_FUNC_ktime_get_ns), copy(R2, R0), copy(R1, R10), add(R1, -8),
             call(BPF_FUNC_get_current_comm), leave()},
            "R2 min value is negative");
    refuses({copy(R1, R10), add(R1, -8), set(R2, 16), call(BPF_FUNC_get_current_comm), leave()},
            "invalid write to stack R1 off=-8 size=16");
}

TEST_F(Verifier, wants_records_to_be_given_back) {
    const std::vector<Piece> reserve{map_in(R1, kRing), set(R2, 8), set(R3, 0),
                                     call(BPF_FUNC_ringbuf_reserve)};
    const std::vector<Piece> submit{copy(R1, R0), set(R2, 0), call(BPF_FUNC_ringbuf_submit),
                                    set(R0, 0), leave()};
    accepts(join(reserve, join({jump_if(BPF_JEQ, R0, 0, 4), store_imm(BPF_DW, R0, 0, 1)}, submit)));
    refuses(join(reserve, {set(R0, 0), leave()}), "Unreleased reference id=1 alloc_insn=4", EINVAL);
    refuses(join(reserve, submit), "R1 type=ringbuf_mem_or_null expected=ringbuf_mem");
    refuses(join(reserve, {jump_if(BPF_JEQ, R0, 0, 6), copy(R6, R0), copy(R1, R0), set(R2, 0),
                           call(BPF_FUNC_ringbuf_submit), store_imm(BPF_DW, R6, 0, 1), set(R0, 0),
                           set(R0, 0), leave()}),
            "R6 invalid mem access 'scalar'");
}

TEST_F(Verifier, K111_lets_callbacks_sleep_whoever_schedules_them_and_others_only_if_they_may) {
    const std::vector<Piece> sleeps{
        copy(R1, R10), add(R1, -8), set(R2, 8), set(R3, 0), call(BPF_FUNC_copy_from_user),
        set(R0, 0),    leave()};
    refuses(sleeps, "helper call might sleep in a non-sleepable prog");
    sleepable = true;
    accepts(sleeps);
}

/// A program that schedules; the pieces set R1 to R4 up, R6 is the value, R7 the task.
class Schedules : public Verifier {
protected:
    /// `after` follows the program: the callback.
    std::vector<Piece> program(const std::vector<Piece>& arguments,
                               const std::vector<Piece>& callback, std::uint64_t map = kWorks) {
        std::vector<Piece> pieces =
            join({call(BPF_FUNC_get_current_task_btf), copy(R7, R0)},
                 join(lookup(map), {jump_if(BPF_JNE, R0, 0, 2), set(R0, 0), leave(), copy(R6, R0),
                                    copy(R1, R7), copy(R2, R6), add(R2, 8), map_in(R3, kWorks)}));
        // Two for R4, the call, the result, the end.
        const int distance = static_cast<int>(size_of(arguments)) + 3 + 1;
        pieces.push_back(function(R4, distance));
        pieces = join(pieces, arguments);
        pieces = join(pieces, {kfunc_call("bpf_task_work_schedule_signal"), set(R0, 0), leave()});
        return join(pieces, callback);
    }
    static std::size_t size_of(const std::vector<Piece>& pieces) {
        std::size_t size = 0;
        for (const Piece& piece : pieces) {
            size += piece.count;
        }
        return size;
    }
    const std::vector<Piece> idle{set(R0, 0), leave()};
};

TEST_F(Schedules, accept_what_the_kernel_accepts) { accepts(program({}, idle)); }

TEST_F(Schedules, K106_want_a_trusted_task) {
    refuses(program({set(R1, 0)}, idle), "Possibly NULL pointer passed to trusted R1");
    refuses(program({set(R1, 5)}, idle),
            "arg#0 pointer type STRUCT task_struct must point to scalar, or struct with scalar");
    refuses(program({load(BPF_DW, R1, R7, 16)}, idle), "R1 must be referenced or trusted");
}

TEST_F(Schedules, K107_want_exactly_the_slot_of_a_value) {
    refuses(program({set(R2, 0)}, idle), "Possibly NULL pointer passed to trusted R2");
    refuses(program({copy(R2, R10), add(R2, -8)}, idle), "R2 doesn't point to a map value");
    refuses(program({add(R2, -8)}, idle),
            "off 0 doesn't point to 'struct bpf_task_work' that is at 8");
    refuses(program({}, idle, kValues), "map 'values' has no valid bpf_task_work");
}

TEST_F(Schedules, K108_want_the_map_of_the_slot) {
    refuses(program({set(R3, 0)}, idle), "Possibly NULL pointer passed to trusted R3");
    refuses(program({map_in(R3, kOther)}, idle),
            "bpf_task_work pointer in R2 map_uid=0 doesn't match map pointer in R3 map_uid=0");
    refuses(program({map_in(R3, kRing)}, idle), "doesn't match map pointer in R3");
    refuses(program({copy(R3, R6)}, idle), "R3 must be referenced or trusted");
}

TEST_F(Schedules, K109_want_a_function_of_their_own) {
    // The callback is named all the same, or it would be unreachable.
    refuses(program({set(R4, 0)}, idle), "Possibly NULL pointer passed to trusted R4");
    refuses(program({}, {copy(R0, R4), leave()}), "R4 !read_ok");
}

TEST_F(Schedules, K110_keep_callbacks_off_the_key_and_the_slot) {
    refuses(program({}, {store_imm(BPF_W, R2, 0, 1), set(R0, 0), leave()}),
            "write to change key R2 not allowed");
    accepts(program({}, {load(BPF_W, R0, R2, 0), leave()}));
    accepts(program({}, {store_imm(BPF_DW, R3, 0, 1), set(R0, 0), leave()}));
    refuses(program({}, {store_imm(BPF_DW, R3, 8, 1), set(R0, 0), leave()}),
            "bpf_task_work cannot be accessed directly by load/store");
}

TEST_F(Schedules, K111_may_sleep_in_callbacks) {
    accepts(program({}, {copy(R1, R10), add(R1, -8), set(R2, 8), set(R3, 0),
                         call(BPF_FUNC_copy_from_user), set(R0, 0), leave()}));
}

TEST_F(Schedules, K112_take_any_int_as_the_result_of_a_callback) {
    accepts(program({}, {call(BPF_FUNC_ktime_get_ns), leave()}));
    refuses(program({}, {copy(R0, R3), leave()}),
            "At async callback return the register R0 is not a known value (map_value)");
    refuses(program({}, {leave()}), "R0 !read_ok");
}

TEST_F(Schedules, K113_let_callbacks_leave_with_nothing_held) {
    refuses(program({}, {map_in(R1, kRing), set(R2, 8), set(R3, 0), call(BPF_FUNC_ringbuf_reserve),
                         set(R0, 0), leave()}),
            "Unreleased reference");
    refuses(program({}, {kfunc_call("bpf_rcu_read_lock"), set(R0, 0), leave()}),
            "cannot be used inside bpf_rcu_read_lock-ed region");
}

TEST_F(Schedules, K114_are_refused_under_a_lock_and_accepted_inside_rcu) {
    const auto inside_rcu = program({}, idle);
    std::vector<Piece> pieces{kfunc_call("bpf_rcu_read_lock")};
    pieces = join(pieces, inside_rcu);
    refuses(pieces, "cannot be used inside bpf_rcu_read_lock-ed region");
    refuses(
        join(lookup(kLocked), {jump_if(BPF_JNE, R0, 0, 2), set(R0, 0), leave(), copy(R1, R0),
                               add(R1, 8), call(BPF_FUNC_spin_lock),
                               kfunc_call("bpf_task_work_schedule_signal"), set(R0, 0), leave()}),
        "function calls are not allowed while holding a lock");
}

TEST_F(Schedules, K115_end_when_a_callback_schedules_itself) {
    // Its own slot, in its value; itself.
    const std::vector<Piece> callback{
        copy(R6, R1), copy(R7, R3),     call(BPF_FUNC_get_current_task_btf),
        copy(R1, R0), copy(R2, R7),     add(R2, 8),
        copy(R3, R6), function(R4, -8), kfunc_call("bpf_task_work_schedule_resume"),
        set(R0, 0),   leave()};
    accepts(program({}, callback));
}

TEST_F(Schedules, tell_what_a_callback_comes_to_from_what_another_of_its_entries_came_to) {
    // On its way it puts another way off, passes a checkpoint, and schedules itself on another map:
    // a second entry, which comes to the same checkpoint in the same state and is no endless loop.
    std::vector<Piece> callback{call(BPF_FUNC_get_prandom_u32), jump_if(BPF_JEQ, R0, 1, 0),
                                jump_if(BPF_JEQ, R0, 2, 0)};
    for (int i = 0; i < 6; ++i) {
        callback.emplace_back(set(R6, 0));
    }
    callback = join(
        callback, {jump_if(BPF_JEQ, R0, 3, 0), call(BPF_FUNC_get_current_task_btf), copy(R7, R0)});
    callback = join(callback, lookup(kOther));
    callback = join(callback, {jump_if(BPF_JEQ, R0, 0, 8), copy(R2, R0), add(R2, 8), copy(R1, R7),
                               map_in(R3, kOther)});
    const auto back = -static_cast<int>(size_of(callback)) - 1;
    callback = join(callback, {function(R4, back), kfunc_call("bpf_task_work_schedule_signal"),
                               set(R0, 0), leave()});
    accepts(program({}, callback));
}

TEST_F(Verifier, walks_functions_and_what_they_return) {
    accepts({set(R1, 1), call_function(1), leave(), copy(R0, R1), leave()});
    refuses({set(R1, 1), call_function(1), leave(), copy(R0, R10), leave()},
            "cannot return stack pointer to the caller");
    refuses({call_function(0), call_function(-1), leave()},
            "the call stack of 9 frames is too deep");
    refuses({store_imm(BPF_DW, R10, -400, 0), call_function(1), leave(),
             store_imm(BPF_DW, R10, -400, 0), set(R0, 0), leave()},
            "combined stack size of 2 calls is 800. Too large");
}

TEST_F(Verifier, judges_global_functions_by_their_types) {
    FunctionInfo sum{.insn = 3, .name = "sum", .is_global = true};
    sum.arguments = {{.kind = ArgumentInfo::Kind::memory, .size = 8}};
    functions = {{.insn = 0, .name = "main"}, sum};
    const std::vector<Piece> body{jump_if(BPF_JEQ, R1, 0, 2), load(BPF_DW, R0, R1, 0), leave(),
                                  set(R0, 0), leave()};
    accepts(join({set(R1, 0), call_function(1), leave()}, body));
    refuses(join({set(R1, 5), call_function(1), leave()}, body), "R1 type=scalar expected=");
    refuses({set(R1, 0), call_function(1), leave(), load(BPF_DW, R0, R1, 0), leave()},
            "R1 invalid mem access 'mem_or_null'");
}

TEST_F(Verifier, walks_callbacks_until_nothing_new_is_found) {
    // Counts on the caller's stack, for which no number of rounds is too many.
    const std::vector<Piece> counts{load(BPF_DW, R3, R2, 0), add(R3, 1), store(BPF_DW, R2, 0, R3),
                                    set(R0, 0), leave()};
    const std::vector<Piece> caller{store_imm(BPF_DW, R10, -8, 0),
                                    set(R1, 1000000),
                                    function(R2, 7),
                                    copy(R3, R10),
                                    add(R3, -8),
                                    set(R4, 0),
                                    call(BPF_FUNC_loop),
                                    set(R0, 0),
                                    leave()};
    accepts(join(caller, counts));
    std::vector<Piece> two{set(R0, 2), leave()};
    refuses(join(caller, two),
            "At callback return the register R0 has smin=2 smax=2 should have been "
            "in [0, 1]");
}

TEST_F(Verifier, remembers_how_many_calls_of_a_callback_are_to_come) {
    // Two calls. One way sets the second word, then the first; another the first at once. Both come
    // to the same words, the latter with a call to come, which fails.
    const std::vector<Piece> sets{load(BPF_DW, R6, R2, 0),
                                  load(BPF_DW, R7, R2, 8),
                                  copy(R8, R2),
                                  jump_if(BPF_JEQ, R6, 1, 9),
                                  jump_if(BPF_JEQ, R7, 1, 5),
                                  call(BPF_FUNC_get_prandom_u32),
                                  jump_if(BPF_JSET, R0, 1, 3),
                                  store_imm(BPF_DW, R8, 8, 1),
                                  set(R0, 0),
                                  leave(),
                                  store_imm(BPF_DW, R8, 0, 1),
                                  store_imm(BPF_DW, R8, 8, 0),
                                  jump(-5),
                                  load(BPF_DW, R0, R6, 0),
                                  jump(-7)};
    const auto caller = [](int calls) {
        return std::vector<Piece>{store_imm(BPF_DW, R10, -16, 0),
                                  store_imm(BPF_DW, R10, -8, 0),
                                  set(R1, calls),
                                  function(R2, 7),
                                  copy(R3, R10),
                                  add(R3, -16),
                                  set(R4, 0),
                                  call(BPF_FUNC_loop),
                                  set(R0, 0),
                                  leave()};
    };
    accepts(join(caller(1), sets));
    refuses(join(caller(2), sets), "R6 invalid mem access 'scalar'");
}

TEST_F(Verifier, follows_each_number_back_also_where_others_were_followed_before) {
    // Two paths meet with 1 and with 100 in r7. Only at the end, far behind, that matters.
    std::vector<Piece> program{call(BPF_FUNC_get_prandom_u32),
                               copy(R6, R0),
                               alu(BPF_AND, R6, 31),
                               set(R8, 0),
                               set(R7, 100),
                               call(BPF_FUNC_get_prandom_u32),
                               jump_if(BPF_JGT, R0, 7, 1),
                               set(R7, 1)};
    const auto go_on = [&program] { program.insert(program.end(), 70, Piece(add(R8, 1))); };
    const auto use = [&program](Register number) {
        program = join(program, {copy(R1, R10), add(R1, -64), alu(BPF_ADD, R1, number),
                                 load(BPF_B, R2, R1, 0)});
    };
    go_on();
    use(R6);
    go_on();
    use(R6);
    accepts(join(program, {set(R0, 0), leave()}));
    go_on();
    use(R7);
    refuses(join(program, {set(R0, 0), leave()}), "invalid read from stack R1 off=36 size=1");
}

TEST_F(Verifier, gives_up_a_number_that_moves_away_from_its_copy_in_a_loop) {
    accepts({call(BPF_FUNC_ktime_get_ns), copy(R6, R0), copy(R7, R0),
             make(BPF_JMP | kOpConditionalPseudo, 0, 0, 2, 0), add(R6, 1), jump(-3), set(R0, 0),
             leave()});
}

TEST_F(Verifier, pairs_locks_with_unlocks) {
    const std::vector<Piece> take =
        join(lookup(kLocked), {jump_if(BPF_JNE, R0, 0, 2), set(R0, 0), leave(), copy(R6, R0),
                               copy(R1, R0), add(R1, 8), call(BPF_FUNC_spin_lock)});
    const std::vector<Piece> give{copy(R1, R6), add(R1, 8), call(BPF_FUNC_spin_unlock), set(R0, 0),
                                  leave()};
    accepts(join(take, join({store_imm(BPF_DW, R6, 0, 1)}, give)));
    refuses(join(take, {set(R0, 0), leave()}), "cannot be used inside bpf_spin_lock-ed region");
    refuses(join(take, join({call(BPF_FUNC_ktime_get_ns)}, give)),
            "function calls are not allowed while holding a lock");
    refuses(join(take, join({store_imm(BPF_W, R6, 8, 1)}, give)),
            "bpf_spin_lock cannot be accessed directly by load/store");
}

TEST_F(Verifier, counts_references_of_tasks) {
    const std::vector<Piece> find{set(R1, 1), kfunc_call("bpf_task_from_pid")};
    refuses(join(find, {set(R0, 0), leave()}), "Unreleased reference");
    accepts(join(find, {jump_if(BPF_JEQ, R0, 0, 3), load(BPF_W, R6, R0, 0), copy(R1, R0),
                        kfunc_call("bpf_task_release"), set(R0, 0), leave()}));
    refuses(join(find, {load(BPF_W, R6, R0, 0), set(R0, 0), leave()}),
            "R0 invalid mem access 'ptr_or_null_'");
    refuses({call(BPF_FUNC_get_current_task_btf), copy(R1, R0), kfunc_call("bpf_task_release"),
             set(R0, 0), leave()},
            "release kernel function bpf_task_release expects refcounted PTR_TO_BTF_ID");
}

}  // namespace
}  // namespace taskwork::bpf::verifier
