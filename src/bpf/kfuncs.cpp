// SPDX-License-Identifier: Apache-2.0
#include "bpf/kfuncs.hpp"

#include <linux/bpf.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "bpf/checking.hpp"
#include "bpf/helpers.hpp"
#include "bpf/jit/adapter.hpp"
#include "bpf/statistics.hpp"
#include "bpf/task_view.hpp"
#include "map/map.hpp"
#include "task/run_point.hpp"

namespace taskwork::bpf {

namespace {

/// bpf_copy_from_user_str: the part behind the string is cleared.
constexpr std::uint64_t kPadZeros = 1;

ScheduleResult result_of(std::errc error) noexcept {
    if (error == no_error) {
        return ScheduleResult::ok;
    }
    switch (error) {
    case std::errc::device_or_resource_busy:
        return ScheduleResult::busy;
    case std::errc::not_enough_memory:
        return ScheduleResult::no_memory;
    case std::errc::no_such_process:
        return ScheduleResult::no_process;
    case std::errc::bad_file_descriptor:
        return ScheduleResult::bad_program;
    case std::errc::no_such_file_or_directory:
        return ScheduleResult::no_element;
    default:
        return ScheduleResult::other;
    }
}

/// The task whose view R holds; nullptr: none, which only a parent can be that is not of the
/// domain.
task::Task* task_argument(Machine& machine, std::uint64_t value) noexcept {
    task::Task* task = task_of_view(value);
    if (kIsChecking && task == nullptr && !is_outside_parent(value)) {
        machine.fault(FaultKind::bad_argument);
    }
    return task;
}

bool is_live(const task::Task& task) noexcept {
    const std::uint8_t state = sync::Pool::load(&task).state();
    return state == task::kTaskAlive || state == task::kTaskExited;
}

/// R1 task, R2 slot, R3 map, R4 function. What the kernel's verifier would refuse is a fault: a
/// slot that is not exactly the one of a value of this map, a map or function that is not the
/// program's own.
std::uint64_t schedule(Machine& machine, const std::uint64_t* arguments,
                       task::Notify mode) noexcept {
    task::Task* target = task_argument(machine, arguments[0]);
    map::Map* map = map_argument(machine, arguments[2]);
    std::uint32_t entry = 0;
    if (target == nullptr || !function_argument(machine, arguments[3], &entry) ||
        (kIsChecking && (map == nullptr || map->fields.task_work == map::kNoField))) {
        return machine.fault(FaultKind::bad_argument);
    }
    const std::uint64_t value = arguments[1] - static_cast<std::uint32_t>(map->fields.task_work);
    defer::Slot* slot = nullptr;
    if (!kIsChecking || (map::value_start(*map, value) == value && value != 0)) {
        slot = map::task_work_slot(*map, reinterpret_cast<void*>(value));
    }
    if (kIsChecking && (slot == nullptr || reinterpret_cast<std::uint64_t>(slot) != arguments[1])) {
        return machine.fault(FaultKind::bad_argument);
    }

    // A program whose handles are all closed may be waiting for its contexts to end: it makes no
    // new ones (K10). Checked inside the sleepable section that its retirement waits for.
    std::errc error = std::errc::bad_file_descriptor;
    if (sync::Pool::load(machine.program).state() == kProgramLive) {
        defer::ScheduleRequest request;
        request.target = target;
        request.mode = mode;
        request.callback = {defer::kCallbackBpf, entry, machine.program, map,
                            reinterpret_cast<void*>(value)};
        request.user_count = &map->user_count;
        request.totals = &map->works;
        error = defer::schedule(*slot, request);
    }
    machine.program->schedule_results[static_cast<unsigned>(result_of(error))].fetch_add(
        1, std::memory_order_relaxed);
    return as_result(negative_errno(error));
}

std::uint64_t schedule_signal(Machine& machine, const std::uint64_t* arguments) noexcept {
    return schedule(machine, arguments, task::Notify::signal);
}

std::uint64_t schedule_resume(Machine& machine, const std::uint64_t* arguments) noexcept {
    return schedule(machine, arguments, task::Notify::resume);
}

/// R1 buffer, R2 its size, R3 user address, R4 flags.
std::uint64_t copy_from_user_str(Machine& machine, const std::uint64_t* arguments) noexcept {
    const auto size = static_cast<std::uint32_t>(arguments[1]);
    if (!is_writable(machine, arguments[0], size)) {
        return machine.fault(FaultKind::bad_argument);
    }
    if ((arguments[3] & ~kPadZeros) != 0) {
        return as_result(-EINVAL);
    }
    auto* buffer = reinterpret_cast<char*>(arguments[0]);
    const long result = machine.user_memory.read_string(buffer, arguments[2], size);
    const std::size_t used = result < 0 ? 0 : static_cast<std::size_t>(result);
    if ((arguments[3] & kPadZeros) != 0 && used < size) {
        std::memset(buffer + used, 0, size - used);
    } else if (result < 0 && size != 0) {
        buffer[0] = '\0';
    }
    return as_result(result);
}

std::uint64_t task_from_pid(Machine&, const std::uint64_t* arguments) noexcept {
    const auto tid = static_cast<std::int32_t>(arguments[0]);
    task::Task* task = tid > 0 ? task::TaskTable::get().find(tid) : nullptr;
    return task == nullptr ? 0 : reinterpret_cast<std::uint64_t>(task->view);
}

/// Tasks stay memory until the section of this execution ends (task.hpp), and the views of exited
/// ones stay readable: a reference needs no count.
std::uint64_t task_acquire(Machine& machine, const std::uint64_t* arguments) noexcept {
    const task::Task* task = task_argument(machine, arguments[0]);
    return task != nullptr && is_live(*task) ? arguments[0] : 0;
}

std::uint64_t task_release(Machine& machine, const std::uint64_t* arguments) noexcept {
    task_argument(machine, arguments[0]);
    return 0;
}

/// struct bpf_iter_num of a program's stack: what was given last, and where it ends. Both 0: there
/// is nothing (more).
struct NumberIterator {
    std::int32_t last;
    std::int32_t end;
};
static_assert(sizeof(NumberIterator) == 8);
/// Most numbers of an iterator (BPF_MAX_LOOPS).
constexpr std::int64_t kIteratedMax = 8 << 20;

/// The iterator in R1, or nullptr after a fault.
NumberIterator* iterator_argument(Machine& machine, std::uint64_t address) noexcept {
    if (kIsChecking && (address % sizeof(NumberIterator) != 0 ||
                        !machine.may_write(address, sizeof(NumberIterator)))) {
        machine.fault(FaultKind::bad_argument);
        return nullptr;
    }
    return reinterpret_cast<NumberIterator*>(address);
}

/// The number behind one; from the greatest to the least.
std::int32_t behind(std::int32_t number, std::int32_t by) noexcept {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(number) +
                                     static_cast<std::uint32_t>(by));
}

/// R1 iterator, R2 first number, R3 the one behind the last. Errors: EINVAL (the end is before the
/// start), E2BIG (more than kIteratedMax); the iterator then has nothing.
std::uint64_t iter_num_new(Machine& machine, const std::uint64_t* arguments) noexcept {
    NumberIterator* iterator = iterator_argument(machine, arguments[0]);
    if (iterator == nullptr) {
        return 0;
    }
    const auto start = static_cast<std::int32_t>(arguments[1]);
    const auto end = static_cast<std::int32_t>(arguments[2]);
    *iterator = {0, 0};
    if (start > end) {
        return as_result(-EINVAL);
    }
    if (std::int64_t{end} - start > kIteratedMax) {
        return as_result(-E2BIG);
    }
    *iterator = {behind(start, -1), end};
    return 0;
}

/// R1 iterator. Returns the address of the next number, which is in the iterator, or NULL.
std::uint64_t iter_num_next(Machine& machine, const std::uint64_t* arguments) noexcept {
    NumberIterator* iterator = iterator_argument(machine, arguments[0]);
    if (iterator == nullptr) {
        return 0;
    }
    const std::int32_t next = behind(iterator->last, 1);
    if (next >= iterator->end) {
        *iterator = {0, 0};
        return 0;
    }
    iterator->last = next;
    return reinterpret_cast<std::uint64_t>(&iterator->last);
}

/// R1 iterator.
std::uint64_t iter_num_destroy(Machine& machine, const std::uint64_t* arguments) noexcept {
    if (NumberIterator* iterator = iterator_argument(machine, arguments[0])) {
        *iterator = {0, 0};
    }
    return 0;
}

/// Sections of RCU: every execution is inside one of its own. Regions without preemption: nothing
/// keeps other threads from a processor (DESIGN.md, section 8).
std::uint64_t nothing(Machine&, const std::uint64_t*) noexcept { return 0; }

constexpr Kfunc kTable[] = {
    {"bpf_task_work_schedule_signal", schedule_signal},
    {"bpf_task_work_schedule_resume", schedule_resume},
    {"bpf_task_work_schedule_signal_impl", schedule_signal},
    {"bpf_task_work_schedule_resume_impl", schedule_resume},
    {"bpf_copy_from_user_str", copy_from_user_str, true},
    {"bpf_task_from_pid", task_from_pid},
    {"bpf_task_acquire", task_acquire},
    {"bpf_task_release", task_release},
    {"bpf_rcu_read_lock", nothing},
    {"bpf_rcu_read_unlock", nothing},
    {"bpf_res_spin_lock", res_spin_lock, false, true},
    {"bpf_res_spin_unlock", res_spin_unlock, false, true},
    {"bpf_res_spin_lock_irqsave", res_spin_lock_irqsave, false, true},
    {"bpf_res_spin_unlock_irqrestore", res_spin_unlock_irqrestore, false, true},
    {"bpf_iter_num_new", iter_num_new, false, true},
    {"bpf_iter_num_next", iter_num_next, false, true},
    {"bpf_iter_num_destroy", iter_num_destroy, false, true},
    {"bpf_preempt_disable", nothing},
    {"bpf_preempt_enable", nothing},
};

static_assert(std::size(kTable) == kKfuncs);

/// In native code, where the interpreter counts the instruction of the call alone.
constexpr std::uint64_t kKfuncCost = 4;

template <std::size_t... number>
constexpr std::array<jit::NativeHelper, kKfuncs> make_native_table(std::index_sequence<number...>) {
    return {jit::adapter<kTable[number].function, kKfuncCost>...};
}
constexpr std::array<jit::NativeHelper, kKfuncs> kNativeTable =
    make_native_table(std::make_index_sequence<kKfuncs>());

}  // namespace

std::int32_t kfunc_by_name(std::string_view name) noexcept {
    for (std::size_t i = 0; i < std::size(kTable); ++i) {
        if (name == kTable[i].name) {
            return static_cast<std::int32_t>(i);
        }
    }
    return -1;
}

const jit::NativeHelper* native_kfuncs() noexcept { return kNativeTable.data(); }

const Kfunc& kfunc(std::int32_t number) noexcept { return kTable[number]; }

std::uint64_t call_kfunc(Machine& machine, std::int32_t number,
                         const std::uint64_t* arguments) noexcept {
    if (kIsChecking && (number < 0 || static_cast<std::size_t>(number) >= std::size(kTable) ||
                        (kTable[number].sleepable && machine.level == Level::nmi))) {
        return machine.fault(FaultKind::bad_call);
    }
    if (kIsChecking && machine.holds_locks() && !kTable[number].under_lock) {
        return machine.fault(FaultKind::call_under_lock);
    }
    return kTable[number].function(machine, arguments);
}

void run_callback(task::Task& task, const defer::Callback& callback) noexcept {
    const task::ReadSection section(task, sync::Flavour::sleepable);
    auto& map = *static_cast<map::Map*>(callback.map);
    std::uint32_t index = 0;
    const void* key = map::key_of(map, callback.value, &index);

    Execution execution;
    execution.task = &task;
    execution.program = static_cast<Program*>(callback.program);
    const CountedExecution counted(execution.program->callbacks, execution.program->callback_ns);
    Machine machine(execution, Level::task_work);
    const Machine::ReadableKey readable(machine, key, key == nullptr ? 0 : map.key_size);
    machine.run(callback.entry, reinterpret_cast<std::uint64_t>(&map),
                reinterpret_cast<std::uint64_t>(key),
                reinterpret_cast<std::uint64_t>(callback.value));
}

}  // namespace taskwork::bpf
