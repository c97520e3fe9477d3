// SPDX-License-Identifier: Apache-2.0
#include "deferral/machine.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "event/event.hpp"
#include "sync/arena.hpp"
#include "task/run_point.hpp"
#include "task/worker.hpp"

namespace taskwork::bench {

namespace {

void need(bool done, const char* what) {
    if (!done) {
        std::fprintf(stderr, "deferral_bench: %s failed\n", what);
        std::exit(1);
    }
}

void run_callback(task::Task&, const defer::Callback& callback) noexcept {
    auto& runs = static_cast<Value*>(callback.value)->runs;
    runs.store(runs.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

}  // namespace

void start_domain() {
    need(sync::Arena::create(std::size_t{256} << 20).has_value(), "the arena");
    need(task::Worker::start(64).has_value(), "the worker");
    need(defer::WorkTable::create(defer::WorkTable::kContextsDefault) == no_error, "the works");
    need(event::EventTable::create() == no_error, "the events");
    event::EventTable::get().include_host.store(1, std::memory_order_relaxed);
    event::join();
    task::LifeHooks hooks;
    hooks.task_exited = event::close_for;
    hooks.kick = event::kick;
    task::Worker::set_life_hooks(hooks);
    need(task::install_handler() == no_error, "the handler");
    defer::set_callback_runner(defer::kCallbackTest, run_callback);
}

Value* new_values(unsigned count) {
    void* memory = sync::Arena::allocate(sizeof(Value) * count, 64);
    need(memory != nullptr, "memory for values");
    auto* values = static_cast<Value*>(memory);
    for (unsigned index = 0; index < count; ++index) {
        new (&values[index]) Value;
    }
    return values;
}

defer::ScheduleRequest request_for(Value& value, task::Task* target, task::Notify mode) {
    defer::ScheduleRequest request;
    request.target = target;
    request.mode = mode;
    request.callback = {defer::kCallbackTest, 0, nullptr, nullptr, &value};
    return request;
}

bool two_processors(int& poster, int& target) {
    static const std::vector<int> usable = [] {
        std::vector<int> found;
        cpu_set_t all;
        if (sched_getaffinity(0, sizeof(all), &all) == 0) {
            for (int cpu = 0; cpu < CPU_SETSIZE && found.size() < 2; ++cpu) {
                if (CPU_ISSET(cpu, &all)) {
                    found.push_back(cpu);
                }
            }
        }
        return found;
    }();
    if (usable.size() < 2) {
        return false;
    }
    poster = usable[0];
    target = usable[1];
    return true;
}

void pin_to(int processor) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
}

void stay_off_target() {
    int poster = 0;
    int target = 0;
    cpu_set_t all;
    if (two_processors(poster, target) &&
        pthread_getaffinity_np(pthread_self(), sizeof(all), &all) == 0) {
        CPU_CLR(target, &all);
        pthread_setaffinity_np(pthread_self(), sizeof(all), &all);
    }
}

Poster::Poster() {
    pthread_getaffinity_np(pthread_self(), sizeof(before_), &before_);
    int poster = 0;
    int target = 0;
    if (two_processors(poster, target)) {
        pin_to(poster);
    }
}

Poster::~Poster() { pthread_setaffinity_np(pthread_self(), sizeof(before_), &before_); }

Target::Target(std::function<void(const std::atomic<bool>&)> body, std::function<void()> wake)
    : wake_(std::move(wake)) {
    thread_ = std::thread([this, body = std::move(body)] {
        int poster = 0;
        int target = 0;
        if (two_processors(poster, target)) {
            pin_to(target);
        }
        need(task::register_current(0, 0) == no_error, "registering a thread");
        task_.store(task::current());
        body(stop_);
        task::exit_current();
    });
    while (task_.load() == nullptr) {
        std::this_thread::yield();
    }
}

Target::~Target() {
    stop_.store(true);
    if (wake_) {
        wake_();
    }
    thread_.join();
}

void Samples::finish(benchmark::State& state) {
    if (each_.empty()) {
        return;
    }
    std::sort(each_.begin(), each_.end());
    state.counters[kMedian] = each_[each_.size() / 2];
    state.counters["p99_ns"] = each_[each_.size() * 99 / 100];
}

}  // namespace taskwork::bench
