// SPDX-License-Identifier: Apache-2.0
//
// What both processes do, by libbpf only: what answers bpf(2) is the linker's choice. Reads a row
// and a number of threads, a line each; answers with ns an operation, or 0 and what went wrong.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "execution/rows.hpp"
#include "execution/side.hpp"
#include "sync/platform.hpp"

namespace taskwork::bench {

namespace {

constexpr unsigned kKeys = 256;  ///< KEYS of bodies.h.
constexpr unsigned kThreadsMax = 4;
constexpr unsigned kFrames = 16;  ///< At least, below an event: as stack_walks expects.

class Server {
public:
    Server(const Answerer& answerer, bool is_short)
        : answerer_(answerer), runs_(is_short ? 2 : 61) {}
    ~Server() {
        ring_buffer__free(ring_);
        bpf_object__close(object_);
    }
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    std::string load() {
        libbpf_set_print(nullptr);
        if (std::string why = answerer_.start(); !why.empty()) {
            return why;
        }
        object_ = bpf_object__open_file(TASKWORK_BENCH_OBJECT, nullptr);
        if (object_ == nullptr) {
            return "cannot open " TASKWORK_BENCH_OBJECT;
        }
        answerer_.prepare(object_);
        if (bpf_object__load(object_) != 0) {
            return "cannot load " TASKWORK_BENCH_OBJECT;
        }
        for (std::uint32_t key = 0; key < kKeys; ++key) {
            const std::uint64_t value = key;
            bpf_map_update_elem(map("array"), &key, &value, BPF_ANY);
        }
        for (std::uint64_t key = 0; key < std::uint64_t{kThreadsMax} * 4 * kKeys; ++key) {
            if (key % (std::uint64_t{4} * kKeys) < kKeys) {
                bpf_map_update_elem(map("hash"), &key, &key, BPF_ANY);
                bpf_map_update_elem(map("lru"), &key, &key, BPF_ANY);
            }
        }
        char text[64] = {};
        std::memset(text, 'x', 40);
        std::uint32_t index = 0;
        bpf_map_update_elem(map("strings"), &index, text, BPF_ANY);
        const int called = program("called");
        bpf_map_update_elem(map("programs"), &index, &called, BPF_ANY);
        ring_ = ring_buffer__new(
            map("ring"), [](void*, void*, std::size_t) { return 0; }, nullptr, nullptr);
        return ring_ == nullptr ? "no consumer of the ring" : "";
    }

    double measure(const Subject& row, unsigned threads, std::string& error) {
        if (row.program == kEmpty) {
            return answerer_.measure_empty(runs_ * 100);
        }
        if (row.program == kLoad) {
            return measure_load(error);
        }
        if (row.is_of_event) {
            return measure_event(row, error);
        }
        std::vector<std::thread> crew;
        std::atomic<unsigned> waiting{threads};
        std::mutex mutex;
        std::vector<double> all;
        for (unsigned thread = 0; thread < threads; ++thread) {
            crew.emplace_back([&, thread] {
                waiting.fetch_sub(1);
                while (waiting.load() != 0) {
                    std::this_thread::yield();
                }
                std::vector<double> own;
                std::string failed;
                for (unsigned i = 0; i < runs_ && failed.empty(); ++i) {
                    own.push_back(run(row, thread, failed));
                }
                const std::scoped_lock guard(mutex);
                all.insert(all.end(), own.begin(), own.end());
                error += failed;
            });
        }
        for (std::thread& thread : crew) {
            thread.join();
        }
        return median(all);
    }

private:
    [[nodiscard]] int program(const char* name) const {
        return bpf_program__fd(bpf_object__find_program_by_name(object_, name));
    }
    [[nodiscard]] int map(const char* name) const {
        return bpf_object__find_map_fd_by_name(object_, name);
    }
    static double median(std::vector<double>& values) {
        std::nth_element(values.begin(),
                         values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2),
                         values.end());
        return values[values.size() / 2];
    }
    static int run_once(int program, Run& run) {
        LIBBPF_OPTS(bpf_test_run_opts, options);
        options.ctx_in = &run;
        options.ctx_size_in = sizeof run;
        return bpf_prog_test_run_opts(program, &options);
    }
    double run(const Subject& row, unsigned thread, std::string& error) {
        Run result{.thread = thread};
        if (row.before != nullptr) {
            run_once(program(row.before), result);
        }
        answerer_.settle();
        ring_buffer__consume(ring_);
        result = {.thread = thread};
        if (const int failed = run_once(program(row.program), result); failed != 0) {
            error = "run: " + std::to_string(failed) + " ";
        } else if (result.done != row.operations) {
            error =
                std::to_string(result.done) + " of " + std::to_string(row.operations) + " done ";
        }
        return static_cast<double>(result.ns) / row.operations;
    }
    /// Below as many frames as the stack walks need.
    [[gnu::noinline]] int run_event(int program, unsigned depth) const {
        const int result =
            depth == 0 ? answerer_.run_event(program) : run_event(program, depth - 1);
        // No call is the last thing that is done: it would leave no frame.
        asm volatile("");
        return result;
    }
    double measure_event(const Subject& row, std::string& error) {
        struct {
            std::uint64_t began;
            std::uint64_t ns;
            std::uint64_t failed;
        } times{};
        std::vector<double> all;
        for (unsigned i = 0; i < runs_; ++i) {
            const std::uint32_t key = 0;
            bpf_map_update_elem(map("times"), &key, &times, BPF_ANY);
            if (run_event(program(row.program), kFrames) != 0 ||
                bpf_map_lookup_elem(map("times"), &key, &times) != 0 || times.ns == 0 ||
                times.failed != 0) {
                error = "not done ";
                return 0;
            }
            all.push_back(static_cast<double>(times.ns) / row.operations);
            times = {};
        }
        return median(all);
    }
    double measure_load(std::string& error) {
        std::vector<double> all;
        for (unsigned i = 0; i < runs_; ++i) {
            const std::uint64_t start = platform::now_ns();
            bpf_object* const small = bpf_object__open_file(TASKWORK_BENCH_SMALL_OBJECT, nullptr);
            if (small == nullptr || bpf_object__load(small) != 0) {
                error = "cannot load " TASKWORK_BENCH_SMALL_OBJECT;
            }
            all.push_back(static_cast<double>(platform::now_ns() - start));
            bpf_object__close(small);
            answerer_.settle();
        }
        return median(all);
    }

    const Answerer& answerer_;
    const unsigned runs_;
    bpf_object* object_ = nullptr;
    ring_buffer* ring_ = nullptr;
};

}  // namespace

int serve(int argc, char** argv, const Answerer& answerer) {
    Server server(answerer, argc > 1 && std::strcmp(argv[1], "short") == 0);
    const std::string why_not = server.load();
    std::printf("%s\n", why_not.c_str());
    std::fflush(stdout);
    std::size_t row = 0;
    unsigned threads = 0;
    while (why_not.empty() && std::scanf("%zu %u", &row, &threads) == 2 &&
           row < std::size(kSubjects)) {
        std::string error;
        const double ns = server.measure(kSubjects[row], threads, error);
        std::printf("%.3f %s\n", ns, error.c_str());
        std::fflush(stdout);
    }
    return 0;
}

}  // namespace taskwork::bench
