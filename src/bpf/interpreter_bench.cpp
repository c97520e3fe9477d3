// SPDX-License-Identifier: Apache-2.0
//
// What does an instruction cost, and what its check? Guess: 1.5 ns an instruction that computes
// (one indirect jump), 2 ns one that loads from the frame (two comparisons more) or from a map
// value (the windows), 100 ns around an execution (two clock reads, two atomic counts). The result
// of each program is shown as `r0`.
#include <benchmark/benchmark.h>

#include "bpf/test_program.hpp"

namespace taskwork::bpf {
namespace {

using namespace test;

constexpr std::int64_t kLoops = 1000;

BpfDomain& domain() {
    static auto* const made = new BpfDomain;  // The arena is of the process: never destroyed.
    return *made;
}

/// Time per instruction of `body`, `body_insns` instructions repeated kLoops times with two around.
void run_loop(benchmark::State& state, std::initializer_list<Piece> before,
              std::initializer_list<Piece> body, int body_insns) {
    std::vector<bpf_insn> insns;
    const auto append = [&insns](const Piece& piece) {
        insns.insert(insns.end(), piece.insns.begin(),
                     piece.insns.begin() + static_cast<std::ptrdiff_t>(piece.count));
    };
    for (const Piece& piece : before) {
        append(piece);
    }
    append(set(R9, kLoops));
    for (const Piece& piece : body) {
        append(piece);
    }
    append(add(R9, -1));
    append(jump_if(BPF_JNE, R9, std::int64_t{0}, -body_insns - 2));
    append(leave());
    LoadSpec spec = domain().spec();
    spec.unverified = false;
    spec.insns = insns.data();
    spec.insn_count = static_cast<std::uint32_t>(insns.size());
    std::string log;
    auto loaded = load_program(spec, log);
    if (!loaded) {
        state.SkipWithError(log.c_str());
        return;
    }
    std::uint64_t result = 0;
    for (auto _ : state) {
        result = domain().run(**loaded);
    }
    if (domain().execution.faulted) {
        state.SkipWithError("the program has faulted");
    }
    state.counters["r0"] = static_cast<double>(result);
    state.counters["insn"] =
        benchmark::Counter(static_cast<double>(state.iterations()) * kLoops * (body_insns + 2),
                           benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void compute(benchmark::State& state) {
    run_loop(state, {set(R0, 1)},
             {alu(BPF_ADD, R0, 3), alu(BPF_MUL, R0, 5), alu(BPF_XOR, R0, R9), alu(BPF_RSH, R0, 1)},
             4);
}
BENCHMARK(compute);

void load_from_frame(benchmark::State& state) {
    run_loop(state, {store_imm(BPF_DW, R10, -8, 7), set(R0, 0)},
             {load(BPF_DW, R1, R10, -8), alu(BPF_ADD, R0, R1), load(BPF_DW, R1, R10, -8),
              alu(BPF_ADD, R0, R1)},
             4);
}
BENCHMARK(load_from_frame);

void load_from_value(benchmark::State& state) {
    static map::Map& map = domain().array(64, 1);
    run_loop(state, {domain().wide_value(R6, map, 8), store_imm(BPF_DW, R6, 0, 7), set(R0, 0)},
             {load(BPF_DW, R1, R6, 0), alu(BPF_ADD, R0, R1), load(BPF_DW, R1, R6, 0),
              alu(BPF_ADD, R0, R1)},
             4);
}
BENCHMARK(load_from_value);

void call_helper_that_does_little(benchmark::State& state) {
    run_loop(state, {set(R0, 0)}, {call(BPF_FUNC_get_current_task)}, 1);
}
BENCHMARK(call_helper_that_does_little);

/// One execution of two instructions: what is around them.
void execution(benchmark::State& state) {
    LoadSpec spec = domain().spec();
    spec.unverified = false;
    Program& program = domain().load(spec, {set(R0, 1), leave()});
    const task::NmiScope scope(*task::current(), platform::stack_pointer(), false);
    Execution execution;
    execution.task = task::current();
    execution.program = &program;
    for (auto _ : state) {
        benchmark::DoNotOptimize(bpf::run(execution));
    }
}
BENCHMARK(execution);

}  // namespace
}  // namespace taskwork::bpf
