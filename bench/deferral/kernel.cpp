// SPDX-License-Identifier: Apache-2.0
//
// The kernel's bpf_task_work doing the same: own maps, own process, all closed at the end. Only as
// root on a kernel that has it.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "deferral/machine.hpp"
#include "kernel_object.hpp"
#include "report.hpp"

namespace taskwork::bench {

namespace {

constexpr unsigned kAttempts = 256;  // As the object's.

struct Shared {
    std::uint64_t runs;
    std::int64_t error;
    std::uint64_t refused_ns;
    std::int32_t target_tid;
};

/// How often the callback has run.
std::uint64_t runs(KernelObject& object) {
    return __atomic_load_n(&object.shared<Shared>().runs, __ATOMIC_ACQUIRE);
}

void run_program(benchmark::State& state, KernelObject& object, const char* name, bool schedules) {
    const int program = object.program(name);
    const std::uint64_t before = runs(object);
    Samples samples;
    std::uint64_t count = 0;
    for (auto _ : state) {
        const std::uint64_t begin = platform::now_ns();
        KernelObject::run(program);
        samples.add(state, platform::now_ns() - begin);
        ++count;
    }
    samples.finish(state);
    if (runs(object) - before != (schedules ? count : 0)) {
        state.SkipWithError("not every callback has run");
    }
}

void refused(benchmark::State& state, KernelObject& object) {
    const int program = object.program("refused");
    Samples samples;
    for (auto _ : state) {
        if (const int error = KernelObject::run(program); error != 0) {
            state.SkipWithError(std::strerror(-error));
            return;
        }
        samples.add(state, object.shared<Shared>().refused_ns, kAttempts);
    }
    samples.finish(state);
}

void onto_target(benchmark::State& state, KernelObject& object, bool blocks) {
    const Poster poster;
    const int doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{};
    event.events = EPOLLIN;
    epoll_ctl(epoll, EPOLL_CTL_ADD, doorbell, &event);
    {
        const Target target(
            [&](const std::atomic<bool>& stop) {
                while (!stop.load(std::memory_order_relaxed)) {
                    if (blocks) {
                        epoll_event ready{};
                        epoll_wait(epoll, &ready, 1, -1);
                    }
                }
            },
            [&] {
                const std::uint64_t one = 1;
                [[maybe_unused]] const ssize_t written = write(doorbell, &one, sizeof(one));
            });
        object.shared<Shared>().target_tid = target.tid();
        const int program = object.program("onto_target");
        Samples samples;
        for (auto _ : state) {
            spin_for(blocks ? kSettleNs : kSettleNs / 4);
            const std::uint64_t before = runs(object);
            const std::uint64_t begin = platform::now_ns();
            // The callback counts before the kernel has ended the work: try again until it has.
            do {
                KernelObject::run(program);
            } while (object.shared<Shared>().error == -EBUSY);
            if (object.shared<Shared>().error != 0) {
                state.SkipWithError("the kernel refuses to schedule");
                break;
            }
            spin_until([&] { return runs(object) != before; });
            samples.add(state, platform::now_ns() - begin);
        }
        samples.finish(state);
    }
    close(epoll);
    close(doorbell);
}

}  // namespace

void add_kernel(Report& report) {
    report.heading("the kernel's bpf_task_work, the same");
    // Closed with the process at the latest.
    static auto* const object = new KernelObject(TASKWORK_BENCH_OBJECT);
    if (!object->why_not().empty()) {
        report.skipped("bpf_task_work", object->why_not());
        return;
    }
    const auto add = [&](const char* name, auto measure) {
        benchmark::RegisterBenchmark(name, measure)->UseManualTime();
    };
    add("bpf(PROG_TEST_RUN) of an empty program",
        [](benchmark::State& state) { run_program(state, *object, "nothing", false); });
    add("kernel: onto oneself, and the callback",
        [](benchmark::State& state) { run_program(state, *object, "onto_self", true); });
    report.row(
        {"kernel: onto oneself, and the callback", "bpf(PROG_TEST_RUN) of an empty program", 0, 0});
    add("kernel: refused (busy)", [](benchmark::State& state) { refused(state, *object); });
    report.row({"kernel: refused (busy)", "", 0, 0});
    int poster = 0;
    int target = 0;
    if (!two_processors(poster, target)) {
        report.skipped("kernel: onto another thread", "only one processor may be used");
        return;
    }
    add("kernel: onto a spinning thread, signal mode",
        [](benchmark::State& state) { onto_target(state, *object, false); });
    report.row(
        {"kernel: onto a spinning thread, signal mode", "tgkill and handler, spinning", 0, 0});
    add("kernel: onto a thread in epoll, signal mode",
        [](benchmark::State& state) { onto_target(state, *object, true); });
    report.row(
        {"kernel: onto a thread in epoll, signal mode", "tgkill and handler, in epoll", 0, 0});
}

}  // namespace taskwork::bench
