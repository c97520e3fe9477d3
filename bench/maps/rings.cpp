// SPDX-License-Identifier: Apache-2.0
//
// Ring buffer: reserve and submit, the consumer taking everything out between two batches.
#include <atomic>

#include "map/ring_buffer.hpp"
#include "maps/batch.hpp"
#include "maps/crew.hpp"
#include "maps/kernel.hpp"
#include "maps/subjects.hpp"

namespace taskwork::bench {

namespace {

constexpr std::uint32_t kRingBytes = 1U << 20;
/// Of a batch, of all threads: they fit.
constexpr std::uint64_t kRecords = 3'600;

map::Map& ring() {
    static map::Map& map = make_map(BPF_MAP_TYPE_RINGBUF, kRingBytes);
    return map;
}
/// How many of the records there was room for.
std::uint64_t fill_ring(std::uint64_t records, std::uint64_t bytes) {
    map::Map& map = ring();
    const std::uint16_t owner = task::current()->process;
    for (std::uint64_t i = 0; i < records; ++i) {
        auto* const record = static_cast<std::uint64_t*>(map::ring_reserve(map, bytes, 0, owner));
        if (record == nullptr) {
            return i;
        }
        *record = i;
        map::ring_submit(record, BPF_RB_NO_WAKEUP);
    }
    return records;
}
void empty_ring() {
    map::ring_consume(ring(), [](void*, void*, std::size_t) { return 0L; }, nullptr);
}

void in_threads(benchmark::State& state, unsigned threads, std::uint64_t bytes) {
    std::atomic<bool> failed{false};
    const std::uint64_t records = kRecords / threads;
    Crew crew(threads, [&](unsigned) {
        if (fill_ring(records, bytes) != records) {
            failed = true;
        }
    });
    Samples samples;
    for (auto _ : state) {
        crew.round(state, samples, records, empty_ring);
    }
    samples.finish(state);
    if (failed) {
        state.SkipWithError("a reservation was refused");
    }
}

/// The kernel's.
void in_kernel(benchmark::State& state, unsigned threads, const char* program) {
    Kernel& kernel = bench::kernel(kSmall);
    std::atomic<bool> failed{false};
    const auto records = static_cast<std::uint32_t>(kRecords / threads);
    Crew crew(threads, [&](unsigned i) {
        if (kernel.run(program, 0, kSmall, records, i).done != records) {
            failed = true;
        }
    });
    Samples samples;
    for (auto _ : state) {
        const auto loop = static_cast<double>(kernel.loop_ns(records)) / records;
        crew.round(state, samples, records, [&] { failed = !kernel.consume() || failed; }, loop);
    }
    samples.finish(state);
    if (failed) {
        state.SkipWithError("a reservation was refused");
    }
}

void in_handler(benchmark::State& state, std::uint64_t bytes) {
    Samples samples;
    for (auto _ : state) {
        empty_ring();
        if (!timed(state, samples, Where::nmi, kRecords,
                   [=] { return fill_ring(kRecords, bytes); })) {
            return;
        }
    }
    samples.finish(state);
}

std::string name_of_ring(const char* whose, std::uint64_t bytes, unsigned threads) {
    return whose + ("ring, " + std::to_string(bytes)) + " bytes, " + std::to_string(threads) +
           (threads == 1 ? " thread" : " threads");
}

}  // namespace

void add_rings(Report& report) {
    report.heading("ring buffer: reserve and submit");
    const bool has_kernel = kernel(kSmall).why_not().empty();
    for (const std::uint64_t bytes : {16U, 256U}) {
        for (const unsigned threads : {1U, 2U, Kernel::kLanes}) {
            const std::string name = name_of_ring(kOurs, bytes, threads);
            const std::string rival = name_of_ring(kKernel, bytes, threads);
            const char* const program = bytes == 16 ? "run_reserve_small" : "run_reserve_large";
            benchmark::RegisterBenchmark(
                name.c_str(), [=](benchmark::State& state) { in_threads(state, threads, bytes); })
                ->UseManualTime()
                ->Iterations(rounds());
            if (has_kernel) {
                benchmark::RegisterBenchmark(
                    rival.c_str(),
                    [=](benchmark::State& state) { in_kernel(state, threads, program); })
                    ->UseManualTime()
                    ->Iterations(rounds());
            }
            report.row({.name = name,
                        .floor = rival,
                        .ns_max = threads == 1 && bytes == 16 ? 30.0 : 0.0,
                        .is_rival = true,
                        .bytes = static_cast<double>(bytes)});
        }
    }
}

void add_ring_in_handler(Report& report) {
    for (const std::uint64_t bytes : {16U, 256U}) {
        const std::string name = name_of_ring(kOursInHandler, bytes, 1);
        benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
            in_handler(state, bytes);
        })->UseManualTime();
        report.row({.name = name, .floor = name_of_ring(kOurs, bytes, 1)});
    }
}

}  // namespace taskwork::bench
