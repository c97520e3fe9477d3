// SPDX-License-Identifier: Apache-2.0
//
// Of the generator: one function of a program while it is written.
#pragma once

#include <array>
#include <vector>

#include "bpf/test_program.hpp"
#include "tests/fuzz/soundness/generator.hpp"

namespace taskwork::fuzz {

using bpf::test::Register;

/// What a register or slot holds.
struct Holds {
    enum class What : std::uint8_t {
        number,
        memory,
        stack,
        context,
        read_only,
        task
    } what = What::number;
    unsigned size = 0;  ///< Bytes behind a pointer.
    friend bool operator==(Holds, Holds) = default;
    [[nodiscard]] bool is_number() const { return what == What::number; }
};

/// How a function is called; what R1 and so on are at its beginning.
struct Signature {
    /// `work`: a callback of task work.
    enum class Kind : std::uint8_t { main, function, global, loop, each, work } kind = Kind::main;
    std::vector<Holds> arguments;
    bool may_be_null = false;  ///< Of a global function's memory.
    bool stack_argument = false;
    struct Inside {
        bool lock = false;  ///< Where no helper may be called.
        bool rcu = false;
        bool awake = false;  ///< Where nothing may sleep.
        bool work = false;   ///< No region: such callbacks schedule none.
    } inside;
};

struct Plan;

class Body {
public:
    Body(Plan& plan, Choices& choices, Signature signature);
    std::vector<bpf_insn> write();

    /// Calls of functions of the plan: instruction, number of the function, whether it is the
    /// address that is taken.
    struct Reference {
        std::size_t insn;
        std::size_t function;
    };
    std::vector<Reference> references;

private:
    struct Known {
        std::array<Holds, 4> registers;  ///< R6-R9.
        std::array<Holds, 8> slots;      ///< fp-8 to fp-64.
    };
    using Jumps = std::vector<std::size_t>;

    void emit(const bpf::test::Piece& piece);
    void emit_map(Register dst, int fd);
    void emit_kfunc(const char* name);
    std::size_t here() const { return code_.size(); }
    void land(const Jumps& jumps);
    bool more() const { return !choices_.exhausted() && code_.size() < 220; }

    void begin();
    void end();
    [[nodiscard]] bool is_for_kernel() const;
    void fill_frame();
    void fill_record(Register record, unsigned size);
    void leave_state();
    void leave_registers();
    void statements(unsigned most);
    void statement();
    void construct();

    // numbers
    Register any_number();  ///< One that holds a number.
    Register writable();    ///< One that a number may be put into.
    void put_number(Register reg) { known_.registers[reg - bpf::test::R6] = {}; }
    void put(Register reg, Holds holds) { known_.registers[reg - bpf::test::R6] = holds; }
    void arithmetic();
    bpf_insn binary(Register dst);
    bpf_insn comparison(int over = 0);
    void branch();
    void loop();
    void merge(const Known& before);
    void linked();

    // loops
    void keep_for_rounds();
    void jump_back(std::size_t head);
    void leave_some_time(std::uint32_t counter, Jumps& ends);
    void may_goto_loop();
    void iterator_loop();
    void end_rounds(std::size_t head, const Known& before, Jumps& ends);

    // regions
    int special_slot();
    template <class Emit>
    void on_one_way(const Emit& rest);
    Register hold_value(int map, Jumps& skips);
    void on_lock(Register value, const bpf_insn& call);
    void statement_under_lock();
    template <class Unlock>
    void under_lock(const Unlock& unlock);
    void spin_lock();
    void resilient_lock();
    void resilient_lock(Register value, Register second);
    void task_reference();
    void read_task(Register task);
    void rcu_section();
    void no_preemption();
    void loop_at_first();

    // memory
    int stack_offset(int size);
    void spill_or_fill();
    void spill_pointer();
    void variable_stack();
    void bound(Register reg, unsigned most, Jumps& skips);
    void use_memory(Register pointer, Holds holds);
    void touch(Register pointer, int offset, unsigned room, Holds holds);
    void atomic_on(Register pointer, int offset, unsigned room);
    void look_up();
    void direct_value();
    void kept_pointer();
    void record();
    void context();
    void forget_slots();

    // calls
    void helper();
    void repeatable_helper();
    void sleeping_helper();
    std::int32_t flags();
    void result_of_helper();
    [[nodiscard]] bool holds_element() const;
    void call_function();
    void call_back();
    [[nodiscard]] Register held_context() const;
    [[nodiscard]] bool may_call_program() const;
    void call_program();
    void schedule_work();

    Plan& plan_;
    Choices& choices_;
    Signature signature_;
    std::vector<bpf_insn> code_;
    Known known_;
    unsigned locked_ = 0;  ///< Registers that nothing may be put into, a bit each from R6 on.
    unsigned nesting_ = 0;
    unsigned special_ = 0;  ///< Slots that only kfuncs may use, below all others.
    Signature::Inside inside_;
};

/// The functions of a program, written in the order in which they are referred to.
struct Plan {
    const MapFds& maps;
    std::uint32_t type;
    Audience audience;
    bool all_constructs;  ///< Not numbers, memory and helpers alone.
    std::vector<Signature> functions;
    [[nodiscard]] bool has_room() const { return functions.size() < 5; }
};

}  // namespace taskwork::fuzz
