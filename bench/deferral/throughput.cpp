// SPDX-License-Identifier: Apache-2.0
//
// 1 to 8 schedulers onto one target that looks at safe points, against as many threads that
// compare-exchange one word. ns an item that has run; 22.2 are 45 million a second.
#include <vector>

#include "deferral/machine.hpp"
#include "report.hpp"

namespace taskwork::bench {

namespace {

/// Works of each scheduler: it goes round them, and passes by those that are still on their way.
/// With eight schedulers half of the domain's contexts.
constexpr unsigned kWorks = 1024;
constexpr unsigned kSchedulersMax = 8;
/// Items of one sample, of all threads together.
constexpr std::uint64_t kItems = 1U << 15;

Job* all_jobs() {
    static Job* const jobs = new Job[kWorks * kSchedulersMax];
    return jobs;
}

/// Lets `count` threads begin at once and go on until told, and counts what they say they did.
class Crowd {
public:
    template <class Step>
    Crowd(unsigned count, bool as_tasks, Step step) {
        for (unsigned index = 0; index < count; ++index) {
            threads_.emplace_back([this, index, as_tasks, step] {
                if (as_tasks) {
                    stay_off_target();
                    [[maybe_unused]] const std::errc error = register_this_thread();
                }
                while (!stop_.load(std::memory_order_relaxed)) {
                    step(index, stop_);
                }
            });
        }
    }
    ~Crowd() {
        stop_.store(true);
        for (auto& thread : threads_) {
            thread.join();
        }
    }
    Crowd(const Crowd&) = delete;
    Crowd& operator=(const Crowd&) = delete;

private:
    std::atomic<bool> stop_{false};
    std::vector<std::thread> threads_;
};

/// Time of kItems more of what `done` counts, by a thread that looks seldom.
template <class Done>
void sample(benchmark::State& state, Samples& samples, Done done) {
    for (auto _ : state) {
        const std::uint64_t from = done();
        const std::uint64_t begin = platform::now_ns();
        std::uint64_t now = from;
        while (now - from < kItems) {
            std::this_thread::sleep_for(std::chrono::microseconds(500));
            now = done();
        }
        samples.add(state, platform::now_ns() - begin, now - from);
    }
}

void onto_one_target(benchmark::State& state, unsigned schedulers, std::uint64_t look_every_ns) {
    Job* const jobs = all_jobs();
    Samples samples;
    {
        const Target target([&](const std::atomic<bool>& stop) {
            while (!stop.load(std::memory_order_relaxed)) {
                safe_point();
                spin_for(look_every_ns);
            }
        });
        const auto total = [&] {
            std::uint64_t sum = 0;
            for (unsigned index = 0; index < kWorks * schedulers; ++index) {
                sum += jobs[index].runs.count.load(std::memory_order_relaxed);
            }
            return sum;
        };
        const Crowd crowd(schedulers, true, [&](unsigned index, const std::atomic<bool>&) {
            for (unsigned work = 0; work < kWorks; ++work) {
                // Refused while on its way; that is why it is counted where it runs.
                [[maybe_unused]] const std::errc error =
                    jobs[index * kWorks + work].schedule_safe_point(target.task(), Mode::resume);
            }
        });
        sample(state, samples, total);
    }
    samples.finish(state);
}

void contended_exchange(benchmark::State& state, unsigned threads) {
    alignas(64) static std::atomic<std::uint64_t> word;
    Samples samples;
    {
        const Crowd crowd(threads, false, [](unsigned, const std::atomic<bool>&) {
            std::uint64_t seen = word.load(std::memory_order_relaxed);
            for (unsigned turn = 0; turn < kWorks; ++turn) {
                while (!word.compare_exchange_strong(seen, seen + 1, std::memory_order_acq_rel)) {
                }
            }
        });
        sample(state, samples, [] { return word.load(std::memory_order_relaxed); });
    }
    samples.finish(state);
}

}  // namespace

void add_throughput(Report& report) {
    report.heading("throughput: ns an item, 45 million items a second are 22.2");
    for (const unsigned count : {1U, 2U, 4U, 8U}) {
        const std::string floor = std::to_string(count) + " threads, compare-exchange of one word";
        benchmark::RegisterBenchmark(floor.c_str(), contended_exchange, count)->UseManualTime();
        // Always looking, it takes the works one by one; else in batches.
        for (const std::uint64_t look_every_us : {0U, 20U}) {
            const std::string subject =
                std::to_string(count) + " schedulers, the target looks " +
                (look_every_us == 0 ? "always" : "every " + std::to_string(look_every_us) + " us");
            benchmark::RegisterBenchmark(subject.c_str(), onto_one_target, count,
                                         look_every_us * 1000)
                ->UseManualTime();
            report.row({subject, floor, 0, 1e9 / 45e6});
        }
    }
}

}  // namespace taskwork::bench
