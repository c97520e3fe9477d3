// SPDX-License-Identifier: Apache-2.0
//
// The interpreter: the reference semantics of the instruction set (RFC 9669). A Machine is one
// execution of a program at one level of one thread, on the native stack of whoever runs it;
// helpers and kfuncs are called with it.
//
// What an execution may touch is proven before (verifier/verifier.hpp):
//
//   its frames            read, write     task.bpf_stack of its level; frames that are live
//   its context           read (write)    Execution::context
//   values of its maps    read, write     special fields excepted; BPF_F_RDONLY_PROG: read,
//                                         BPF_F_WRONLY_PROG: write
//   reserved records      read, write     from bpf_ringbuf_reserve until submit or discard
//   keys in callbacks     read
//   task and mm structs   read            views in the tables of tasks and processes
//
// The checking build (checking.hpp) asks all the same, and anything else ends the execution there.
// In both a null pointer to a task or mm struct reads as zeros.
//
// An execution that comes to one of its limits ends with a fault: records that it holds are
// discarded and its locks opened, the fault is counted in the program, R0 is 0.
//
// A program is bounded: kInsnsMax instructions an execution, callbacks and the programs of tail
// calls included. In native code that is of time, not of instructions (jit/native_code.hpp): up to
// kInsnsPerUnit times as many, and what the verifier has walked to its end (Verdict::insns_max)
// counts as nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/context.hpp"
#include "bpf/isa.hpp"
#include "bpf/jit/native.hpp"
#include "bpf/program.hpp"
#include "bpf/user_memory.hpp"

namespace taskwork::bpf {

class Machine {
public:
    /// Ring records that an execution can hold at the same time; a further reservation finds none.
    static constexpr unsigned kRecordsMax = 16;

    /// `level` chooses the BPF stack: no other execution runs on this thread at this level.
    /// Context: any; inside a sleepable section of the task.
    Machine(Execution& execution, Level level) noexcept;
    ~Machine();
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    /// Runs the function at instruction `entry` in the first frame; returns R0, or 0 after a fault.
    /// Records and locks still held at the end are a fault (the kernel's verifier refuses such
    /// programs) and are given back. Counts faults in the program.
    /// Context: as the constructor's.
    std::uint64_t run(std::uint32_t entry, std::uint64_t r1, std::uint64_t r2,
                      std::uint64_t r3) noexcept;

    // ---- For helpers and kfuncs -----------------------------------------------------------------

    /// Calls a function of the program in a frame of its own, from inside a helper. After a fault
    /// the result is 0 and faulted() is true.
    std::uint64_t call(std::uint32_t entry, std::uint64_t r1, std::uint64_t r2, std::uint64_t r3,
                       std::uint64_t r4) noexcept;
    /// Whether `value` refers to a function of this program (LDDW with BPF_PSEUDO_FUNC).
    [[nodiscard]] bool is_function(std::uint64_t value, std::uint32_t* entry) const noexcept;

    /// Whether [address, address + size) may be read / written; size 0: true.
    [[nodiscard]] bool may_read(std::uint64_t address, std::uint64_t size) noexcept {
        return in_frames_or_context(address, size, execution.context_size) ||
               may_access_elsewhere(address, size, false);
    }
    [[nodiscard]] bool may_write(std::uint64_t address, std::uint64_t size) noexcept {
        return in_frames_or_context(address, size, writable_context_) ||
               may_access_elsewhere(address, size, true);
    }
    /// Whether all of it lies in memory that atomic instructions may work on: frames and values.
    [[nodiscard]] bool may_modify_atomically(std::uint64_t address, std::uint64_t size) noexcept {
        return in_frames_or_context(address, size, 0) || may_access_elsewhere(address, size, true);
    }

    /// The map that `value` names, if it is one of this program's; else nullptr.
    [[nodiscard]] map::Map* map_of(std::uint64_t value) noexcept;
    /// A value that a helper has found: later accesses need no search.
    void remember_value(const map::Map& map, const void* value) noexcept;

    /// The processor that this execution runs on, as far as programs can tell: the same one to its
    /// end, and in nmi nobody else's (map/processors.hpp).
    [[nodiscard]] std::uint32_t processor() noexcept;

    /// Ring records held by this execution. hold(): false: no room to remember it.
    [[nodiscard]] bool can_hold_record() const noexcept { return record_count_ < kRecordsMax; }
    void hold_record(void* record, std::uint64_t size) noexcept {
        records_[record_count_] = {reinterpret_cast<std::uintptr_t>(record), size};
        ++record_count_;
    }
    /// False: this execution does not hold it.
    [[nodiscard]] bool let_go_of_record(std::uint64_t record) noexcept {
        for (unsigned i = 0; i < record_count_; ++i) {
            if (records_[i].start == record) {
                --record_count_;
                records_[i] = records_[record_count_];
                return true;
            }
        }
        return false;
    }

    /// Locks in values (spin_locks.cpp).
    enum class LockKind : std::uint8_t { spin, resilient, resilient_irq };
    [[nodiscard]] bool holds_locks() const noexcept { return lock_count_ != 0; }
    /// Takes the lock at `address`; faults unless that is a lock of its kind in a value of one of
    /// the program's maps. Errors: those of map::SpinLocks::lock().
    std::errc take_lock(std::uint64_t address, LockKind kind) noexcept;
    /// Gives back the lock that was taken last; faults if that is another one.
    void give_lock(std::uint64_t address, LockKind kind) noexcept;

    /// Memory that may be read while it is in scope: a key.
    class ReadableKey {
    public:
        ReadableKey(Machine& machine, const void* key, std::size_t size) noexcept
            : machine_(machine), start_(reinterpret_cast<std::uintptr_t>(key)), size_(size),
              outer_(machine.keys_) {
            machine.keys_ = this;
        }
        ~ReadableKey() { machine_.keys_ = outer_; }
        ReadableKey(const ReadableKey&) = delete;
        ReadableKey& operator=(const ReadableKey&) = delete;

    private:
        friend class Machine;
        Machine& machine_;
        std::uintptr_t start_;
        std::size_t size_;
        ReadableKey* outer_;
    };

    /// Ends the execution; the first fault counts. Returns 0.
    std::uint64_t fault(FaultKind kind) noexcept {
        if (fault_ == FaultKind::none) {
            fault_ = kind;
        }
        return 0;
    }
    /// Counts work that a helper does as so many instructions: the limit of an execution bounds its
    /// time, not just its own instructions.
    void charge(std::uint64_t instructions) noexcept {
        native_.budget -= static_cast<std::int64_t>(instructions);
        if (native_.budget <= 0) {
            fault(FaultKind::too_long);
        }
    }
    [[nodiscard]] bool faulted() const noexcept { return fault_ != FaultKind::none; }

    /// The program that native code calls, in its frame, where it has no native code.
    std::uint64_t interpret_called(std::uint64_t context) noexcept {
        return interpret(0, context, 0, 0, 0);
    }
    /// Around a function that native code calls (jit/adapter.hpp): which frames are live, and the
    /// end of the execution if it has faulted; `returns_to` is where the call came from.
    void begin_native_call() noexcept {
        depth_ = static_cast<unsigned>((native_.frame - frames_) / kFrameBytes) - 1;
    }
    [[noreturn]] void leave_native(const void* returns_to) noexcept;

    Execution& execution;
    Program* program;  ///< That runs: a tail call leads to another, the end of its frame back.
    task::Task& task;
    const Level level;
    UserMemory user_memory;

private:
    /// What a subprogram's call must give back.
    struct Caller {
        std::uint64_t saved[4];  ///< R6-R9.
        Program* program;
        std::uint32_t return_to;
        std::uint32_t may_goto_left;
    };
    struct Record {
        std::uintptr_t start;
        std::uint64_t size;
    };
    /// A part of a map value between special fields, found before.
    struct Window {
        std::uintptr_t start = 0;
        std::uint64_t size = 0;
        bool readable = false;
        bool writable = false;
    };
    static constexpr unsigned kWindows = 4;

    /// The function at `entry`, by the engine of this execution.
    std::uint64_t execute(std::uint32_t entry, std::uint64_t r1, std::uint64_t r2, std::uint64_t r3,
                          std::uint64_t r4) noexcept;
    std::uint64_t interpret(std::uint32_t entry, std::uint64_t r1, std::uint64_t r2,
                            std::uint64_t r3, std::uint64_t r4) noexcept;
    /// What a tail call leads to; nullptr: on, or to a fault.
    Program* called_program(std::uint64_t array, std::uint64_t index) noexcept;
    void go_to(Program& next) noexcept;
    [[nodiscard]] bool in_frames_or_context(std::uint64_t address, std::uint64_t size,
                                            std::size_t context_size) const noexcept {
        const std::uint64_t in_frames = address - frames_;
        const std::uint64_t live = std::uint64_t{kFrameBytes} * (depth_ + 1);
        if (in_frames < live && size <= live - in_frames) {
            return true;
        }
        const std::uint64_t in_context =
            address - reinterpret_cast<std::uintptr_t>(execution.context);
        return in_context < context_size && size <= context_size - in_context;
    }
    [[nodiscard]] bool may_access_elsewhere(std::uint64_t address, std::uint64_t size,
                                            bool write) noexcept;
    [[nodiscard]] bool in_task_view(std::uint64_t address, std::uint64_t size) const noexcept;
    bool find_window(std::uint64_t address, std::uint64_t size, Window& found) noexcept;
    static bool find_window_in(const map::Map& map, std::uint64_t address, std::uint64_t size,
                               Window& found) noexcept;
    [[nodiscard]] bool has_outer_maps() const noexcept;
    [[nodiscard]] bool may_be_inner(const map::Map& map) const noexcept;
    void discard_records() noexcept;
    [[nodiscard]] map::LockWord* find_lock(std::uint64_t address, LockKind kind) noexcept;
    void open_locks() noexcept;

    const bpf_insn* insns_;
    const bool is_native_;          ///< Native code runs, not the interpreter.
    std::uintptr_t frames_;         ///< Lowest address of frame 0; frame n lies 512 n above.
    std::size_t writable_context_;  ///< Bytes of the context that may be written: all or none.
    jit::NativeState native_;       ///< Its budget is the interpreter's too.
    unsigned depth_ = 0;            ///< Frame in use.
    FaultKind fault_ = FaultKind::none;
    std::uint32_t fault_insn_ = 0;  ///< Index + 1; 0: not known yet.
    unsigned record_count_ = 0;
    unsigned lock_count_ = 0;
    unsigned next_window_ = 0;
    ReadableKey* keys_ = nullptr;
    map::Map* last_map_ = nullptr;
    bool has_processor_ = false;
    map::Processors::Claim processor_;
    Window windows_[kWindows];
    Record records_[kRecordsMax];
    Caller callers_[kFramesMax];
};

/// Most instructions an execution may run, by level. In nmi the application waits: a few
/// milliseconds at most.
inline constexpr std::uint64_t kInsnsMax[level_count] = {std::uint64_t{1} << 26,
                                                         std::uint64_t{1} << 26, 1'000'000};

/// Of the instructions of an execution may_goto leaves this part for what follows the loops: it
/// ends them earlier rather than let them fault (the kernel's ends them by time).
inline constexpr std::uint64_t kMayGotoReserve = 4;

}  // namespace taskwork::bpf
