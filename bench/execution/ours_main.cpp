// SPDX-License-Identifier: Apache-2.0
//
// Our side of execution_bench, which is also a host. TASKWORK_JIT=off: interpreted.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <signal.h>
#include <ucontext.h>

#include <cerrno>

#include "bpf/program.hpp"
#include "bpf/user_memory.hpp"
#include "cli/host.hpp"
#include "execution/side.hpp"
#include "sync/platform.hpp"
#include "task/run_point.hpp"
#include "task/worker.hpp"
#include "uapi/descriptors.hpp"

namespace taskwork::bench {

namespace {

void recover(int signal, siginfo_t* info, void* ucontext) {
    if (!bpf::recover_fault(signal, info, ucontext)) {
        ::signal(signal, SIG_DFL);  // It comes again.
    }
}

std::string start() {
    // As where the agent is loaded: user memory is read without asking the kernel.
    struct sigaction action{};
    action.sa_sigaction = recover;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    ::sigaction(SIGSEGV, &action, nullptr);
    ::sigaction(SIGBUS, &action, nullptr);
    bpf::enable_fault_recovery();
    const auto started = cli::Host::start();
    return started ? "" : started.error().text;
}

/// As an event's handler runs it, but for the signal.
template <class Function>
int in_handler(int descriptor, Function&& function) {
    int error = 0;
    const auto object = uapi::object_as<uapi::ProgramObject>(descriptor, error);
    if (object == nullptr) {
        return error;
    }
    std::uint64_t context[23] = {};
    ucontext_t interrupted;
    ::getcontext(&interrupted);
    bpf::Execution execution;
    execution.task = task::current();
    execution.program = &object->program();
    execution.context = context;
    execution.context_size = sizeof context;
    execution.ucontext = &interrupted;
    const task::NmiScope scope(*execution.task, platform::stack_pointer(), false);
    if (!scope.entered()) {
        return -EBUSY;
    }
    function(execution);
    return execution.faulted ? -EFAULT : 0;
}

int run_event(int program) {
    return in_handler(program, [](bpf::Execution& execution) { bpf::run(execution); });
}

double measure_empty(unsigned runs) {
    const bpf_insn insns[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_JMP | BPF_EXIT}};
    const int program = bpf_prog_load(BPF_PROG_TYPE_PERF_EVENT, "empty", "GPL", insns, 2, nullptr);
    std::uint64_t ns = 0;
    in_handler(program, [&](bpf::Execution& execution) {
        const std::uint64_t start = platform::now_ns();
        for (unsigned i = 0; i < runs; ++i) {
            bpf::run(execution);
        }
        ns = platform::now_ns() - start;
    });
    return static_cast<double>(ns) / runs;
}

}  // namespace

}  // namespace taskwork::bench

int main(int argc, char** argv) {
    using namespace taskwork::bench;
    return serve(argc, argv,
                 {.start = start,
                  .settle = [] { taskwork::task::Worker::synchronize(); },
                  .prepare = [](bpf_object*) {},
                  .run_event = run_event,
                  .measure_empty = measure_empty});
}
