// SPDX-License-Identifier: Apache-2.0
//
// What the walk writes into the log: the path with what is known of registers and stack, in the
// kernel's order and words. docs/verifier.md lists what differs.
#include <algorithm>

#include "bpf/verifier/walk.hpp"

namespace taskwork::bpf::verifier {

namespace {

/// Of text kept: more than any caller's buffer is.
constexpr std::size_t kLogBytesMax = std::size_t{64} << 20;

}  // namespace

void Walk::print(const std::string& text) {
    if (insn_text_ != 0) {
        log_ += '\n';
        insn_text_ = 0;
    }
    log_ += text;
    log_ += '\n';
}

void Walk::note(const char* format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    const std::string text = text_of(format, arguments);
    va_end(arguments);
    print(text);
    notes_ += text + "; ";
}

bool Walk::refuse(int error, const char* format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    const std::string text = text_of(format, arguments);
    va_end(arguments);
    print(text);
    verdict_.error = error;
    verdict_.insn = insn_;
    verdict_.reason = notes_ + text;
    return false;
}

void Walk::print_line() {
    const auto after =
        std::upper_bound(input_.lines.begin(), input_.lines.end(), insn_,
                         [](std::uint32_t at, const LineInfo& line) { return at < line.insn; });
    if (after == input_.lines.begin()) {
        return;
    }
    const LineInfo* line = &*(after - 1);
    const bool is_new =
        last_line_ == nullptr || line->line != last_line_->line || line->file != last_line_->file;
    last_line_ = line;
    if (is_new) {
        print("; " + std::string(line->text) + " @ " + std::string(line->file) + ":" +
              std::to_string(line->line));
    }
}

void Walk::print_insn() {
    if ((input_.log_level & (kLogPath | kLogAll)) == 0) {
        return;
    }
    if (log_.size() > kLogBytesMax) {
        // Of the latest instruction, whose line is not ended, nothing goes.
        log_.erase(0, kLogBytesMax / 2);
        insn_text_ -= insn_text_ == 0 ? 0 : kLogBytesMax / 2;
    }
    if (print_arrival_ && (input_.log_level & kLogAll) != 0) {
        print(text_of("\nfrom %u to %u:", from_, insn_) + describe(state_));
    }
    print_arrival_ = false;
    print_state();
    print_line();
    insn_text_ = log_.size() + 1;
    log_ += std::to_string(insn_) + ": " + describe(input_.insns, insn_);
    shown_ = registers_of(insn());
    shown_slots_ = 0;
}

/// What the instruction before had to do with: behind its text, or, if something was said since, in
/// a line of its own.
void Walk::print_state() {
    if (shown_ == 0 && shown_slots_ == 0) {
        return;
    }
    const std::string text = describe(state_, shown_, shown_slots_);
    shown_ = 0;
    shown_slots_ = 0;
    if (insn_text_ == 0) {
        print(std::to_string(insn_) + ":" + text);
        return;
    }
    const std::size_t length = log_.size() - (insn_text_ - 1) + 1;
    const std::size_t column = (std::max<std::size_t>(length + 4, 40) + 7) / 8 * 8;
    log_.append(column - length - 1, ' ');
    log_ += ";" + text + "\n";
    insn_text_ = 0;
}

void Walk::print_functions() {
    for (std::size_t i = 0; (input_.log_level & kLogAll) != 0 && i < structure_.functions.size();
         ++i) {
        print(text_of("func#%zu @%u", i, structure_.functions[i].begin));
    }
}

/// Both sides of a call of a function, which has been made.
void Walk::print_call() {
    if ((input_.log_level & (kLogPath | kLogAll)) != 0) {
        print("caller:\n" + describe_frame(state_, state_.depth() - 1U) + "\ncallee:\n" +
              describe(state_));
        shown_ = kAllRegisters;
        shown_slots_ = kAllSlots;
    }
}

/// Before the return from a function, or from a callback to the call of the helper.
void Walk::print_return() {
    if ((input_.log_level & (kLogPath | kLogAll)) == 0) {
        return;
    }
    const bool from_callback = state_.frame().kind == FrameKind::callback;
    const std::uint32_t to = state_.frame().call_site + (from_callback ? 0 : 1);
    State caller = state_;
    caller.frames.pop_back();
    if (!from_callback) {
        caller.frame().registers[BPF_REG_0] = reg(BPF_REG_0);
    }
    print("returning from callee:\n" + describe(state_) + "\nto caller at " + std::to_string(to) +
          ":\n" + describe(caller));
    shown_ = 0;
    shown_slots_ = 0;
    print_arrival_ = true;
}

/// The path ends where it comes to what was walked.
void Walk::print_checkpoint() {
    if ((input_.log_level & kLogAll) != 0) {
        print(print_arrival_ ? text_of("\nfrom %u to %u: safe", from_, insn_)
                             : text_of("%u: safe", insn_));
    }
}

void Walk::statistics() {
    const Statistics& s = verdict_.statistics;
    if (insn_text_ != 0) {
        log_ += '\n';
        insn_text_ = 0;
    }
    if ((input_.log_level & kLogStatistics) != 0) {
        print(text_of("verification time %llu usec", static_cast<unsigned long long>(s.time_us)));
        std::string depths;
        for (const Function& function : structure_.functions) {
            depths += (depths.empty() ? "" : "+") + std::to_string(function.stack_bytes);
        }
        print("stack depth " + depths);
    }
    print(
        text_of("processed %u insns (limit %u) max_states_per_insn %u total_states %u peak_states "
                "%u mark_read %u",
                s.insns_processed, kInsnsProcessedMax, s.states_per_insn_max, s.states_total,
                s.states_peak, 0U));
}

}  // namespace taskwork::bpf::verifier
