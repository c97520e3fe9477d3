// SPDX-License-Identifier: Apache-2.0
//
// Waking a libuv loop through the event descriptor. uv_async_send can be called from anywhere too,
// but carries nothing and coalesces: here each of several threads has its own work with its own
// payload, in a fixed order, and may take it back.
#include <uv.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include <taskwork/taskwork.hpp>

namespace {

constexpr int kThreads = 4;
constexpr int kMessages = 500;

/// What the loop owns; touched at its safe points only.
struct Sums {
    uv_loop_t* loop;
    int received[kThreads] = {};
    long sum[kThreads] = {};
    int total = 0;
};
Sums sums{};

void receive(int from, int value) {
    sums.received[from] += 1;
    sums.sum[from] += value;
    if (++sums.total == kThreads * kMessages) {
        ::uv_stop(sums.loop);
    }
}

void send_all(const taskwork::Task& loop_thread, int index) {
    taskwork::register_this_thread();
    taskwork::Work work;
    for (int value = 1; value <= kMessages; ++value) {
        const auto message =
            taskwork::at_safe_point([index, value]() noexcept { receive(index, value); });
        // One message at a time from each thread; busy: the loop has not received the last one.
        while (schedule(work, loop_thread, message, taskwork::Mode::resume) ==
               std::errc::device_or_resource_busy) {
            std::this_thread::yield();
        }
    }
    while (work.state() != taskwork::Work::State::idle) {
        std::this_thread::yield();  // Destroying the work would cancel the last one.
    }
}

}  // namespace

int main() {
    const taskwork::Task me = taskwork::this_task();
    int descriptor = -1;
    if (taskwork::event_descriptor(descriptor) != std::errc{}) {
        return EXIT_FAILURE;
    }
    uv_loop_t* loop = ::uv_default_loop();
    sums.loop = loop;
    uv_poll_t poll;
    ::uv_poll_init(loop, &poll, descriptor);
    ::uv_poll_start(&poll, UV_READABLE, [](uv_poll_t*, int, int) { taskwork::safe_point(); });

    std::vector<std::thread> threads;
    for (int index = 0; index < kThreads; ++index) {
        threads.emplace_back([&me, index] { send_all(me, index); });
    }
    ::uv_run(loop, UV_RUN_DEFAULT);
    for (std::thread& thread : threads) {
        thread.join();
    }
    ::uv_poll_stop(&poll);

    bool right = true;
    for (int index = 0; index < kThreads; ++index) {
        std::printf("thread %d: %d messages, sum %ld\n", index, sums.received[index],
                    sums.sum[index]);
        right = right && sums.received[index] == kMessages &&
                sums.sum[index] == static_cast<long>(kMessages) * (kMessages + 1) / 2;
    }
    return right ? EXIT_SUCCESS : EXIT_FAILURE;
}
