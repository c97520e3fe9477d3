// SPDX-License-Identifier: Apache-2.0
//
// The kernel's maps doing the same, inside a program that BPF_PROG_TEST_RUN runs; net of the loop
// that does nothing. Only as root on a kernel that can be the reference.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cstring>

#include "kernel_object.hpp"
#include "maps/subjects.hpp"

namespace taskwork::bench {

namespace {

/// As the object's.
struct Shared {
    std::uint64_t first;
    std::uint64_t count;
    std::uint64_t stride;
    std::uint64_t at;
    std::uint32_t times;
    std::uint32_t done;
    std::uint64_t ns;
};

constexpr std::uint32_t kTimes = 1'000;

template <std::uint32_t entries>
void prepare(bpf_object& object) {
    bpf_map__set_max_entries(bpf_object__find_map_by_name(&object, "hash"), entries);
    bpf_map__set_max_entries(bpf_object__find_map_by_name(&object, "lru"), kSmall);
}

class Kernel {
public:
    explicit Kernel(std::uint32_t entries)
        : object_(TASKWORK_BENCH_OBJECT, entries == kLarge ? prepare<kLarge> : prepare<kSmall>) {
        if (object_.why_not().empty()) {
            run("run_update", 0, entries, entries);
        }
    }
    [[nodiscard]] const std::string& why_not() const { return object_.why_not(); }

    /// Does `times` operations on the keys first .. first + count - 1. ns of all of them, the loop
    /// included; 0: not all did what they were to.
    std::uint64_t run(const char* program, std::uint64_t first, std::uint64_t count,
                      std::uint32_t times, bool expected = true) {
        auto& shared = object_.shared<Shared>();
        const Walk walk(first, count);
        shared.first = first;
        shared.count = count;
        shared.stride = walk.stride();
        shared.at = at_ % count;
        shared.times = times;
        const int error = KernelObject::run(object_.program(program));
        at_ = shared.at;
        return error == 0 && shared.done == (expected ? times : 0) ? shared.ns : 0;
    }
    /// Where the next run begins, to repeat one.
    [[nodiscard]] std::uint64_t at() const { return at_; }
    void go_to(std::uint64_t at) { at_ = at; }

    /// Has a consumer pass all records. libbpf's own would map and poll.
    bool consume() {
        if (consumer_ == nullptr) {
            consumer_ = ring_buffer__new(
                object_.map("ring"), [](void*, void*, std::size_t) { return 0; }, nullptr, nullptr);
        }
        return consumer_ != nullptr && ring_buffer__consume(consumer_) >= 0;
    }

private:
    KernelObject object_;
    ring_buffer* consumer_ = nullptr;
    std::uint64_t at_ = 0;
};

Kernel& kernel(std::uint32_t entries) {
    if (entries == kLarge) {
        static auto* const large = new Kernel(kLarge);
        return *large;
    }
    static auto* const small = new Kernel(kSmall);
    return *small;
}

/// What is timed, and what is done before and after, untimed.
struct Step {
    const char* program = nullptr;
    std::uint64_t first = 0;  ///< Of the keys.
    bool expected = true;
    const char* before = nullptr;  ///< On the same keys.
    const char* after = nullptr;
    bool fresh = false;  ///< Each batch has keys of its own.
    bool consumes = false;
};

void measure(benchmark::State& state, std::uint32_t entries, const Step& step) {
    Kernel& kernel = bench::kernel(entries);
    static std::uint64_t fresh = std::uint64_t{1} << 32;
    Samples samples;
    for (auto _ : state) {
        if (step.consumes && !kernel.consume()) {
            state.SkipWithError("the ring cannot be consumed");
            return;
        }
        const std::uint64_t first = step.fresh ? fresh : step.first;
        fresh += step.fresh ? entries : 0;
        const std::uint64_t loop = kernel.run("run_nothing", first + 1, entries, kTimes);
        const std::uint64_t at = kernel.at();
        if (step.before != nullptr) {
            kernel.run(step.before, first, entries, kTimes);
            kernel.go_to(at);
        }
        const std::uint64_t ns = kernel.run(step.program, first, entries, kTimes, step.expected);
        if (step.after != nullptr) {
            kernel.go_to(at);
            kernel.run(step.after, first, entries, kTimes);
        }
        if (ns == 0 || loop == 0) {
            state.SkipWithError("an operation failed");
            return;
        }
        samples.add(state, ns > loop ? ns - loop : 0, kTimes);
    }
    samples.finish(state);
}

void add(const std::string& name, std::uint32_t entries, const Step& step) {
    benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
        measure(state, entries, step);
    })->UseManualTime();
}

}  // namespace

void add_kernel(Report& report) {
    if (!kernel(kSmall).why_not().empty()) {
        report.skipped("the kernel's maps", kernel(kSmall).why_not());
        return;
    }
    for (const std::uint32_t entries : {kSmall, kLarge}) {
        if (entries == kLarge && is_short()) {
            continue;
        }
        const auto name = [&](const char* operation) {
            return name_of(kKernel, operation, entries);
        };
        add(name("lookup, hit"), entries, {.program = "run_look_up"});
        add(name("lookup, miss"), entries,
            {.program = "run_look_up", .first = entries, .expected = false});
        add(name("update"), entries, {.program = "run_update"});
        add(name("insert"), entries, {.program = "run_update", .before = "run_erase"});
        add(name("delete, hit"), entries, {.program = "run_erase", .after = "run_update"});
        add(name("delete, miss"), entries,
            {.program = "run_erase", .first = entries, .expected = false});
    }
    add(name_of("kernel, LRU: ", "update", kSmall), kSmall,
        {.program = "run_update_lru", .before = "run_update_lru"});
    add(name_of("kernel, LRU: ", "insert that evicts", kSmall), kSmall,
        {.program = "run_update_lru", .fresh = true});
    add(std::string(kKernel) + "ring, 16 bytes", kSmall,
        {.program = "run_reserve_small", .consumes = true});
    add(std::string(kKernel) + "ring, 256 bytes", kSmall,
        {.program = "run_reserve_large", .consumes = true});
}

}  // namespace taskwork::bench
