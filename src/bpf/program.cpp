// SPDX-License-Identifier: Apache-2.0
#include "bpf/program.hpp"

#include <new>

#include "bpf/interpreter.hpp"
#include "bpf/jit/code_region.hpp"
#include "bpf/jit/debugger.hpp"
#include "bpf/kfuncs.hpp"
#include "bpf/statistics.hpp"
#include "bpf/task_view.hpp"
#include "bpf/trace.hpp"
#include "defer/task_work.hpp"
#include "sync/arena.hpp"
#include "task/run_point.hpp"
#include "task/worker.hpp"

namespace taskwork::bpf {

namespace {

/// After a grace period nobody runs the program's code or reads its fields.
void free_program(Program& program) noexcept {
    for (std::uint32_t i = 0; i < program.map_count; ++i) {
        map::put_reference(*program.maps[i]);
    }
    program.map_count = 0;
    sync::Arena::release(const_cast<bpf_insn*>(program.insns), program.code_bytes);
    program.insns = nullptr;
    jit::release_native(program.native);
    ProgramTable::get().programs.release(&program);
}

/// Schedules that saw the program live have ended after a grace period; only then does a scan of
/// the contexts say that there is none and never will be.
void free_if_unreferenced(void* argument) noexcept {
    if (defer::references_program(argument)) {
        // Its works may wait for a thread that sleeps for hours, and nobody says when they end.
        task::Worker::after_a_while(free_if_unreferenced, argument);
        return;
    }
    free_program(*static_cast<Program*>(argument));
}

}  // namespace

const char* describe(FaultKind kind) noexcept {
    switch (kind) {
    case FaultKind::none:
        return "none";
    case FaultKind::bad_load:
        return "load from memory that is not the program's";
    case FaultKind::bad_store:
        return "store to memory that is not the program's";
    case FaultKind::bad_call:
        return "call that is not allowed there";
    case FaultKind::bad_argument:
        return "bad argument of a helper or kernel function";
    case FaultKind::bad_instruction:
        return "bad instruction";
    case FaultKind::too_deep:
        return "more than 8 nested calls";
    case FaultKind::too_long:
        return "too many instructions";
    case FaultKind::record_leaked:
        return "ring buffer record neither submitted nor discarded";
    case FaultKind::lock_leaked:
        return "ended inside a spin-locked region";
    case FaultKind::lock_misused:
        return "unlock of a lock that is not the last one taken";
    case FaultKind::lock_timeout:
        return "spin lock not free in time";
    case FaultKind::call_under_lock:
        return "function call while holding a lock";
    }
    return "unknown";
}

const char* describe(ScheduleResult result) noexcept {
    switch (result) {
    case ScheduleResult::ok:
        return "ok";
    case ScheduleResult::busy:
        return "EBUSY";
    case ScheduleResult::no_memory:
        return "ENOMEM";
    case ScheduleResult::no_process:
        return "ESRCH";
    case ScheduleResult::bad_program:
        return "EBADF";
    case ScheduleResult::no_element:
        return "ENOENT";
    case ScheduleResult::other:
        break;
    }
    return "other";
}

std::errc ProgramTable::create() noexcept {
    const std::size_t pool_bytes = sync::Pool::bytes(kProgramsMax, sizeof(Program));
    void* memory = sync::Arena::allocate(sizeof(ProgramTable), 64);
    void* pool = sync::Arena::allocate(pool_bytes, 64);
    if (memory == nullptr || pool == nullptr) {
        return std::errc::not_enough_memory;
    }
    auto* table = new (memory) ProgramTable;
    table->programs.init(pool, kProgramsMax, sizeof(Program), 0);
    table->next_id.store(1, std::memory_order_relaxed);
    table->statistics.store(0, std::memory_order_relaxed);
    table->debug_objects.store(nullptr, std::memory_order_relaxed);
    table->trace = TraceRing::create();
    if (table->trace == nullptr) {
        return std::errc::not_enough_memory;
    }
    sync::Arena::set_root(sync::Root::programs, table);
    // Without it programs are interpreted; `doctor` says why.
    static_cast<void>(jit::CodeRegion::create());
    return no_error;
}

ProgramTable& ProgramTable::get() noexcept {
    return *sync::Arena::root<ProgramTable>(sync::Root::programs);
}

void join() noexcept {
    assume_task();
    defer::set_callback_runner(defer::kCallbackBpf, run_callback);
    jit::show_debugger(ProgramTable::get().debug_objects.load(std::memory_order_acquire));
}

void get_program(Program& program) noexcept {
    program.references.fetch_add(1, std::memory_order_relaxed);
}

void put_program(Program& program) noexcept {
    if (program.references.fetch_sub(1, std::memory_order_acq_rel) != 1) {
        return;
    }
    sync::Word word = sync::Pool::load(&program);
    sync::Pool::transition(&program, word, word.with_state(kProgramDying));
    task::Worker::after_grace_period(free_if_unreferenced, &program);
}

std::uint64_t run(Execution& execution) noexcept {
    Program& program = *execution.program;
    task::Task& task = *execution.task;
    const task::ReadSection section(task, sync::Flavour::sleepable);
    const Level level = task::current_level(task);
    if (level == Level::task) {
        refresh_own_name(task);  // Only handlers have to do without system calls.
    }
    const CountedExecution counted(program.runs, program.run_ns);
    Machine machine(execution, level);
    return machine.run(0, reinterpret_cast<std::uint64_t>(execution.context), 0, 0);
}

void drain_trace(void (*sink)(void* argument, const char* line, std::size_t size), void* argument) {
    ProgramTable::get().trace->drain(sink, argument);
}

}  // namespace taskwork::bpf
