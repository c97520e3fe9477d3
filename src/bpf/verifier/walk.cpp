// SPDX-License-Identifier: Apache-2.0
//
// The walk itself: entries, paths, and the instructions that are neither arithmetic, branch, access
// nor call.
#include "bpf/verifier/walk.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "base/assert.hpp"

namespace taskwork::bpf::verifier {

Verdict verify(const Input& input, std::string& log) { return Walk(input, log).run(); }

// ---- Entries and paths --------------------------------------------------------------------------

Verdict Walk::run() {
    const auto start = std::chrono::steady_clock::now();
    const std::size_t before = log_.size();
    seen_.resize(input_.insns.size());
    pointer_uses_.resize(input_.insns.size());
    std::string reason;
    if (!structure_.analyse(input_, insn_, reason)) {
        refuse(EINVAL, "%s", reason.c_str());
    } else if (print_functions();
               walk_program() && !structure_.check_stack(input_, insn_, reason, verdict_.frames)) {
        refuse(EACCES, "%s", reason.c_str());
    }
    if (verdict_.error == 0 && (input_.log_level & kLogAll) == 0) {
        log_.resize(before);  // of paths that led to nothing bad
        insn_text_ = 0;
    }
    for (const auto& [at, known] : known_calls_) {
        if (known.map != nullptr || known.callback != 0) {
            verdict_.known_calls.push_back(known);
        }
    }
    for (std::uint32_t i = 0; verdict_.error == 0 && i < pointer_uses_.size(); ++i) {
        if (pointer_uses_[i] == PointerUse::struct_or_null) {
            verdict_.probes.push_back(i);
        }
    }
    verdict_.insns_max = structure_.insns_max(verdict_.statistics.insns_processed);
    verdict_.statistics.time_us =
        static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                       std::chrono::steady_clock::now() - start)
                                       .count());
    if (input_.log_level != 0) {
        statistics();
    }
    return verdict_;
}

namespace {

State entry_state(std::uint32_t function, FrameKind kind, bool may_sleep) {
    State state;
    state.frames.emplace_back();
    Frame& frame = state.frame();
    frame.function = function;
    frame.kind = kind;
    frame.registers[BPF_REG_10] = Register::pointer(Type::stack);
    state.may_sleep = may_sleep;
    return state;
}

}  // namespace

bool Walk::walk_program() {
    State main = entry_state(0, FrameKind::main, input_.sleepable);
    main.frame().registers[BPF_REG_1] = Register::pointer(Type::context);
    if (!walk_entry(std::move(main), 0)) {
        return false;
    }
    // A global function may call others. A callback of task work may sleep, whatever its program.
    std::vector<std::array<bool, 2>> walked(structure_.functions.size());
    for (bool more = true; more;) {
        more = false;
        for (std::uint32_t number = 1; number < structure_.functions.size(); ++number) {
            for (const unsigned may_sleep : {0U, 1U}) {
                if (!structure_.functions[number].is_called_global[may_sleep] ||
                    walked[number][may_sleep]) {
                    continue;
                }
                walked[number][may_sleep] = true;
                more = true;
                if (!walk_global(number, may_sleep != 0)) {
                    return false;
                }
            }
        }
    }
    return true;
}

bool Walk::walk_global(std::uint32_t number, bool may_sleep) {
    const Function& function = structure_.functions[number];
    State state = entry_state(number, FrameKind::global, may_sleep);
    for (unsigned i = 0; i < function.info->arguments.size() && i < 5; ++i) {
        const ArgumentInfo& argument = function.info->arguments[i];
        Register& reg_of = state.frame().registers[BPF_REG_1 + i];
        switch (argument.kind) {
        case ArgumentInfo::Kind::context:
            reg_of = Register::pointer(Type::context);
            break;
        case ArgumentInfo::Kind::memory:
            reg_of = Register::pointer(Type::memory);
            reg_of.size = argument.size;
            reg_of.or_null = !argument.non_null;
            reg_of.id = argument.non_null ? 0 : new_id();
            break;
        case ArgumentInfo::Kind::scalar:
            reg_of = Register::unknown();
            break;
        case ArgumentInfo::Kind::trusted_struct:
            reg_of = Register::pointer(Type::kernel_struct);
            reg_of.structure = argument.structure;
            reg_of.trust = Trust::trusted;
            reg_of.or_null = !argument.non_null;
            reg_of.id = argument.non_null ? 0 : new_id();
            break;
        case ArgumentInfo::Kind::unsupported:  // and so it is not called
            TW_ASSERT(false, "global functions are walked when a call of them was accepted");
        }
    }
    if ((input_.log_level & (kLogPath | kLogAll)) != 0) {
        print(text_of("Validating %s() func#%u...", function.name(), number));
    }
    if (!walk_entry(std::move(state), function.begin)) {
        return false;
    }
    if ((input_.log_level & (kLogPath | kLogAll)) != 0) {
        print(text_of("Func#%u ('%s') is safe for any args that match its prototype", number,
                      function.name()));
    }
    return true;
}

bool Walk::walk_entry(State state, std::uint32_t insn) {
    // Entries have nothing in common: what was seen in one says nothing about another.
    for (std::vector<Checkpoint*>& list : seen_) {
        list.clear();
    }
    checkpoints_.clear();
    checkpoint_bytes_ = 0;
    pending_.clear();
    shown_ = kAllRegisters;
    shown_slots_ = kAllSlots;
    if (input_.observer != nullptr) {
        input_.observer->begin(insn);
    }
    pending_.push_back({std::move(state), insn, insn, log_.size()});
    return walk_pending();
}

bool Walk::push(State state, std::uint32_t insn, const char* what) {
    if (pending_.size() >= kPendingMax) {
        return refuse(E2BIG, "The sequence of %u jumps is too complex%s.", kPendingMax + 1, what);
    }
    if (state.parent != nullptr) {
        ++state.parent->branches;
    }
    if (input_.observer != nullptr) {
        input_.observer->put_off();
    }
    pending_.push_back({std::move(state), insn, insn_, log_.size()});
    return true;
}

void Walk::end_path() {
    for (Checkpoint* at = state_.parent; at != nullptr; at = at->state.parent) {
        if (--at->branches != 0) {
            break;
        }
        if (!at->returns.empty()) {
            end_loop(*at);
        }
    }
}

bool Walk::walk_pending() {
    bool first = true;
    while (!pending_.empty()) {
        Pending& next = pending_.back();
        state_ = std::move(next.state);
        insn_ = next.insn;
        from_ = next.from;
        if (input_.observer != nullptr) {
            input_.observer->take_up();
        }
        if ((input_.log_level & kLogAll) == 0 && log_.size() > next.log_length) {
            log_.resize(next.log_length);
            insn_text_ = log_.empty() || log_.back() == '\n' ? 0 : next.log_length;
            last_line_ = nullptr;
        }
        pending_.pop_back();
        if (insn_text_ != 0) {
            log_ += '\n';
            insn_text_ = 0;
        }
        shown_ = kAllRegisters;
        shown_slots_ = kAllSlots;
        print_arrival_ = !first;
        first = false;
        if (!walk_path()) {
            return false;
        }
    }
    return true;
}

bool Walk::walk_path() {
    for (;;) {
        notes_.clear();
        if (++verdict_.statistics.insns_processed > input_.insns_processed_max) {
            return refuse(E2BIG, "BPF program is too large. Processed %u insn",
                          verdict_.statistics.insns_processed);
        }
        if (structure_.prune_point[insn_]) {
            bool known = false;
            if (!is_known(known)) {
                return false;
            }
            if (known) {
                print_checkpoint();
                end_path();
                return true;
            }
        }
        if (input_.observer != nullptr) {
            input_.observer->walk(insn_, state_);
        }
        print_insn();
        state_.history.push_back({.insn = insn_, .frame = state_.depth()});
        bool ended = false;
        const std::uint32_t at = insn_;
        if (!step(ended)) {
            return false;
        }
        from_ = at;
        if (ended) {
            end_path();
            return true;
        }
    }
}

// ---- Instructions -------------------------------------------------------------------------------

bool Walk::may_read(unsigned number) {
    if (reg(number).type == Type::none) {
        return refuse(EACCES, "R%u !read_ok", number);
    }
    return true;
}

void Walk::forget_arguments() {
    for (unsigned i = BPF_REG_0; i <= BPF_REG_5; ++i) {
        reg(i) = Register{};
    }
}

bool Walk::step(bool& ended) {
    const bpf_insn& at = insn();
    switch (BPF_CLASS(at.code)) {
    case BPF_ALU:
    case BPF_ALU64:
        if (!alu()) {
            return false;
        }
        break;
    case BPF_LD:
        if (!wide_immediate(at)) {
            return false;
        }
        ++insn_;
        break;
    case BPF_LDX:
        if (!load_instruction()) {
            return false;
        }
        break;
    case BPF_ST:
    case BPF_STX:
        if (!(BPF_CLASS(at.code) == BPF_STX && BPF_MODE(at.code) == kModeAtomic
                  ? atomic()
                  : store_instruction())) {
            return false;
        }
        break;
    default:
        ++jumps_;
        if (BPF_OP(at.code) == BPF_CALL) {
            return call(ended);
        }
        if (BPF_OP(at.code) == BPF_EXIT) {
            return exit(ended);
        }
        return branch();
    }
    ++insn_;
    return true;
}

bool Walk::wide_immediate(const bpf_insn& at) {
    Register& dst = reg(at.dst_reg);
    const auto second = static_cast<std::uint32_t>(input_.insns[insn_ + 1].imm);
    switch (static_cast<Pseudo>(at.src_reg)) {
    case Pseudo::none:
        dst = Register::constant(static_cast<std::uint32_t>(at.imm) | std::uint64_t{second} << 32);
        return true;
    case Pseudo::map_fd:
        dst = Register::pointer(Type::map_pointer);
        dst.map = input_.maps[static_cast<std::size_t>(at.imm)];
        return true;
    case Pseudo::map_value:
        dst = Register::pointer(Type::map_value);
        dst.map = input_.maps[static_cast<std::size_t>(at.imm)];
        dst.offset = static_cast<std::int32_t>(second);
        if (dst.map->fields.spin_lock != map::kNoField ||
            dst.map->fields.res_spin_lock != map::kNoField) {
            dst.id = new_id();
        }
        return true;
    case Pseudo::function: {
        const std::uint32_t function = structure_.function_at(callee_of(at, insn_));
        if (structure_.functions[function].is_global()) {
            return refuse(EINVAL, "callback function not static");
        }
        dst = Register::pointer(Type::function);
        dst.size = function;
        return true;
    }
    default:  // the address of a kfunc, which only says that there is one
        dst = Register::pointer(Type::memory);
        dst.read_only = true;
        return true;
    }
}

bool Walk::exit(bool& ended) {
    const Frame& frame = state_.frame();
    if (frame.kind == FrameKind::callback) {
        return return_from_callback(ended);
    }
    if (frame.kind == FrameKind::called) {
        if (reg(BPF_REG_0).type == Type::stack) {
            return refuse(EINVAL, "cannot return stack pointer to the caller");
        }
        print_return();
        const Register result = reg(BPF_REG_0);
        insn_ = frame.call_site + 1;
        state_.frames.pop_back();
        forget_arguments();
        reg(BPF_REG_0) = result;
        return true;
    }
    if (!check_leaks("BPF_EXIT instruction in main prog")) {
        return false;
    }
    ended = true;
    if (frame.kind == FrameKind::global) {
        if (!may_read(BPF_REG_0)) {
            return false;
        }
        if (!reg(BPF_REG_0).is_scalar()) {
            return refuse(EINVAL, "At subprogram exit the register R0 is not a scalar value (%s)",
                          type_name(reg(BPF_REG_0)).c_str());
        }
        return true;
    }
    if (!may_read(BPF_REG_0)) {
        return false;
    }
    // Of a callback of task work any int will do, and an int is the low 32 bits.
    if (frame.kind == FrameKind::async_callback && !reg(BPF_REG_0).is_scalar()) {
        return refuse(EINVAL, "At async callback return the register R0 is not a known value (%s)",
                      type_name(reg(BPF_REG_0)).c_str());
    }
    return true;
}

}  // namespace taskwork::bpf::verifier
