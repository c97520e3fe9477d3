// SPDX-License-Identifier: Apache-2.0
//
// asio::post to a thread that polls or blocks in its io_context. Compiled where Asio is installed.
#include "deferral/machine.hpp"
#include "report.hpp"

#ifdef TASKWORK_BENCH_ASIO
#include <asio.hpp>
#endif

namespace taskwork::bench {

#ifdef TASKWORK_BENCH_ASIO

namespace {

void post_and_wait(benchmark::State& state, bool polls) {
    const Poster poster;
    asio::io_context loop(1);
    auto guard = asio::make_work_guard(loop);
    alignas(64) std::atomic<std::uint64_t> runs{0};
    {
        const Target target(
            [&](const std::atomic<bool>& stop) {
                while (!stop.load(std::memory_order_relaxed)) {
                    if (polls) {
                        loop.poll();
                    } else {
                        loop.run();
                    }
                }
            },
            [&] { loop.stop(); });
        spin_for(kSettleNs);
        Samples samples;
        for (auto _ : state) {
            const std::uint64_t before = runs.load(std::memory_order_relaxed);
            const std::uint64_t begin = platform::now_ns();
            asio::post(loop, [&runs] { runs.fetch_add(1, std::memory_order_release); });
            spin_until([&] { return runs.load(std::memory_order_acquire) != before; });
            samples.add(state, platform::now_ns() - begin);
            spin_for(polls ? 0 : kSettleNs);
        }
        samples.finish(state);
    }
}

}  // namespace

void add_asio(Report& report) {
    int poster = 0;
    int target = 0;
    if (!two_processors(poster, target)) {
        report.skipped("asio::post", "only one processor may be used");
        return;
    }
    benchmark::RegisterBenchmark("asio::post, loop polls", post_and_wait, true)->UseManualTime();
    report.row({"asio::post, loop polls", "cache-line ping-pong", 0, 0});
    benchmark::RegisterBenchmark("asio::post, loop blocks", post_and_wait, false)->UseManualTime();
    report.row({"asio::post, loop blocks", "eventfd write, in epoll", 0, 0});
}

#else

void add_asio(Report& report) { report.skipped("asio::post", "built without libasio-dev"); }

#endif

}  // namespace taskwork::bench
