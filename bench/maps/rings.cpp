// SPDX-License-Identifier: Apache-2.0
//
// Ring buffer: reserve and submit, the consumer taking everything out between two batches.
#include <atomic>

#include "map/ring_buffer.hpp"
#include "maps/crew.hpp"
#include "maps/subjects.hpp"

namespace taskwork::bench {

namespace {

constexpr std::uint32_t kRingBytes = 1U << 20;
constexpr std::uint64_t kRecords = 1'000;  ///< Of a batch; the kernel's is as long.

map::Map& ring() {
    static map::Map& map = make_map(BPF_MAP_TYPE_RINGBUF, kRingBytes);
    return map;
}

void reserve_and_submit(benchmark::State& state, unsigned threads, std::uint64_t bytes) {
    map::Map& map = ring();
    std::atomic<bool> failed{false};
    // Fewer each, so that all fit.
    const std::uint64_t records = kRecords / threads;
    Crew crew(threads, [&](unsigned) {
        const std::uint16_t owner = task::current()->process;
        for (std::uint64_t i = 0; i < records; ++i) {
            auto* const record =
                static_cast<std::uint64_t*>(map::ring_reserve(map, bytes, 0, owner));
            if (record == nullptr) {
                failed = true;
                return;
            }
            *record = i;
            map::ring_submit(record, BPF_RB_NO_WAKEUP);
        }
    });
    Samples samples;
    for (auto _ : state) {
        crew.round(state, samples, records, [&] {
            map::ring_consume(map, [](void*, void*, std::size_t) { return 0L; }, nullptr);
        });
    }
    samples.finish(state);
    if (failed) {
        state.SkipWithError("a reservation was refused");
    }
}

}  // namespace

void add_rings(Report& report) {
    report.heading("ring buffer: reserve and submit");
    for (const std::uint64_t bytes : {16U, 256U}) {
        const std::string size = std::to_string(bytes) + " bytes";
        for (const unsigned threads : {1U, 2U}) {
            const std::string name = kOurs + size + (threads == 1 ? ", 1 thread" : ", 2 threads");
            benchmark::RegisterBenchmark(
                name.c_str(),
                [=](benchmark::State& state) { reserve_and_submit(state, threads, bytes); })
                ->UseManualTime()
                ->Iterations(100);
            report.row({.name = name,
                        .floor = threads == 1 ? kKernel + ("ring, " + size) : "",
                        .ns_max = threads == 1 && bytes == 16 ? 30.0 : 0.0,
                        .is_rival = true,
                        .bytes = static_cast<double>(bytes)});
        }
    }
}

}  // namespace taskwork::bench
