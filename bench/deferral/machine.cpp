// SPDX-License-Identifier: Apache-2.0
#include "deferral/machine.hpp"

#include <pthread.h>
#include <sched.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace taskwork::bench {

namespace {

void need(bool done, const char* what) {
    if (!done) {
        std::fprintf(stderr, "deferral_bench: %s failed\n", what);
        std::exit(1);
    }
}

}  // namespace

void start_domain() {
    Options options;
    options.works = 16384;
    options.threads = 64;
    need(init(options) == std::errc{}, "the domain");
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
        need(register_this_thread() == std::errc{}, "registering a thread");
        task_ = this_task();
        ready_.store(true);
        body(stop_);
    });
    while (!ready_.load()) {
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

}  // namespace taskwork::bench
