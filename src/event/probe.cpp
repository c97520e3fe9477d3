// SPDX-License-Identifier: Apache-2.0
//
// What the machine allows: perf events or the CPU timer, cycles or the clock.
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

#include "event/event.hpp"
#include "event/perf.hpp"
#include "sync/arena.hpp"

namespace taskwork::event {

namespace {

/// Runs an event on the calling thread for up to a few milliseconds. 0: it counts; else the errno
/// that it was refused with, or ENODATA if it is granted and never counts (some sandboxes).
int try_perf(const EventAttributes& attributes) noexcept {
    const int descriptor = open_perf(attributes, platform::thread_id());
    if (descriptor < 0) {
        return -descriptor;
    }
    int error = -start_perf(descriptor);
    if (error == 0) {
        const std::uint64_t deadline = platform::now_ns() + 5'000'000;
        while (read_perf(descriptor) == 0) {
            if (platform::now_ns() > deadline) {
                error = ENODATA;
                break;
            }
        }
    }
    ::close(descriptor);
    return error;
}

std::string paranoid_level() {
    std::ifstream file("/proc/sys/kernel/perf_event_paranoid");
    std::string level;
    if (std::getline(file, level)) {
        return "kernel.perf_event_paranoid is " + level + "; ";
    }
    return "";
}

std::string rate_of(const EventAttributes& attributes) {
    return attributes.frequency != 0
               ? std::to_string(attributes.frequency)
               : std::to_string(1'000'000'000U / (attributes.period == 0 ? 1 : attributes.period));
}

/// Lowers the rate to what so many programs can have of one counter, and says so.
void limit_rate(EventAttributes& wanted, unsigned programs, std::string& text) {
    const bool is_rate = wanted.frequency != 0;
    if (programs == 0 || (!is_rate && wanted.source == Source::cpu_cycles)) {
        return;  // how fast cycles pass is not known
    }
    const std::uint64_t limit = overflow_rate_max();
    const std::string asked = rate_of(wanted);
    if (is_rate && wanted.frequency > limit / programs) {
        wanted.frequency = std::max<std::uint64_t>(1, limit / programs);
    } else if (!is_rate && wanted.period < programs * (1'000'000'000U / limit)) {
        wanted.period = programs * (1'000'000'000U / limit);
    } else {
        return;
    }
    text += text.empty() ? "" : "; ";
    text += std::to_string(programs) + (programs == 1 ? " program" : " programs") + " at " + asked +
            " events a second: the kernel gives a thread " + std::to_string(limit) +
            " in all, so each program reaches " + rate_of(wanted) + " at most";
}

}  // namespace

std::uint64_t tick_frequency() noexcept {
    timespec tick{};
    // The coarse clocks advance at each tick.
    if (::clock_getres(CLOCK_MONOTONIC_COARSE, &tick) != 0 || tick.tv_sec != 0 ||
        tick.tv_nsec <= 0) {
        return 100;
    }
    return 1'000'000'000U / static_cast<std::uint64_t>(tick.tv_nsec);
}

Delivery probe(EventAttributes& wanted, unsigned programs, std::string* note) {
    std::string text;
    EventAttributes clock = wanted;
    clock.source = Source::cpu_clock;
    // A long period says nothing about the right to have one.
    EventAttributes any_clock;
    any_clock.period = 1'000'000;

    Delivery delivery = Delivery::perf;
    const int clock_error = try_perf(any_clock);
    if (clock_error != 0) {
        delivery = Delivery::cpu_timer;
        const std::uint64_t reached = tick_frequency();
        text = "perf events are not to be had (" + paranoid_level() +
               "perf_event_open: " + std::strerror(clock_error) +
               "): a CPU timer of each thread stands in";
        const bool too_fast = clock.frequency > reached ||
                              (clock.period != 0 && clock.period < 1'000'000'000U / reached);
        if (too_fast) {
            text += ", which reaches " + std::to_string(reached) +
                    " events a second of CPU time; " + rate_of(clock) + " were asked for";
            clock.period = 0;
            clock.frequency = reached;
        }
        if (wanted.source == Source::cpu_cycles) {
            text += "; it counts CPU time, not cycles";
        }
        wanted = clock;
    } else if (wanted.source == Source::cpu_cycles) {
        EventAttributes any_cycles;
        any_cycles.source = Source::cpu_cycles;
        any_cycles.period = 1'000'000;
        const int cycles_error = try_perf(any_cycles);
        if (cycles_error != 0) {
            text = std::string("cpu-cycles: no hardware counter here (") +
                   std::strerror(cycles_error) + "), the CPU clock stands in";
            if (wanted.period != 0) {
                text +=
                    ", its period of " + std::to_string(wanted.period) + " taken as nanoseconds";
            }
            wanted = clock;
        }
    }

    if (delivery == Delivery::perf) {
        limit_rate(wanted, programs, text);
    }

    if (sync::Arena::present() &&
        sync::Arena::header().roots[static_cast<unsigned>(sync::Root::events)] != nullptr) {
        EventTable::get().delivery.store(delivery, std::memory_order_relaxed);
    }
    if (note != nullptr) {
        *note = text;
    }
    return delivery;
}

}  // namespace taskwork::event
