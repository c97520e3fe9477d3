// SPDX-License-Identifier: Apache-2.0
//
// The walk over all paths of a program. One class in several files: verifier.hpp lists them. Every
// check returns false when it has refused the program. Of this folder only.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "bpf/verifier/log.hpp"
#include "bpf/verifier/observer.hpp"
#include "bpf/verifier/prototypes.hpp"
#include "bpf/verifier/state.hpp"
#include "bpf/verifier/structure.hpp"

namespace taskwork::bpf::verifier {

enum class Access : std::uint8_t { read, write };

class Walk {
public:
    Walk(const Input& input, std::string& log) : input_(input), log_(log) {}
    Verdict run();

private:
    // ---- walk.cpp ---------------------------------------------------------------------------
    struct Pending {
        State state;
        std::uint32_t insn;
        std::uint32_t from;
        std::size_t log_length;
    };
    /// A callback to be verified as an entry of its own.
    struct AsyncEntry {
        std::uint32_t function;
        const MapInfo* map;
        friend auto operator<=>(const AsyncEntry&, const AsyncEntry&) = default;
    };

    bool walk_program();
    bool walk_entry(State state, std::uint32_t insn);
    bool walk_global(std::uint32_t function, bool may_sleep);
    /// Walks on until nothing is pending.
    bool walk_pending();
    bool walk_path();
    bool step(bool& ended);
    bool wide_immediate(const bpf_insn& insn);
    bool exit(bool& ended);
    bool push(State state, std::uint32_t insn, const char* what = "");
    void end_path();

    // ---- walk_text.cpp ----------------------------------------------------------------------
    void print_functions();
    void print_insn();
    void print_state();
    void print_line();
    void print_call();
    void print_return();
    void print_checkpoint();
    void statistics();
    [[gnu::format(printf, 3, 4)]] bool refuse(int error, const char* format, ...);
    /// A line before the one that refuses.
    [[gnu::format(printf, 2, 3)]] void note(const char* format, ...);
    void print(const std::string& text);

    // ---- of all -----------------------------------------------------------------------------
    [[nodiscard]] const bpf_insn& insn() const { return input_.insns[insn_]; }
    Register& reg(unsigned number) { return state_.frame().registers[number]; }
    bool may_read(unsigned number);
    std::uint32_t new_id() { return ++last_id_; }
    [[nodiscard]] bool in_rcu() const { return state_.rcu_locks != 0 || !state_.may_sleep; }
    /// R0-R5 have no value after a call.
    void forget_arguments();

    // ---- alu.cpp, branch.cpp ------------------------------------------------------------------
    bool alu();
    bool move(const bpf_insn& insn, bool wide);
    bool arithmetic(const bpf_insn& insn, bool wide);
    bool add_to_pointer(unsigned dst, const Register& pointer, const Register& number,
                        unsigned operation, unsigned pointer_number);
    bool check_offset(const Register& number, const Register& pointer);
    bool branch();
    bool branch_on_null(const Register& pointer, bool equal, std::uint32_t target);
    void set_null(State& state, std::uint32_t id, bool is_null);
    void narrow_linked(State& state, const Register& before, const Scalar& now);
    void note_links(const Register& a, const Register& b);

    // ---- memory.cpp, stack.cpp, context.cpp -----------------------------------------------------
    bool load_instruction();
    bool store_instruction();
    bool atomic();
    bool load(unsigned number, std::int32_t offset, unsigned bytes, bool sign_extended,
              Register& result, bool aligned = false);
    /// `value` nullptr: anything.
    bool store(unsigned number, std::int32_t offset, unsigned bytes, const Register* value,
               unsigned value_number, bool aligned = false);
    /// Whether [offset, offset + bytes) of what `reg` points to may be accessed; not the stack.
    bool check_access(const Register& reg, unsigned number, std::int32_t offset,
                      std::uint32_t bytes, Access access, bool zero_allowed, bool by_helper);
    bool check_region(const Register& reg, unsigned number, std::int32_t offset,
                      std::uint32_t bytes, std::uint32_t region, bool zero_allowed);
    bool check_bounds(const Register& reg, std::int64_t offset, std::uint32_t bytes,
                      std::uint32_t region, bool zero_allowed);
    bool check_map_value(const Register& reg, unsigned number, std::int32_t offset,
                         std::uint32_t bytes, Access access, bool zero_allowed);
    bool check_alignment(const Register& reg, std::int32_t offset, unsigned bytes);
    bool use_pointer(const Register& pointer);
    bool check_fixed(const Register& reg, unsigned number, bool offset_allowed);
    bool fold_constant(const Register& reg, std::int32_t offset, unsigned bytes, bool sign_extended,
                       Register& result);
    bool check_context(const Register& reg, unsigned number, std::int32_t offset,
                       std::uint32_t bytes, Access access);
    bool load_field(const Register& reg, unsigned number, std::int32_t offset, unsigned bytes,
                    bool sign_extended, Register& result);
    struct StackRange {
        std::int32_t min;
        std::int32_t max;  ///< Of the first byte.
        [[nodiscard]] bool is_fixed() const { return min == max; }
    };
    bool stack_range(const Register& reg, unsigned number, std::int32_t offset, std::uint32_t bytes,
                     Access access, StackRange& range);
    bool load_stack(const Register& reg, unsigned number, std::int32_t offset, unsigned bytes,
                    bool sign_extended, Register& result);
    bool store_stack(const Register& reg, unsigned number, std::int32_t offset, unsigned bytes,
                     const Register* value, unsigned value_number);
    void scribble(unsigned frame, std::int32_t at, std::uint32_t bytes);
    bool check_plain(const Register& reg, unsigned number, const StackRange& range,
                     std::uint32_t bytes, bool by_helper);
    void read_slot(unsigned frame, unsigned slot);
    /// Memory that a helper reads or writes.
    bool check_memory_argument(unsigned number, std::uint32_t bytes, Access access,
                               bool zero_allowed);
    void apply_writes();

    // ---- calls.cpp ----------------------------------------------------------------------------
    struct Call {
        const char* name = "";
        const MapInfo* map = nullptr;
        std::uint32_t map_uid = 0;
        std::uint32_t released = 0;  ///< The reference that an argument gives back.
        std::uint32_t alloc_size = 0;
        std::int64_t size_max = 0;
        std::int64_t key = -1;  ///< A constant key of an array, if it is one.
        unsigned memory_argument = 0;
        std::uint32_t function = 0;
        unsigned frame = 0;  ///< Where an iterator is:
        unsigned slot = 0;   ///< slot of the frame.
        Register value;      ///< Of a lock.
    };
    bool call(bool& ended);
    bool call_function(std::uint32_t target);
    bool call_global(std::uint32_t function);
    bool call_helper(std::int32_t id);
    bool call_program(bool& ended);
    void note_call(std::int32_t id, const Call& call);
    bool check_map_kind(const Call& call, std::int32_t id);
    bool check_argument(const Prototype& prototype, unsigned index, std::int32_t id, Call& call);
    bool check_type(unsigned number, Argument argument, bool or_null);
    bool check_size(unsigned number, Argument argument, const Prototype& prototype, Call& call);
    bool check_string(unsigned number);
    bool check_format(unsigned number);
    bool set_result(const Prototype& prototype, std::int32_t id, const Call& call);
    bool release(std::uint32_t reference);
    bool check_leaks(const char* what);
    std::int64_t constant_key(const Register& key, std::uint32_t bytes);

    // ---- kfuncs.cpp, locks.cpp ------------------------------------------------------------------
    bool call_kfunc(std::int32_t number);
    bool kfunc_argument(const KfuncPrototype& prototype, unsigned index, Call& call);
    bool kfunc_task(const KfuncPrototype& prototype, unsigned number, const Register& reg,
                    Call& call);
    bool check_slot(unsigned number, Call& call);
    bool enter_or_leave(const KfuncPrototype& prototype);
    bool rcu_unlock(const char* name);
    bool lock(unsigned number, bool resilient, bool irq_save);
    bool unlock(unsigned number, bool resilient, bool irq_save);
    bool lock_argument(unsigned number, bool resilient);
    bool call_lock_kfunc(const KfuncPrototype& prototype);
    bool irq_flag_argument(unsigned number, bool restore);

    // ---- callbacks.cpp --------------------------------------------------------------------------
    bool call_back(std::int32_t id, const Call& call, bool& ended);
    bool return_from_callback(bool& ended);
    bool check_result(const char* when, std::int64_t min, std::int64_t max);
    bool schedule_callback(const Call& call);

    // ---- loops.cpp ------------------------------------------------------------------------------
    bool iterator_argument(const KfuncPrototype& prototype, unsigned number, Call& call);
    bool iterate(const Call& call);
    bool may_goto();
    /// What the path at hand has passed at this instruction, besides the checkpoint of this round.
    [[nodiscard]] const Checkpoint* earlier_round(const Checkpoint* this_round) const;
    static void widen(const State& before, State& now);
    bool closes_loop(const Checkpoint& old);
    void come_round(Checkpoint& old);
    void end_loop(Checkpoint& head);

    // ---- prune.cpp, precise.cpp -----------------------------------------------------------------
    enum class Matching : std::uint8_t { precise, exact, within };
    struct Ids;
    bool is_known(bool& known);
    void tell_covered(const Checkpoint& old, Matching matching) const;
    bool add_checkpoint();
    bool same(const Checkpoint& old, Matching matching);
    bool same_frame(const State& old, unsigned frame, std::uint16_t live, std::uint64_t read,
                    Matching matching, Ids& ids);
    static bool same_register(const Register& old, const Register& now, Matching matching,
                              Ids& ids);
    static bool same_slot(const Slot& old, const Slot& now, Matching matching, Ids& ids);
    [[nodiscard]] std::uint16_t live_in_frame(const State& state, unsigned frame,
                                              std::uint32_t insn) const;
    void make_precise(unsigned number);
    bool make_precise(Path& path, Wanted& wanted, std::size_t skipped);
    void follow_back(Path& path, Wanted& wanted, std::size_t skipped) const;
    void step_back(const Step& step, Wanted& wanted) const;
    bool take_over(Path& path, const Checkpoint& old);
    static bool merge_read(Checkpoint* from, SlotMasks read);

    const Input& input_;
    std::string& log_;
    Structure structure_;
    Verdict verdict_;

    State state_;
    std::uint32_t insn_ = 0;
    std::uint32_t from_ = 0;
    std::vector<Pending> pending_;
    std::set<AsyncEntry> async_entries_;
    std::map<std::uint32_t, KnownCall> known_calls_;  ///< By instruction; nothing known: neither.

    /// By which kind of pointer an instruction reads or writes: it is executed in one way.
    enum class PointerUse : std::uint8_t { none, memory, context, trusted_struct, struct_or_null };
    std::vector<PointerUse> pointer_uses_;  ///< By instruction.

    std::vector<std::vector<Checkpoint*>> seen_;  ///< By instruction.
    std::deque<std::unique_ptr<Checkpoint>> checkpoints_;
    std::size_t checkpoint_bytes_ = 0;
    std::uint32_t jumps_ = 0;
    std::uint32_t jumps_at_checkpoint_ = 0;
    std::uint32_t insns_at_checkpoint_ = 0;
    std::uint32_t states_ = 0;

    std::uint32_t last_id_ = 0;
    std::string notes_;
    std::size_t insn_text_ = 0;      ///< Where the latest instruction's line begins in the log.
    bool print_arrival_ = false;     ///< Where the path comes from is to be said.
    std::uint32_t shown_ = 0;        ///< What the latest instruction has to do with: registers,
    std::uint64_t shown_slots_ = 0;  ///< and slots. Printed before the next one.
    const LineInfo* last_line_ = nullptr;
    struct MemoryWrite {
        unsigned number;
        std::uint32_t bytes;
    };
    std::vector<MemoryWrite> writes_;  ///< Of the call at hand,
    std::string call_name_;            ///< whose name, without a number, is this.
};

}  // namespace taskwork::bpf::verifier
