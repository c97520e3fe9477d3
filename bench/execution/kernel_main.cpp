// SPDX-License-Identifier: Apache-2.0
//
// The kernel's side of execution_bench: own maps and programs, nothing is attached or pinned.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <sys/syscall.h>

#include <cstring>

#include "execution/side.hpp"
#include "respondent.hpp"
#include "tests/reference/kernel.hpp"

namespace {

std::string start() {
    const std::string absent = taskwork::test::no_reference_because();
    return absent.empty() ? "" : taskwork::bench::kAbsent + absent;
}

/// Those that are run on demand there, and may call bpf_tail_call.
void prepare(bpf_object* object) {
    for (const char* name : {"stack_walks", "tail_calls", "called"}) {
        bpf_program__set_type(bpf_object__find_program_by_name(object, name),
                              BPF_PROG_TYPE_RAW_TRACEPOINT);
    }
}

/// From here on frame pointers lead through the stack, as they may not in libbpf and libc.
int run_event(int program) {
    unsigned long long context[8] = {};
    union bpf_attr attr;
    std::memset(&attr, 0, sizeof attr);
    attr.test.prog_fd = static_cast<__u32>(program);
    attr.test.ctx_in = reinterpret_cast<__u64>(context);
    attr.test.ctx_size_in = sizeof context;
    long result = SYS_bpf;
    asm volatile("syscall"
                 : "+a"(result)
                 : "D"(BPF_PROG_TEST_RUN), "S"(&attr), "d"(sizeof attr)
                 : "rcx", "r11", "memory");
    return static_cast<int>(result);
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
                                  {.start = start,
                                   .settle = [] {},
                                   .prepare = prepare,
                                   .run_event = run_event,
                                   .measure_empty = measure_empty});
}
