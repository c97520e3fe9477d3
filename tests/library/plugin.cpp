// SPDX-License-Identifier: Apache-2.0
//
// A plug-in that uses the library: what it schedules is its own code.
#include <atomic>

#include <taskwork/taskwork.hpp>

namespace {

constinit taskwork::Work work;
std::atomic<int> runs{0};

}  // namespace

/// 0, or the error.
extern "C" int plugin_register() { return static_cast<int>(taskwork::register_this_thread()); }

/// Has its callback called by the calling thread, at its next safe point or at its end.
extern "C" int plugin_schedule(int* ran) {
    return static_cast<int>(
        schedule(work, taskwork::current_task(), taskwork::at_safe_point([ran]() noexcept {
                     ++runs;
                     *ran += 1;
                 })));
}

extern "C" void plugin_safe_point() { taskwork::safe_point(); }

/// `count` rounds onto another thread; how many ran.
extern "C" int plugin_rounds(int thread_id, int count) {
    const taskwork::Task target = taskwork::find_task(thread_id);
    const int before = runs;
    for (int round = 0; round < count; ++round) {
        if (schedule(work, target, taskwork::anywhere([]() noexcept { ++runs; })) != std::errc{}) {
            return -1;
        }
        while (work.state() != taskwork::Work::State::idle) {
        }
    }
    return runs - before;
}
