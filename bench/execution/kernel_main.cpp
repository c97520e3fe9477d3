// SPDX-License-Identifier: Apache-2.0
//
// The kernel's side of execution_bench: own maps and programs, nothing is attached or pinned.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "execution/side.hpp"
#include "tests/reference/kernel.hpp"

namespace {

/// Those that are run on demand there, and may call bpf_tail_call.
void prepare(bpf_object* object) {
    for (const char* name : {"tail_calls", "called"}) {
        bpf_program__set_type(bpf_object__find_program_by_name(object, name),
                              BPF_PROG_TYPE_RAW_TRACEPOINT);
    }
}

int run_event(int program) {
    LIBBPF_OPTS(bpf_test_run_opts, options);
    unsigned long long context[8] = {};
    options.ctx_in = context;
    options.ctx_size_in = sizeof context;
    return bpf_prog_test_run_opts(program, &options);
}

/// A socket filter, which the kernel runs again and again by itself and says how long that takes.
double measure_empty(unsigned runs) {
    const bpf_insn insns[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_JMP | BPF_EXIT}};
    const int program =
        bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "empty", "GPL", insns, 2, nullptr);
    unsigned char packet[64] = {};
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = packet;
    options.data_size_in = sizeof packet;
    options.repeat = static_cast<int>(runs);
    const bool done = bpf_prog_test_run_opts(program, &options) == 0;
    return done ? options.duration : 0;
}

}  // namespace

int main(int argc, char** argv) {
    return taskwork::bench::serve(argc, argv,
                                  {.start = taskwork::test::no_reference_because,
                                   .settle = [] {},
                                   .prepare = prepare,
                                   .run_event = run_event,
                                   .measure_empty = measure_empty});
}
