// SPDX-License-Identifier: Apache-2.0
//
// The kernel's maps doing the same as ours by one thread, net of the loop that does nothing.
#include "maps/kernel.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "maps/kinds.hpp"
#include "maps/subjects.hpp"

namespace taskwork::bench {

namespace {

/// As the object's.
struct alignas(64) Shared {
    std::uint64_t first;
    std::uint64_t count;
    std::uint64_t stride;
    std::uint64_t at;
    std::uint32_t times;
    std::uint32_t done;
    std::uint64_t ns;
};

constexpr std::uint32_t kTimes = 1'000;

}  // namespace

Kernel::Kernel(std::uint32_t entries, std::uint32_t filled)
    : object_(TASKWORK_BENCH_OBJECT, [=](bpf_object& object) {
          bpf_map__set_max_entries(bpf_object__find_map_by_name(&object, "hash"), entries);
      }) {
    if (why_not().empty()) {
        // In order, as ours: not in that in which they are asked for.
        run("run_update", 0, filled, 1, filled, 0);
    }
}

Kernel::Result Kernel::run(const char* program, std::uint64_t first, std::uint64_t count,
                           std::uint32_t times, unsigned lane) {
    return run(program, first, count, Walk(first, count).stride(), times, lane);
}

Kernel::Result Kernel::run(const char* program, std::uint64_t first, std::uint64_t count,
                           std::uint64_t stride, std::uint32_t times, unsigned lane) {
    auto& shared = object_.shared<Shared[kLanes]>()[lane];
    shared.first = first;
    shared.count = count;
    shared.stride = stride;
    shared.at = at_[lane].key % count;
    shared.times = times;
    const std::uint64_t number = lane;
    if (KernelObject::run(object_.program(program), &number) != 0) {
        return {};
    }
    at_[lane].key = shared.at;
    return {shared.ns, shared.done};
}

std::uint64_t Kernel::loop_ns(std::uint32_t times) {
    const std::uint64_t at = this->at();
    const std::uint64_t ns = run("run_nothing", 1, times, times).ns;
    go_to(at);
    return ns;
}

bool Kernel::consume() {
    if (consumer_ == nullptr) {
        consumer_ = ring_buffer__new(
            object_.map("ring"), [](void*, void*, std::size_t) { return 0; }, nullptr, nullptr);
    }
    return consumer_ != nullptr && ring_buffer__consume(consumer_) >= 0;
}

Kernel& kernel(std::uint32_t entries) {
    if (entries == kLarge) {
        static auto* const large = new Kernel(kLarge, kLarge);
        return *large;
    }
    static auto* const small = new Kernel(kSmall, kSmall);
    return *small;
}

namespace {

/// What is timed, and what is done before and after, untimed.
struct Step {
    const char* program = nullptr;
    std::uint64_t first = 0;  ///< Of the keys.
    bool expected = true;
    const char* fill = nullptr;    ///< Puts all keys in.
    const char* before = nullptr;  ///< On the same keys.
    const char* after = nullptr;
    bool fresh = false;  ///< Each batch has keys of its own.
};

void measure(benchmark::State& state, std::uint32_t entries, const Step& step) {
    Kernel& kernel = bench::kernel(entries);
    static std::uint64_t fresh = std::uint64_t{1} << 32;
    if (step.fill != nullptr) {
        kernel.run(step.fill, 0, entries, entries);
    }
    Samples samples;
    for (auto _ : state) {
        const std::uint64_t first = step.fresh ? fresh : step.first;
        fresh += step.fresh ? entries : 0;
        const std::uint64_t loop = kernel.loop_ns(kTimes);
        const std::uint64_t at = kernel.at();
        if (step.before != nullptr) {
            kernel.run(step.before, first, entries, kTimes);
            kernel.go_to(at);
        }
        const Kernel::Result result = kernel.run(step.program, first, entries, kTimes);
        if (step.after != nullptr) {
            kernel.go_to(at);
            kernel.run(step.after, first, entries, kTimes);
        }
        if (result.ns == 0 || loop == 0 || result.done != (step.expected ? kTimes : 0)) {
            state.SkipWithError("an operation failed");
            return;
        }
        samples.add(state, result.ns > loop ? result.ns - loop : 0, kTimes);
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
    add(name_of(kKernel, kLruUpdate, kSmall), kSmall,
        {.program = "run_update_lru", .before = "run_update_lru"});
    add(name_of(kKernel, kLruEvict, kSmall), kSmall, {.program = "run_update_lru", .fresh = true});
    for (const KindRow& row : kind_rows()) {
        add(std::string(kKernel) + row.name, kSmall,
            {.program = row.program, .fill = row.fill_program});
    }
}

}  // namespace taskwork::bench
