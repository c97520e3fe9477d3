// SPDX-License-Identifier: Apache-2.0
//
// Drives the test objects of this folder through libbpf's public API and nothing else, so that the
// same driver serves the kernel (plain libbpf) and taskwork (libbpf answered in process).
//
//     CheckThread thread([](const check_input& facts) {       // a thread called CHECK_COMM
//         CheckObject object("check_maps");
//         object.set_input(facts);
//         ThreadEvent event;                                  // cpu-clock on this thread
//         object.attach("in_nmi", event);
//         object.compute_until([&] { return object.result().task_work_runs == 1; });
//         EXPECT_EQ(object.run("in_task"), 0);
//         object.expect_no_failure();
//     });
//
// Include it in one source of a test only: the functions whose stack is checked are in it.
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "check.h"

// Three functions whose code lies between the linker's start and stop symbols of their sections.
#define CHECK_CODE(name) __attribute__((noinline, used, section("check_" #name)))
extern "C" {
extern const char __start_check_inner[], __stop_check_inner[];
extern const char __start_check_middle[], __stop_check_middle[];
extern const char __start_check_outer[], __stop_check_outer[];
}

namespace taskwork::test {

CHECK_CODE(inner) static std::uint64_t check_inner(std::uint64_t seed) {
    // Compilers leave out the frame of a function that calls none, unless it asks for it.
    void* volatile frame = __builtin_frame_address(0);
    static_cast<void>(frame);
    for (int i = 0; i < 20000; ++i) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
    }
    return seed;
}

CHECK_CODE(middle) static std::uint64_t check_middle(std::uint64_t seed) {
    return check_inner(seed) + 1;
}

CHECK_CODE(outer) static std::uint64_t check_outer(std::uint64_t seed) {
    return check_middle(seed) + 1;
}

inline std::uint64_t clock_ns(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u +
           static_cast<std::uint64_t>(now.tv_nsec);
}

/// How long anything that is waited for may take; far beyond what it does take.
inline constexpr std::uint64_t kPatienceNs = 20'000'000'000u;

/// Waits, a millisecond at a time, until `done` or out of patience. Returns whether it was done.
inline bool wait_until(const std::function<bool()>& done) {
    std::uint64_t deadline = clock_ns(CLOCK_MONOTONIC) + kPatienceNs;
    while (!done()) {
        if (clock_ns(CLOCK_MONOTONIC) > deadline) {
            return false;
        }
        timespec pause{.tv_sec = 0, .tv_nsec = 1'000'000};
        nanosleep(&pause, nullptr);
    }
    return true;
}

/// The memory that check_input points to: known strings, an edge, a hole, fresh pages.
class CheckMemory {
public:
    CheckMemory() {
        page_ = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        // Where nothing else of this process will be put, so that the hole stays one.
        edge_page_ = map(2, 0x40000000);
        munmap(edge_page_ + page_, page_);
        std::memcpy(edge_page_ + page_ - 4, CHECK_EDGE, 4);
        fresh_ = map(CHECK_PAGES, 0);
    }
    ~CheckMemory() {
        munmap(edge_page_, page_);
        munmap(fresh_, CHECK_PAGES * page_);
    }
    CheckMemory(const CheckMemory&) = delete;
    CheckMemory& operator=(const CheckMemory&) = delete;

    void describe(check_input& input) const {
        static const char text[] = CHECK_STRING;
        input.string = reinterpret_cast<std::uintptr_t>(text);
        input.edge = reinterpret_cast<std::uintptr_t>(edge_page_ + page_ - 4);
        input.unmapped = reinterpret_cast<std::uintptr_t>(edge_page_ + page_);
        input.not_resident = reinterpret_cast<std::uintptr_t>(fresh_);
    }

private:
    char* map(std::size_t pages, std::uintptr_t where) const {
        void* hint = reinterpret_cast<void*>(where);
        void* at = mmap(hint, pages * page_, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | (where ? MAP_FIXED_NOREPLACE : 0), -1, 0);
        if (at == MAP_FAILED) {
            throw std::runtime_error(std::string("mmap: ") + std::strerror(errno));
        }
        return static_cast<char*>(at);
    }

    std::size_t page_ = 0;
    char* edge_page_ = nullptr;
    char* fresh_ = nullptr;
};

/// What is true of the calling thread.
inline check_input facts_of_this_thread(const CheckMemory& memory) {
    check_input input{};
    input.pid = getpid();
    input.tid = static_cast<std::int32_t>(syscall(SYS_gettid));
    input.parent = getppid();
    input.uid = getuid();
    input.gid = getgid();
    input.processors = static_cast<std::uint32_t>(sysconf(_SC_NPROCESSORS_CONF));
    input.before_ns = clock_ns(CLOCK_MONOTONIC);
    input.boot_before_ns = clock_ns(CLOCK_BOOTTIME);
    input.cookie = 0x1234'5678'9abc'def0;
    memory.describe(input);
    input.inner_start = reinterpret_cast<std::uintptr_t>(__start_check_inner);
    input.inner_end = reinterpret_cast<std::uintptr_t>(__stop_check_inner);
    input.middle_start = reinterpret_cast<std::uintptr_t>(__start_check_middle);
    input.middle_end = reinterpret_cast<std::uintptr_t>(__stop_check_middle);
    input.outer_start = reinterpret_cast<std::uintptr_t>(__start_check_outer);
    input.outer_end = reinterpret_cast<std::uintptr_t>(__stop_check_outer);
    return input;
}

/// Runs `body` on a thread that is called CHECK_COMM, so that its id is not the process's, and
/// waits.
class CheckThread {
public:
    explicit CheckThread(const std::function<void(const check_input&)>& body) {
        CheckMemory memory;
        std::thread([&] {
            pthread_setname_np(pthread_self(), CHECK_COMM);
            check_input facts = facts_of_this_thread(memory);
            facts.target_tid = facts.tid;
            try {
                body(facts);
            } catch (const std::exception& error) {
                ADD_FAILURE() << error.what();
            }
        }).join();
    }
};

/// cpu-clock events on a thread, in user mode only, delivered to nobody but an attached program.
class ThreadEvent {
public:
    /// `tid` 0: the calling thread. With `inherit`, also its later threads and children; `on_exec`
    /// starts it only then.
    explicit ThreadEvent(pid_t tid = 0, bool inherit = false, bool on_exec = false) {
        perf_event_attr attr{};
        attr.size = sizeof(attr);
        attr.type = PERF_TYPE_SOFTWARE;
        attr.config = PERF_COUNT_SW_CPU_CLOCK;
        attr.sample_period = 1'000'000;  // ns
        attr.exclude_kernel = 1;
        attr.exclude_hv = 1;
        attr.disabled = on_exec;
        attr.enable_on_exec = on_exec;
        attr.inherit = inherit;
        fd_ = static_cast<int>(
            syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC));
        if (fd_ < 0) {
            throw std::runtime_error(std::string("perf_event_open: ") + std::strerror(errno));
        }
    }
    ~ThreadEvent() {
        if (fd_ >= 0) {
            close(fd_);
        }
    }
    ThreadEvent(const ThreadEvent&) = delete;
    ThreadEvent& operator=(const ThreadEvent&) = delete;

    int fd() const { return fd_; }
    /// From now on libbpf closes it, with the link that it is attached by.
    void release() { fd_ = -1; }

private:
    int fd_ = -1;
};

/// A loaded object of the build's folder of BPF objects.
class CheckObject {
public:
    explicit CheckObject(const std::string& name) {
        log().clear();
        libbpf_set_print([](libbpf_print_level level, const char* format, va_list arguments) {
            char line[4096];
            int size = vsnprintf(line, sizeof(line), format, arguments);
            if (level != LIBBPF_DEBUG) {
                log() += line;
            }
            return size;
        });
        std::string path = std::string(TASKWORK_TEST_BPF_DIR) + "/" + name + ".bpf.o";
        object_ = bpf_object__open_file(path.c_str(), nullptr);
        if (!object_) {
            load_error_ = -errno;
            return;
        }
        load_error_ = bpf_object__load(object_);
    }
    ~CheckObject() {
        detach();
        bpf_object__close(object_);
    }
    CheckObject(const CheckObject&) = delete;
    CheckObject& operator=(const CheckObject&) = delete;

    /// 0, or a negative errno; what libbpf and the verifier said is in log().
    int load_error() const { return load_error_; }
    /// Of the latest object.
    static std::string& log() {
        static std::string text;
        return text;
    }

    int map_fd(const std::string& name) const {
        bpf_map* map = bpf_object__find_map_by_name(object_, name.c_str());
        if (!map) {
            throw std::runtime_error("no map " + name + "; " + log());
        }
        return bpf_map__fd(map);
    }

    template <typename T>
    T read(const std::string& map, std::uint32_t key = 0) const {
        T value{};
        if (bpf_map_lookup_elem(map_fd(map), &key, &value) != 0) {
            throw std::runtime_error("cannot read " + map);
        }
        return value;
    }

    check_result result() const { return read<check_result>(".data.result"); }

    void set_input(const check_input& input) const {
        std::uint32_t key = 0;
        if (bpf_map_update_elem(map_fd(".data.input"), &key, &input, BPF_ANY) != 0) {
            throw std::runtime_error("cannot write .data.input");
        }
    }

    int program_fd(const std::string& program) const { return bpf_program__fd(find(program)); }

    bool has(const std::string& program) const {
        return bpf_object__find_program_by_name(object_, program.c_str()) != nullptr;
    }

    void attach(const std::string& program, ThreadEvent& event, std::uint64_t cookie = 0) {
        bpf_perf_event_opts options{};
        options.sz = sizeof(options);
        options.bpf_cookie = cookie;
        bpf_link* link = bpf_program__attach_perf_event_opts(find(program), event.fd(), &options);
        if (!link) {
            throw std::runtime_error("cannot attach " + program + ": " + std::strerror(errno) +
                                     "; " + log());
        }
        event.release();
        links_.push_back(link);
    }
    void detach() {
        for (bpf_link* link : links_) {
            bpf_link__destroy(link);
        }
        links_.clear();
    }

    /// Runs a syscall program on this thread. Returns 0 or a negative errno.
    int run(const std::string& program) const {
        bpf_test_run_opts options{};
        options.sz = sizeof(options);
        int error = bpf_prog_test_run_opts(bpf_program__fd(find(program)), &options);
        return error ? -errno : 0;
    }

    /// Computes in outer(), middle() and inner() until `done` or out of patience.
    static bool compute_until(const std::function<bool()>& done) {
        std::uint64_t deadline = clock_ns(CLOCK_MONOTONIC) + kPatienceNs;
        volatile std::uint64_t sink = 1;
        while (!done()) {
            if (clock_ns(CLOCK_MONOTONIC) > deadline) {
                return false;
            }
            for (int i = 0; i < 10; ++i) {
                sink = check_outer(sink);
            }
        }
        return true;
    }

    void expect_no_failure() const {
        check_result now = result();
        EXPECT_GT(now.checks, 0u);
        EXPECT_EQ(now.failures, 0u) << "first: line " << now.failed_line << " in "
                                    << (now.failed_context == CHECK_TASK        ? "task"
                                        : now.failed_context == CHECK_NMI       ? "nmi"
                                        : now.failed_context == CHECK_TASK_WORK ? "task_work"
                                                                                : "?")
                                    << ": got " << now.got << ", wanted " << now.wanted;
    }

private:
    bpf_program* find(const std::string& name) const {
        bpf_program* program = bpf_object__find_program_by_name(object_, name.c_str());
        if (!program) {
            throw std::runtime_error("no program " + name);
        }
        return program;
    }

    bpf_object* object_ = nullptr;
    std::vector<bpf_link*> links_;
    int load_error_ = 0;
};

}  // namespace taskwork::test
