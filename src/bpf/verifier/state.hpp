// SPDX-License-Identifier: Apache-2.0
//
// What is known at an instruction: of the registers and the stack of each frame, of the references
// and locks that are held. Of this folder only.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "bpf/isa.hpp"
#include "bpf/verifier/scalar.hpp"
#include "bpf/verifier/verifier.hpp"

namespace taskwork::bpf::verifier {

enum class Type : std::uint8_t {
    none,  ///< Not written yet: must not be read.
    scalar,
    context,
    stack,
    map_pointer,
    map_value,
    map_key,
    memory,
    record,  ///< Of a ring buffer.
    kernel_struct,
    function,
};

/// Of a pointer to a kernel_struct: where it came from decides who takes it.
enum class Trust : std::uint8_t { walked, trusted, rcu, untrusted };

struct Register {
    /// A scalar's number; the variable part of a pointer's offset.
    Scalar value = Scalar::constant(0);
    const MapInfo* map = nullptr;
    std::int32_t offset = 0;  ///< A pointer's constant offset.
    /// Scalars: equal numbers have equal ones (but for `delta`). Pointers: those that are null
    /// together; a value with a lock: which value.
    std::uint32_t id = 0;
    std::int32_t delta = 0;       ///< Scalars: less this they are equal.
    std::uint32_t reference = 0;  ///< What must be released (Held::id).
    std::uint32_t size = 0;       ///< memory, record: bytes. function: its number.
    std::uint32_t map_uid = 0;    ///< Which inner map.
    Type type = Type::none;
    Trust trust = Trust::walked;
    Struct structure = Struct::task;
    std::uint8_t frame = 0;  ///< stack: whose.
    bool or_null = false;
    bool read_only = false;
    bool precise = false;  ///< Of a checkpoint: what follows depends on the number.

    static Register number(const Scalar& value) {
        Register result;
        result.type = Type::scalar;
        result.value = value;
        return result;
    }
    static Register unknown() { return number(Scalar::unknown()); }
    static Register constant(std::uint64_t word) { return number(Scalar::constant(word)); }
    static Register pointer(Type type) {
        Register result;
        result.type = type;
        return result;
    }
    [[nodiscard]] bool is_scalar() const { return type == Type::scalar; }
    [[nodiscard]] bool is_pointer() const { return type != Type::scalar && type != Type::none; }
    [[nodiscard]] bool is_constant() const { return is_scalar() && value.is_constant(); }
    [[nodiscard]] bool is_null() const { return is_constant() && value.bits.value == 0; }
};

enum class Byte : std::uint8_t { unwritten, misc, zero, spill, irq_flag, iterator };
/// What only its own kfuncs may use.
inline bool is_special(Byte byte) { return byte == Byte::irq_flag || byte == Byte::iterator; }

/// Eight bytes of a frame's stack; slot n is at fp - 8(n + 1).
struct Slot {
    std::array<Byte, 8> bytes{};
    /// If bytes[0] is spill: of as many bytes as are spill. A flag, an iterator: `id` is Held::id.
    Register spilled;
    std::uint32_t depth = 0;  ///< Of an iterator: numbers that it has given,
    bool drained = false;     ///< and whether it has no more.
    [[nodiscard]] bool is_spilled() const { return bytes[0] == Byte::spill; }
    [[nodiscard]] unsigned spilled_bytes() const {
        unsigned count = 0;
        while (count < 8 && bytes[count] == Byte::spill) {
            ++count;
        }
        return count;
    }
};
inline constexpr unsigned kSlots = kFrameBytes / 8;

/// Whom a frame returns to.
enum class FrameKind : std::uint8_t {
    main,
    called,    ///< By a call of a static function.
    global,    ///< A global function, verified by itself.
    callback,  ///< By a helper, in place: returns to the call, which may call again.
    async_callback,
};

struct Frame {
    std::array<Register, MAX_BPF_REG> registers;
    std::vector<Slot> stack;
    std::uint32_t call_site = 0;
    std::uint32_t function = 0;
    FrameKind kind = FrameKind::main;
    std::uint32_t callback_calls = 0;  ///< Of the call at hand, made so far.
};

enum class HeldKind : std::uint8_t { reference, spin_lock, res_spin_lock, irq_flag };
struct Held {
    HeldKind kind = HeldKind::reference;
    std::uint32_t id = 0;
    std::uint32_t insn = 0;        ///< Where it was acquired.
    const MapInfo* map = nullptr;  ///< Locks: of which value of which map.
    std::uint32_t value_id = 0;
    bool irq_save = false;
};

/// An instruction that was walked, for the way back (precise.cpp).
struct Step {
    static constexpr std::uint8_t kNoSlot = 0xff;
    std::uint32_t insn = 0;
    std::uint8_t frame = 0;
    std::uint8_t slot_frame = 0;  ///< The slot that was spilled to, or filled from.
    std::uint8_t slot = kNoSlot;
    bool callback = false;     ///< Into a callback, or out of it.
    std::uint16_t linked = 0;  ///< A jump narrowed these as well: registers, slots of the frame.
    std::uint64_t linked_slots = 0;
};

using SlotMasks = std::array<std::uint64_t, kFramesMax>;

/// Numbers of which it counts what they can be: registers and slots, a frame each.
struct Wanted {
    std::array<std::uint16_t, kFramesMax> registers{};
    SlotMasks slots{};

    [[nodiscard]] bool any() const {
        std::uint64_t all = 0;
        for (unsigned i = 0; i < kFramesMax; ++i) {
            all |= registers[i] | slots[i];
        }
        return all != 0;
    }
    void add(const Wanted& other) {
        for (unsigned i = 0; i < kFramesMax; ++i) {
            registers[i] |= other.registers[i];
            slots[i] |= other.slots[i];
        }
    }
    void leave_out(const Wanted& other) {
        for (unsigned i = 0; i < kFramesMax; ++i) {
            registers[i] &= static_cast<std::uint16_t>(~other.registers[i]);
            slots[i] &= ~other.slots[i];
        }
    }
};

struct Checkpoint;

/// How a state was come to.
struct Path {
    Checkpoint* parent = nullptr;  ///< What was passed last,
    std::vector<Step> history;     ///< the instructions since,
    SlotMasks written{};           ///< and the slots wholly written since.
    std::vector<Wanted> followed;  ///< Through `history`, now and then (precise.cpp).
};

struct State : Path {
    std::vector<Frame> frames;
    std::vector<Held> held;
    std::uint32_t rcu_locks = 0;
    std::uint32_t preempt_locks = 0;
    std::uint32_t may_goto_depth = 0;  ///< Rounds by may_goto.
    std::uint32_t entry = 0;           ///< Callbacks that run later: which entry of the walk.
    bool may_sleep = false;

    [[nodiscard]] Frame& frame() { return frames.back(); }
    [[nodiscard]] const Frame& frame() const { return frames.back(); }
    [[nodiscard]] std::uint8_t depth() const {
        return static_cast<std::uint8_t>(frames.size() - 1);
    }
    [[nodiscard]] bool holds(HeldKind kind) const {
        for (const Held& held_one : held) {
            if (held_one.kind == kind) {
                return true;
            }
        }
        return false;
    }
    [[nodiscard]] bool holds_lock() const {
        return holds(HeldKind::spin_lock) || holds(HeldKind::res_spin_lock);
    }
    /// The slot, made if the stack was not as deep yet.
    Slot& slot(unsigned frame_number, unsigned index) {
        std::vector<Slot>& stack = frames[frame_number].stack;
        if (stack.size() <= index) {
            stack.resize(index + 1);
        }
        return stack[index];
    }
    /// Calls function(Register&) for every register and every spilled one.
    template <class Function>
    void for_each_register(Function&& function) {
        for (Frame& each : frames) {
            for (Register& reg : each.registers) {
                function(reg);
            }
            for (Slot& slot_of : each.stack) {
                if (slot_of.is_spilled()) {
                    function(slot_of.spilled);
                }
            }
        }
    }
};

/// A state that was passed, kept to end paths that come to the same.
struct Checkpoint {
    State state;
    std::uint32_t insn = 0;
    std::uint32_t number = 0;    ///< In the order of the walk.
    std::uint32_t branches = 1;  ///< Paths from here that have not ended.
    std::uint32_t misses = 0;
    std::uint32_t hits = 0;
    SlotMasks read{};  ///< Slots that what follows reads.

    // Loops (loops.cpp).
    /// A path that ended at a checkpoint from which not all paths had been walked.
    struct Return {
        Path path;
        Checkpoint* to;
    };
    std::vector<Return> returns;      ///< Of the loop that begins here: its ways back,
    std::vector<Checkpoint*> inside;  ///< the checkpoints on them.
    /// In a loop that begins there and is still walked: what counts here is not known yet.
    Checkpoint* loop = nullptr;
};

}  // namespace taskwork::bpf::verifier
