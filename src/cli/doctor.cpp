// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor.hpp"

#include <bpf/btf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

#include "agent/launch.hpp"
#include "base/raw_system_call.hpp"
#include "bpf/jit/code_region.hpp"
#include "bpf/jit/code_segment.hpp"
#include "bpf/jit/switches.hpp"
#include "cli/options.hpp"
#include "event/event.hpp"
#include "event/perf.hpp"
#include "sync/arena.hpp"
#include "sync/platform.hpp"
#include "sync/signal.hpp"

namespace taskwork::cli {

namespace {

enum class Verdict {
    works,
    missing,  ///< `run` does without, or stands something in.
    fatal,    ///< `run` will not work.
};

struct Finding {
    Verdict verdict;
    std::string text;
    std::string remedy = {};  ///< Empty: there is nothing to do.
};

std::string setting(const char* path) {
    std::ifstream file(path);
    std::string value;
    std::getline(file, value);
    return value.empty() ? "unknown" : value;
}

// ---- Events -------------------------------------------------------------------------------------

volatile std::sig_atomic_t events_seen;

void count_event(int) { events_seen = events_seen + 1; }

/// Events a second of CPU time that arrive at the calling thread, measured for about 200 ms of it;
/// negative: errno.
long measure_rate(std::uint64_t frequency) {
    event::EventAttributes attributes;
    attributes.frequency = frequency;
    const int fd = event::open_perf(attributes, platform::thread_id());
    if (fd < 0) {
        return fd;
    }
    struct sigaction ours{};
    struct sigaction before{};
    ours.sa_handler = count_event;
    ours.sa_flags = SA_RESTART;
    ::sigaction(sync::kSignal, &ours, &before);
    const auto cpu_ns = [] {
        timespec now{};
        ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
               static_cast<std::uint64_t>(now.tv_nsec);
    };
    events_seen = 0;
    const std::uint64_t start = cpu_ns();
    const std::uint64_t deadline = platform::now_ns() + 3'000'000'000;
    event::start_perf(fd);
    std::uint64_t used = 0;
    while (used < 200'000'000 && platform::now_ns() < deadline) {
        for (int i = 0; i < 100'000; ++i) {  // in user mode: that is what is sampled
            asm volatile("");
        }
        used = cpu_ns() - start;
    }
    ::close(fd);
    const long seen = events_seen;
    ::sigaction(sync::kSignal, &before, nullptr);
    return used == 0 ? 0
                     : static_cast<long>(static_cast<std::uint64_t>(seen) * 1'000'000'000 / used);
}

Finding check_perf() {
    const std::string level = setting("/proc/sys/kernel/perf_event_paranoid");
    const long rate = measure_rate(kFrequencyDefault);
    if (rate > 0) {
        return {Verdict::works, fmt::format("{} Hz asked, {} events a second of CPU time arrived "
                                            "(kernel.perf_event_paranoid {})",
                                            kFrequencyDefault, rate, level)};
    }
    return {Verdict::missing,
            fmt::format("{} (kernel.perf_event_paranoid {}); CPU timers stand in, up to {} Hz, and "
                        "resume mode's kick interrupts system calls",
                        rate == 0 ? "events are granted and do not arrive"
                                  : std::strerror(static_cast<int>(-rate)),
                        level, event::tick_frequency()),
            "sysctl kernel.perf_event_paranoid=2; in a container, allow perf_event_open in its "
            "seccomp profile or give it CAP_PERFMON"};
}

Finding check_cycles() {
    event::EventAttributes attributes;
    attributes.source = event::Source::cpu_cycles;
    attributes.period = 1'000'000;
    const int fd = event::open_perf(attributes, platform::thread_id());
    if (fd < 0) {
        return {
            Verdict::missing,
            fmt::format("{}; --event cpu-cycles falls back to the CPU clock", std::strerror(-fd)),
            "on a virtual machine, have its hypervisor pass the counters on"};
    }
    event::start_perf(fd);
    const std::uint64_t deadline = platform::now_ns() + 5'000'000;
    while (event::read_perf(fd) == 0 && platform::now_ns() < deadline) {
    }
    const bool counts = event::read_perf(fd) != 0;
    ::close(fd);
    return counts ? Finding{Verdict::works, "counted by the hardware"}
                  : Finding{Verdict::missing,
                            "granted, and never counts; --event cpu-cycles falls back to the CPU "
                            "clock"};
}

// ---- Memory -------------------------------------------------------------------------------------

Finding check_executable_memfd() {
    const int fd = ::memfd_create("taskwork-doctor", MFD_CLOEXEC);
    if (fd < 0) {
        return {Verdict::fatal, fmt::format("memfd_create: {}", std::strerror(errno)),
                "sysctl vm.memfd_noexec=1 or 0; allow memfd_create in the seccomp profile"};
    }
    const long page = ::sysconf(_SC_PAGESIZE);
    void* memory = MAP_FAILED;
    if (::ftruncate(fd, page) == 0) {
        memory = ::mmap(nullptr, static_cast<std::size_t>(page), PROT_READ | PROT_EXEC, MAP_SHARED,
                        fd, 0);
    }
    const int error = errno;
    if (memory != MAP_FAILED) {
        ::munmap(memory, static_cast<std::size_t>(page));
    }
    ::close(fd);
    if (memory == MAP_FAILED) {
        return {
            Verdict::missing,
            fmt::format("{} (vm.memfd_noexec {}); programs are interpreted, some ten times slower",
                        std::strerror(error), setting("/proc/sys/vm/memfd_noexec")),
            "sysctl vm.memfd_noexec=0; allow executable mappings (SELinux, seccomp)"};
    }
    if (const char* reason = bpf::jit::CodeRegion::why_unwanted(); reason != nullptr) {
        return {Verdict::missing,
                fmt::format("can be mapped, but {}: programs are interpreted", reason),
                bpf::jit::is_on(bpf::jit::Switch::jit) ? "" : "unset TASKWORK_JIT"};
    }
    // It stands behind the arena, in the same file.
    constexpr rlim_t file_bytes = sync::kArenaSizeDefault + bpf::jit::CodeRegion::kBytes;
    rlimit limit{};
    if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < file_bytes) {
        return {Verdict::missing,
                fmt::format("can be mapped, but files may have {} MiB only, and the arena with "
                            "code has {}: programs are interpreted",
                            limit.rlim_cur >> 20, file_bytes >> 20),
                "raise the limit of files' sizes (ulimit -f unlimited)"};
    }
    return {Verdict::works, "can be mapped; programs run as native code"};
}

Finding check_names() {
    if (check_executable_memfd().verdict != Verdict::works) {
        return {Verdict::missing, "programs are interpreted: there is no native code to name", ""};
    }
    const std::errc error = bpf::jit::CodeSegment::probe();
    if (error == no_error) {
        return {Verdict::works, "native code has names for perf, with TASKWORK_PERF_MAP=1"};
    }
    return {Verdict::missing,
            fmt::format("System V segment: {}; with TASKWORK_PERF_MAP=1, too, native code has none",
                        std::make_error_code(error).message()),
            fmt::format("allow segments of {} MiB (kernel.shmmax, shmall, shmmni; shmget in the "
                        "seccomp profile)",
                        bpf::jit::CodeRegion::kBytes >> 20)};
}

Finding check_environment() {
    if (const Result<void> checked = bpf::jit::check_switches(); !checked) {
        return {Verdict::fatal, checked.error().text};
    }
    return {Verdict::works, "each switch in it has a word that it knows"};
}

Finding check_arena() {
    void* const wanted = reinterpret_cast<void*>(sync::kArenaBase);
    void* memory = ::mmap(wanted, sync::kArenaSizeDefault, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (memory == wanted) {
        ::munmap(memory, sync::kArenaSizeDefault);
        return {Verdict::works, fmt::format("0x{:x} is free, {} MiB of address space can be had",
                                            sync::kArenaBase, sync::kArenaSizeDefault >> 20)};
    }
    const int error = errno;
    if (memory != MAP_FAILED) {  // before Linux 4.17 the flag is a hint
        ::munmap(memory, sync::kArenaSizeDefault);
    }
    rlimit limit{};
    ::getrlimit(RLIMIT_AS, &limit);
    const std::string text = fmt::format("0x{:x}, {} MiB: {}", sync::kArenaBase,
                                         sync::kArenaSizeDefault >> 20, std::strerror(error));
    if (limit.rlim_cur != RLIM_INFINITY) {
        return {Verdict::fatal, text, "raise the limit of address space (ulimit -v unlimited)"};
    }
    return {Verdict::fatal, text, "see in /proc/PID/maps who is there; a preloaded library?"};
}

Finding check_membarrier() {
    if (platform::membarrier_register() && platform::membarrier_all()) {
        return {Verdict::works, "GLOBAL_EXPEDITED"};
    }
    return {Verdict::missing, "GLOBAL_EXPEDITED is refused; readers fence by themselves, slower",
            "Linux 4.16 or later; allow membarrier in the seccomp profile"};
}

Finding check_user_memory() {
    std::uint64_t from = 0x7461736b776f726b;
    std::uint64_t to = 0;
    const iovec local{&to, sizeof to};
    const iovec remote{&from, sizeof from};
    if (::process_vm_readv(::getpid(), &local, 1, &remote, 1, 0) ==
            static_cast<ssize_t>(sizeof to) &&
        to == from) {
        return {Verdict::works, "reads memory of the own process"};
    }
    return {Verdict::missing,
            fmt::format("{}; callbacks recover from faults instead", std::strerror(errno)),
            "allow process_vm_readv in the seccomp profile"};
}

// ---- Ourselves, and the kernel ------------------------------------------------------------------

Finding check_preload_library() {
    const Result<std::string> path = agent::find_preload_library();
    if (path) {
        return {Verdict::works, *path};
    }
    return {Verdict::fatal, path.error().text,
            fmt::format("keep bin/taskwork and lib/taskwork together, or set {}",
                        agent::kPreloadVariable)};
}

/// The types of the running kernel. Read past libc: this program's own functions answer for the
/// path with our own types.
btf* load_kernel_types() {
    const long fd =
        raw_system_call(SYS_openat, AT_FDCWD, reinterpret_cast<long>("/sys/kernel/btf/vmlinux"),
                        O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return nullptr;
    }
    std::vector<char> bytes;
    constexpr std::size_t step = std::size_t{1} << 20;
    for (long got = 1; got > 0;) {
        const std::size_t before = bytes.size();
        bytes.resize(before + step);
        got = raw_system_call(SYS_read, fd, reinterpret_cast<long>(bytes.data() + before), step);
        bytes.resize(before + static_cast<std::size_t>(got > 0 ? got : 0));
    }
    raw_system_call(SYS_close, fd);
    return bytes.empty() ? nullptr : btf__new(bytes.data(), static_cast<unsigned>(bytes.size()));
}

Finding check_kernel() {
    utsname name{};
    ::uname(&name);
    btf* types = load_kernel_types();
    std::string found;
    for (const char* kfunc :
         {"bpf_task_work_schedule_signal", "bpf_task_work_schedule_signal_impl",
          "bpf_task_work_schedule_resume", "bpf_task_work_schedule_resume_impl"}) {
        if (types != nullptr && btf__find_by_name_kind(types, kfunc, BTF_KIND_FUNC) > 0) {
            found += fmt::format("{}{}", found.empty() ? "" : ", ", kfunc);
        }
    }
    btf__free(types);
    if (!found.empty()) {
        return {Verdict::works, fmt::format("Linux {} has {}", name.release, found)};
    }
    return {Verdict::missing,
            fmt::format("Linux {} has no task work for BPF; taskwork needs none", name.release)};
}

}  // namespace

int doctor() {
    struct Check {
        const char* name;
        Finding (*look)();
    };
    constexpr Check checks[] = {
        {"perf events", check_perf},
        {"cpu cycles", check_cycles},
        {"executable memfd", check_executable_memfd},
        {"names for perf", check_names},
        {"environment", check_environment},
        {"arena address", check_arena},
        {"membarrier", check_membarrier},
        {"process_vm_readv", check_user_memory},
        {"preload library", check_preload_library},
        {"kernel's own", check_kernel},
    };
    bool will_run = true;
    for (const Check& check : checks) {
        const Finding finding = check.look();
        const char* mark = finding.verdict == Verdict::works     ? "ok"
                           : finding.verdict == Verdict::missing ? "--"
                                                                 : "NO";
        fmt::print("{:<3} {:<17} {}{}{}\n", mark, check.name, finding.text,
                   finding.remedy.empty() ? "" : "; remedy: ", finding.remedy);
        will_run = will_run && finding.verdict != Verdict::fatal;
    }
    fmt::print("{}\n", will_run ? "taskwork run will work here."
                                : "taskwork run will not work here: see NO above.");
    return will_run ? 0 : 1;
}

}  // namespace taskwork::cli
