// SPDX-License-Identifier: Apache-2.0
#include "bpf/verifier/structure.hpp"

#include <algorithm>
#include <functional>

#include "bpf/helpers.hpp"
#include "bpf/kfuncs.hpp"
#include "bpf/verifier/log.hpp"
#include "bpf/verifier/prototypes.hpp"

namespace taskwork::bpf::verifier {

bool is_call(const bpf_insn& insn, CallKind kind) {
    return insn.code == (BPF_JMP | BPF_CALL) && insn.src_reg == static_cast<unsigned>(kind);
}
bool is_tail_call(const bpf_insn& insn) {
    return is_call(insn, CallKind::helper) && insn.imm == BPF_FUNC_tail_call;
}

namespace {

bool is_wide(const bpf_insn& insn) { return insn.code == kLoadImmediate64; }
bool names_function(const bpf_insn& insn) {
    return is_call(insn, CallKind::subprogram) ||
           (is_wide(insn) && insn.src_reg == static_cast<unsigned>(Pseudo::function));
}
bool is_jump(const bpf_insn& insn) {
    return (BPF_CLASS(insn.code) == BPF_JMP || BPF_CLASS(insn.code) == BPF_JMP32) &&
           BPF_OP(insn.code) != BPF_CALL && BPF_OP(insn.code) != BPF_EXIT;
}
std::uint32_t target_of(const bpf_insn& insn, std::uint32_t index) {
    const std::int64_t offset = insn.code == (BPF_JMP32 | BPF_JA) ? insn.imm : insn.off;
    return static_cast<std::uint32_t>(std::int64_t{index} + 1 + offset);
}
std::uint32_t length_of(const bpf_insn& insn) { return is_wide(insn) ? 2 : 1; }

/// What follows an instruction inside its function: up to two.
unsigned successors(const std::vector<bpf_insn>& insns, std::uint32_t index,
                    std::uint32_t (&next)[2]) {
    const bpf_insn& insn = insns[index];
    if (insn.code == (BPF_JMP | BPF_EXIT)) {
        return 0;
    }
    if (!is_jump(insn)) {
        next[0] = index + length_of(insn);
        return 1;
    }
    next[0] = target_of(insn, index);
    next[1] = index + 1;
    return BPF_OP(insn.code) == BPF_JA ? 1 : 2;
}

struct Uses {
    unsigned read = 0;
    unsigned written = 0;
};

Uses uses_of(const bpf_insn& insn) {
    constexpr unsigned arguments = 0x3e;
    const unsigned dst = 1U << insn.dst_reg;
    const unsigned src = 1U << insn.src_reg;
    switch (BPF_CLASS(insn.code)) {
    case BPF_ALU:
    case BPF_ALU64: {
        const bool by_register = BPF_SRC(insn.code) == BPF_X && BPF_OP(insn.code) != BPF_END;
        const bool is_mov = BPF_OP(insn.code) == BPF_MOV;
        return {(is_mov ? 0 : dst) | (by_register ? src : 0), dst};
    }
    case BPF_LD:
        return {0, dst};
    case BPF_LDX:
        return {src, dst};
    case BPF_ST:
        return {dst, 0};
    case BPF_STX:
        if (BPF_MODE(insn.code) != kModeAtomic) {
            return {dst | src, 0};
        }
        if (insn.imm == kAtomicLoadAcquire) {
            return {src, dst};
        }
        if (insn.imm == BPF_CMPXCHG) {
            return {dst | src | 1, 1};
        }
        return {dst | src,
                insn.imm != kAtomicStoreRelease && (insn.imm & BPF_FETCH) != 0 ? src : 0};
    default:
        if (BPF_OP(insn.code) == BPF_CALL) {
            return {arguments, arguments | 1};
        }
        if (BPF_OP(insn.code) == BPF_EXIT) {
            return {1, 0};
        }
        if (BPF_OP(insn.code) == BPF_JA || BPF_OP(insn.code) == kOpConditionalPseudo) {
            return {};
        }
        return {dst | (BPF_SRC(insn.code) == BPF_X ? src : 0), 0};
    }
}

Round round_of(const bpf_insn& insn) {
    if (insn.code == (BPF_JMP | kOpConditionalPseudo)) {
        return Round::may_goto;
    }
    if (is_call(insn, CallKind::helper) &&
        (insn.imm == BPF_FUNC_loop || insn.imm == BPF_FUNC_for_each_map_elem)) {
        return Round::callback;
    }
    if (is_call(insn, CallKind::kfunc) && insn.imm >= 0) {
        const KfuncPrototype* prototype = kfunc_prototype_of(insn.imm);
        return prototype != nullptr && prototype->kind == KfuncKind::iter_next ? Round::iterator
                                                                               : Round::none;
    }
    return Round::none;
}

}  // namespace

void Structure::find_functions(const Input& input) {
    const auto count = static_cast<std::uint32_t>(input.insns.size());
    std::vector<bool> starts(count);
    starts[0] = true;
    for (std::uint32_t i = 0; i < count; i += length_of(input.insns[i])) {
        if (names_function(input.insns[i])) {
            starts[callee_of(input.insns[i], i)] = true;
        }
    }
    function_of.resize(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        if (starts[i]) {
            if (!functions.empty()) {
                functions.back().end = i;
            }
            functions.push_back({.begin = i, .end = count});
        }
        function_of[i] = static_cast<std::uint32_t>(functions.size() - 1);
        functions.back().calls_programs |= is_tail_call(input.insns[i]);
    }
    for (const FunctionInfo& info : input.functions) {
        if (info.insn < count && starts[info.insn]) {
            functions[function_of[info.insn]].info = &info;
        }
    }
}

/// What is called returns an int to the caller of the function.
bool Structure::check_tail_calls(std::string& reason) const {
    for (std::size_t i = 1; i < functions.size(); ++i) {
        if (!functions[i].calls_programs) {
            continue;
        }
        if (functions[i].info == nullptr) {
            reason = "tail_call is not allowed in subprogs without BTF";
            return false;
        }
        if (!functions[i].info->returns_scalar) {
            reason = "tail_call is only allowed in functions that return 'int'.";
            return false;
        }
    }
    return true;
}

bool Structure::find_reachable(const Input& input, std::uint32_t& insn, std::string& reason) {
    const auto count = static_cast<std::uint32_t>(input.insns.size());
    std::vector<bool> reached(count);
    std::vector<std::uint32_t> waiting{0};
    while (!waiting.empty()) {
        const std::uint32_t at = waiting.back();
        waiting.pop_back();
        if (reached[at]) {
            continue;
        }
        reached[at] = true;
        if (names_function(input.insns[at])) {
            waiting.push_back(callee_of(input.insns[at], at));
        }
        std::uint32_t next[2];
        const unsigned following = successors(input.insns, at, next);
        for (unsigned i = 0; i < following; ++i) {
            waiting.push_back(next[i]);
        }
        if (is_jump(input.insns[at])) {
            prune_point[next[0]] = true;
            prune_point[at] = prune_point[at] || following == 2;
        }
        if (is_call(input.insns[at], CallKind::subprogram)) {
            prune_point[at + 1] = true;
        }
        round[at] = round_of(input.insns[at]);
        prune_point[at] = prune_point[at] || round[at] != Round::none;
    }
    for (std::uint32_t i = 0; i < count; i += length_of(input.insns[i])) {
        if (!reached[i]) {
            insn = i;
            reason = text_of("unreachable insn %u", i);
            return false;
        }
    }
    return true;
}

void Structure::find_sleeping(const Input& input) {
    for (bool changed = true; changed;) {
        changed = false;
        for (Function& function : functions) {
            for (std::uint32_t i = function.begin; i < function.end && !function.may_sleep;
                 i += length_of(input.insns[i])) {
                const bpf_insn& insn = input.insns[i];
                const bool sleeps =
                    (is_call(insn, CallKind::helper) && helper(insn.imm).sleepable) ||
                    (is_call(insn, CallKind::kfunc) && insn.imm >= 0 &&
                     kfunc(insn.imm).sleepable) ||
                    (is_call(insn, CallKind::subprogram) &&
                     functions[function_of[callee_of(insn, i)]].may_sleep);
                changed = changed || sleeps;
                function.may_sleep = sleeps;
            }
        }
    }
}

void Structure::find_live(const Input& input) {
    const auto count = static_cast<std::uint32_t>(input.insns.size());
    // Who comes before: edges by their end.
    constexpr std::uint32_t none = UINT32_MAX;
    struct Edge {
        std::uint32_t from;
        std::uint32_t next;
    };
    std::vector<Edge> edges;
    std::vector<std::uint32_t> first(count, none);
    std::vector<std::uint32_t> waiting;
    for (std::uint32_t i = 0; i < count; i += length_of(input.insns[i])) {
        std::uint32_t next[2];
        for (unsigned n = successors(input.insns, i, next); n-- > 0;) {
            edges.push_back({i, first[next[n]]});
            first[next[n]] = static_cast<std::uint32_t>(edges.size() - 1);
        }
        waiting.push_back(i);
    }
    // Each instruction comes again at most once for a register, and for each way behind it.
    live.assign(count, 0);
    while (!waiting.empty()) {
        const std::uint32_t i = waiting.back();
        waiting.pop_back();
        std::uint32_t next[2];
        unsigned after = 0;
        for (unsigned n = successors(input.insns, i, next); n-- > 0;) {
            after |= live[next[n]];
        }
        const Uses uses = uses_of(input.insns[i]);
        const unsigned before = (after & ~uses.written) | uses.read;
        if (before == live[i]) {
            continue;
        }
        live[i] = static_cast<std::uint16_t>(before);
        for (std::uint32_t edge = first[i]; edge != none; edge = edges[edge].next) {
            waiting.push_back(edges[edge].from);
        }
    }
}

bool Structure::analyse(const Input& input, std::uint32_t& insn, std::string& reason) {
    prune_point.resize(input.insns.size());
    round.resize(input.insns.size());
    find_functions(input);
    if (functions.size() > kFunctionsMax) {
        reason = "too many subprograms";
        return false;
    }
    if (!check_tail_calls(reason) || !find_reachable(input, insn, reason)) {
        return false;
    }
    find_sleeping(input);
    find_live(input);
    return true;
}

bool Structure::check_stack(const Input& input, std::uint32_t& insn, std::string& reason,
                            unsigned& frames) const {
    // The deepest chain that each function begins, so that no more than one is followed to its end.
    struct Chain {
        std::uint32_t bytes = 0;
        unsigned frames = 0;
        /// Before the one that has tail calls and the most before it; -1: none has.
        std::int32_t before_tail_call = -1;
        bool known = false;
        bool entered = false;
    };
    struct Search {
        const Structure& structure;
        const Input& input;
        std::vector<Chain> chains;

        [[nodiscard]] std::uint32_t own(std::uint32_t number) const {
            return (std::max(structure.functions[number].stack_bytes, 1U) + 15) / 16 * 16;
        }
        /// Calls function(index, callee) for each function that this one calls on its stack.
        bool each_callee(std::uint32_t number,
                         const std::function<bool(std::uint32_t, std::uint32_t)>& function) {
            const Function& caller = structure.functions[number];
            for (std::uint32_t i = caller.begin; i < caller.end; i += length_of(input.insns[i])) {
                if (!names_function(input.insns[i])) {
                    continue;
                }
                const std::uint32_t callee = structure.function_of[callee_of(input.insns[i], i)];
                const bool elsewhere = !is_call(input.insns[i], CallKind::subprogram) &&
                                       structure.functions[callee].is_async_callback;
                if (!elsewhere && !function(i, callee)) {
                    return false;
                }
            }
            return true;
        }
        /// Recursion counts as a chain that is too long.
        const Chain& chain_of(std::uint32_t number) {
            if (chains[number].known) {
                return chains[number];
            }
            if (chains[number].entered) {
                chains[number].frames = kFramesMax + 1;
                return chains[number];
            }
            chains[number].entered = true;
            Chain deepest;
            each_callee(number, [&](std::uint32_t, std::uint32_t callee) {
                const Chain& below = chain_of(callee);
                deepest.bytes = std::max(deepest.bytes, below.bytes);
                deepest.frames = std::max(deepest.frames, below.frames);
                deepest.before_tail_call =
                    std::max(deepest.before_tail_call, below.before_tail_call);
                return true;
            });
            if (deepest.before_tail_call >= 0) {
                chains[number].before_tail_call =
                    deepest.before_tail_call + static_cast<std::int32_t>(own(number));
            } else if (structure.functions[number].calls_programs) {
                chains[number].before_tail_call = 0;
            }
            chains[number].bytes = deepest.bytes + own(number);
            chains[number].frames = std::max(chains[number].frames, deepest.frames + 1);
            chains[number].known = true;
            return chains[number];
        }
        /// Follows a chain that is too deep to where it becomes so.
        bool follow(std::uint32_t number, std::uint32_t above, unsigned frames, std::uint32_t& at,
                    std::string& text) {
            // Calls of programs keep the frames of callers: 33 of them at most fill 8 KiB so.
            if (structure.functions[number].calls_programs && above >= kStackBeforeTailCallMax) {
                at = structure.functions[number].begin;
                text = text_of("tail_calls are not allowed when call stack of previous frames is "
                               "%u bytes. Too large",
                               above);
                return false;
            }
            const std::uint32_t sum = above + own(number);
            if (sum > kFrameBytes) {
                at = structure.functions[number].begin;
                text = text_of("combined stack size of %u calls is %u. Too large", frames, sum);
                return false;
            }
            return each_callee(number, [&](std::uint32_t index, std::uint32_t callee) {
                if (frames == kFramesMax) {
                    at = index;
                    text = text_of("the call stack of %u frames is too deep !", frames);
                    return false;
                }
                const Chain& below = chain_of(callee);
                const bool fits = sum + below.bytes <= kFrameBytes &&
                                  frames + below.frames <= kFramesMax &&
                                  (below.before_tail_call < 0 ||
                                   sum + static_cast<std::uint32_t>(below.before_tail_call) <
                                       kStackBeforeTailCallMax);
                return fits || follow(callee, sum, frames + 1, at, text);
            });
        }
    };
    Search search{*this, input, std::vector<Chain>(functions.size())};
    for (std::uint32_t number = 0; number < functions.size(); ++number) {
        if ((number == 0 || functions[number].is_async_callback) &&
            !search.follow(number, 0, 1, insn, reason)) {
            return false;
        }
    }
    frames = search.chain_of(0).frames;
    return true;
}

std::uint64_t Structure::insns_max(std::uint32_t processed) const {
    if (std::any_of(round.begin(), round.end(), [](Round each) { return each != Round::none; })) {
        return Verdict::kNotWalked;
    }
    // Each instruction may be a call of a global function, each of which is in a chain but once.
    std::uint64_t most = processed;
    for (std::size_t i = 1; i < functions.size(); ++i) {
        if (functions[i].is_global()) {
            most = most > UINT32_MAX ? Verdict::kNotWalked - 1 : most * (processed + 1ULL);
        }
    }
    return most;
}

}  // namespace taskwork::bpf::verifier
