// SPDX-License-Identifier: Apache-2.0
//
// uv_async_send to a thread that polls or blocks in its loop. Compiled where libuv is installed.
#include "deferral/machine.hpp"
#include "report.hpp"

#ifdef TASKWORK_BENCH_LIBUV
#include <uv.h>
#endif

namespace taskwork::bench {

#ifdef TASKWORK_BENCH_LIBUV

namespace {

struct Async {
    uv_async_t handle;
    alignas(64) std::atomic<std::uint64_t> runs{0};
};

void on_async(uv_async_t* handle) {
    static_cast<Async*>(handle->data)->runs.fetch_add(1, std::memory_order_release);
}

void send_and_wait(benchmark::State& state, bool polls) {
    const Poster poster;
    uv_loop_t loop;
    uv_loop_init(&loop);
    Async async;
    async.handle.data = &async;
    uv_async_init(&loop, &async.handle, on_async);
    {
        const Target target(
            [&](const std::atomic<bool>& stop) {
                while (!stop.load(std::memory_order_relaxed)) {
                    uv_run(&loop, polls ? UV_RUN_NOWAIT : UV_RUN_ONCE);
                }
            },
            [&] { uv_async_send(&async.handle); });
        spin_for(kSettleNs);
        Samples samples;
        for (auto _ : state) {
            const std::uint64_t before = async.runs.load(std::memory_order_relaxed);
            const std::uint64_t begin = platform::now_ns();
            uv_async_send(&async.handle);
            spin_until([&] { return async.runs.load(std::memory_order_acquire) != before; });
            samples.add(state, platform::now_ns() - begin);
            spin_for(polls ? 0 : kSettleNs);
        }
        samples.finish(state);
    }
    uv_close(reinterpret_cast<uv_handle_t*>(&async.handle), nullptr);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
}

}  // namespace

void add_libuv(Report& report) {
    int poster = 0;
    int target = 0;
    if (!two_processors(poster, target)) {
        report.skipped("uv_async_send", "only one processor may be used");
        return;
    }
    benchmark::RegisterBenchmark("uv_async_send, loop polls", send_and_wait, true)->UseManualTime();
    report.row({"uv_async_send, loop polls", "cache-line ping-pong", 0, 0});
    benchmark::RegisterBenchmark("uv_async_send, loop blocks", send_and_wait, false)
        ->UseManualTime();
    report.row({"uv_async_send, loop blocks", "eventfd write, in epoll", 0, 0});
}

#else

void add_libuv(Report& report) { report.skipped("uv_async_send", "built without libuv1-dev"); }

#endif

}  // namespace taskwork::bench
