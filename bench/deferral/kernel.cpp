// SPDX-License-Identifier: Apache-2.0
//
// The kernel's bpf_task_work doing the same: own maps, own process, all closed at the end. Only as
// root on a kernel that has it.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "deferral/machine.hpp"
#include "deferral/report.hpp"
#include "tests/reference/kernel.hpp"

namespace taskwork::bench {

namespace {

constexpr unsigned kAttempts = 256;  // As the object's.

struct Shared {
    std::uint64_t runs;
    std::int64_t error;
    std::uint64_t refused_ns;
    std::int32_t target_tid;
};

class Object {
public:
    Object() {
        libbpf_set_print(nullptr);
        object_ = bpf_object__open_file(TASKWORK_BENCH_OBJECT, nullptr);
        if (object_ == nullptr || bpf_object__load(object_) != 0) {
            why_ = "the kernel refuses the object";
            return;
        }
        bpf_map* map = bpf_object__find_map_by_name(object_, ".data.shared");
        void* memory = map == nullptr ? MAP_FAILED
                                      : mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED,
                                             bpf_map__fd(map), 0);
        if (memory == MAP_FAILED) {
            why_ = "the object's memory cannot be mapped";
            return;
        }
        shared_ = static_cast<Shared*>(memory);
    }
    ~Object() {
        if (shared_ != nullptr) {
            munmap(shared_, kPage);
        }
        bpf_object__close(object_);
    }
    Object(const Object&) = delete;
    Object& operator=(const Object&) = delete;

    [[nodiscard]] const std::string& why_not() const { return why_; }
    [[nodiscard]] int program(const char* name) const {
        return bpf_program__fd(bpf_object__find_program_by_name(object_, name));
    }
    /// 0 or -errno.
    static int run(int program) {
        LIBBPF_OPTS(bpf_test_run_opts, options);
        return bpf_prog_test_run_opts(program, &options);
    }
    [[nodiscard]] std::uint64_t runs() const {
        return __atomic_load_n(&shared_->runs, __ATOMIC_ACQUIRE);
    }
    Shared& shared() { return *shared_; }

private:
    static constexpr std::size_t kPage = 4096;
    bpf_object* object_ = nullptr;
    Shared* shared_ = nullptr;
    std::string why_;
};

void run_program(benchmark::State& state, Object& object, const char* name, bool schedules) {
    const int program = object.program(name);
    const std::uint64_t before = object.runs();
    Samples samples;
    std::uint64_t count = 0;
    for (auto _ : state) {
        const std::uint64_t begin = platform::now_ns();
        Object::run(program);
        samples.add(state, platform::now_ns() - begin);
        ++count;
    }
    samples.finish(state);
    if (object.runs() - before != (schedules ? count : 0)) {
        state.SkipWithError("not every callback has run");
    }
}

void refused(benchmark::State& state, Object& object) {
    const int program = object.program("refused");
    Samples samples;
    for (auto _ : state) {
        if (const int error = Object::run(program); error != 0) {
            state.SkipWithError(std::strerror(-error));
            return;
        }
        samples.add(state, object.shared().refused_ns, kAttempts);
    }
    samples.finish(state);
}

void onto_target(benchmark::State& state, Object& object, bool blocks) {
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
        object.shared().target_tid = target.tid();
        const int program = object.program("onto_target");
        Samples samples;
        for (auto _ : state) {
            spin_for(blocks ? kSettleNs : kSettleNs / 4);
            const std::uint64_t before = object.runs();
            const std::uint64_t begin = platform::now_ns();
            // The callback counts before the kernel has ended the work: try again until it has.
            do {
                Object::run(program);
            } while (object.shared().error == -EBUSY);
            if (object.shared().error != 0) {
                state.SkipWithError("the kernel refuses to schedule");
                break;
            }
            spin_until([&] { return object.runs() != before; });
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
    std::string why = test::no_reference_because();
    static Object* object = nullptr;
    if (why.empty()) {
        // Closed with the process at the latest; nothing is pinned.
        object = new Object;
        why = object->why_not();
    }
    if (!why.empty()) {
        report.skipped("bpf_task_work", why);
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
