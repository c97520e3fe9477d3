// SPDX-License-Identifier: Apache-2.0
#include "cli/run.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>

#include "agent/launch.hpp"
#include "bpf/jit/code_region.hpp"
#include "bpf/program.hpp"
#include "bpf/task_view.hpp"
#include "cli/descriptor_limit.hpp"
#include "cli/host.hpp"
#include "cli/json_file.hpp"
#include "cli/memory_watch.hpp"
#include "cli/object.hpp"
#include "cli/processes.hpp"
#include "cli/report.hpp"
#include "cli/signals.hpp"
#include "cli/status_line.hpp"
#include "defer/task_work.hpp"
#include "event/event.hpp"
#include "map/map.hpp"
#include "sync/platform.hpp"

namespace taskwork::cli {

namespace {

constexpr std::uint64_t kMillisecondNs = 1'000'000;
/// The tree of processes is looked at this often, or less so that it takes 2 % of the time.
constexpr std::uint64_t kScanNs = 20 * kMillisecondNs;
constexpr std::uint64_t kScanShare = 50;
/// Names and user ids of threads are read again this often, or less as above: handlers cannot ask.
constexpr std::uint64_t kNamesNs = 100 * kMillisecondNs;
/// Ring buffers are emptied and the trace is printed this often.
constexpr std::uint64_t kDrainNs = 20 * kMillisecondNs;
/// Whether memory is held back is looked at this often.
constexpr std::uint64_t kMemoryNs = 250 * kMillisecondNs;
/// How long the end waits for the dead to be swept, and for the works of those that live on.
constexpr std::uint64_t kSweepNs = 5'000 * kMillisecondNs;
constexpr std::uint64_t kQuiesceNs = 1'000 * kMillisecondNs;
/// Descriptors that run needs beside those of the object's maps and programs.
constexpr unsigned kOwnDescriptors = 6;

void complain(const std::string& text) { fmt::print(stderr, "taskwork: {}\n", text); }

std::string event_text(const event::EventAttributes& attributes) {
    const char* name = attributes.source == event::Source::cpu_cycles ? "cpu-cycles" : "cpu-clock";
    if (attributes.frequency != 0) {
        return fmt::format("{}, {} Hz", name, attributes.frequency);
    }
    return fmt::format("{}, every {}{}", name, with_commas(attributes.period),
                       attributes.source == event::Source::cpu_clock ? " ns" : "");
}

std::uint64_t to_ns(const timeval& time) {
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(time.tv_usec) * 1'000;
}

void print_trace() {
    bpf::drain_trace(
        [](void*, const char* line, std::size_t size) {
            std::fwrite(line, 1, size, stderr);
            if (size == 0 || line[size - 1] != '\n') {
                std::fputc('\n', stderr);
            }
        },
        nullptr);
}

/// COMMAND found, looked at, and ready to be started.
struct Command {
    std::string path;
    std::string preload_library;
    std::vector<std::string> words;
    pid_t pid = 0;
};

/// COMMAND, or why not and with which status.
Result<Command> find_command(const std::vector<std::string>& words, int& exit_status) {
    Command command;
    command.words = words;
    exit_status = kExitFailed;
    Result<std::string> library = agent::find_preload_library();
    if (!library) {
        return library.error();
    }
    command.preload_library = *library;
    Result<std::string> path = agent::find_command(words.front());
    if (!path) {
        exit_status = agent::exit_status_of(path.error().code);
        return path.error();
    }
    command.path = *path;
    Result<agent::Inspection> inspection = agent::inspect_command(*path);
    if (!inspection) {
        if (inspection.error().code == std::errc::permission_denied) {
            return command;  // may be run and not be read
        }
        exit_status = agent::exit_status_of(inspection.error().code);
        return inspection.error();
    }
    if (inspection->entry != agent::Entry::yes &&
        inspection->entry != agent::Entry::unknown_format) {
        return Error{std::errc::executable_format_error, inspection->reason};
    }
    return command;
}

Result<void> launch(Command& command, const Signals& signals, const DescriptorLimit& limit) {
    agent::LaunchSpec spec;
    spec.path = command.path;
    spec.arguments = command.words;
    spec.environment =
        agent::member_environment(environ, command.preload_library, agent::domain_name());
    spec.mask = &signals.mask_before();
    limit.restore();
    Result<pid_t> pid = agent::launch(spec);
    limit.raise_again();
    if (!pid) {
        return pid.error();
    }
    command.pid = *pid;
    return {};
}

/// From the start of COMMAND to its end.
class Watch {
public:
    Watch(const RunOptions& options, Object& object, const Command& command, const Signals& signals,
          std::uint64_t start_ns)
        : options_(options), object_(object), command_(command), signals_(signals),
          start_ns_(start_ns), status_line_(start_ns) {
        processes_.follow(command.pid);
    }

    /// Returns when COMMAND has ended and what it left has been swept.
    void wait() {
        while (!ended_) {
            turn(next_timeout_ns());
        }
        end_ns_ = platform::now_ns();
        stop_sampling();
        wait_for_sweep();
        status_line_.erase();
    }

    void fill(Report& report) const {
        report.elapsed_ns = end_ns_ - start_ns_;
        report.user_ns = to_ns(usage_.ru_utime);
        report.system_ns = to_ns(usage_.ru_stime);
        report.signal = WIFSIGNALED(status_) ? WTERMSIG(status_) : 0;
        report.exit_status = WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_);
        report.processes = processes_.members();
        report.not_entered = processes_.not_entered();
        report.held_back = memory_watch_.held_back();
        if (processes_.lost() != 0) {
            report.notes.push_back(
                fmt::format("{} of the kernel's records of processes did not fit: the lists of "
                            "processes and modules may have gaps",
                            with_commas(processes_.lost())));
        }
    }

private:
    [[nodiscard]] std::uint64_t next_timeout_ns() const {
        const std::uint64_t now = platform::now_ns();
        std::uint64_t next = std::min({scan_ns_, drain_ns_, names_ns_, memory_ns_});
        if (sampling_ && options_.duration_ns) {
            next = std::min(next, start_ns_ + *options_.duration_ns);
        }
        return next > now ? next - now : 0;
    }

    void turn(std::uint64_t timeout_ns) {
        pollfd polled[] = {{signals_.descriptor(), POLLIN, 0},
                           {Host::life_descriptor(), POLLIN, 0}};
        const timespec timeout{static_cast<time_t>(timeout_ns / 1'000'000'000),
                               static_cast<long>(timeout_ns % 1'000'000'000)};
        ::ppoll(polled, 2, &timeout, nullptr);
        look_at_processes();
        for (const Signals::Arrival& arrival : signals_.arrivals()) {
            take_signal(arrival);
        }
        const std::uint64_t now = platform::now_ns();
        if (sampling_ && options_.duration_ns && now - start_ns_ >= *options_.duration_ns) {
            stop_sampling();
        }
        if (now >= drain_ns_) {
            drain_ns_ = now + kDrainNs;
            status_line_about_to_break();
            object_.consume_rings(options_.verbose);
            print_trace();
        }
        if (now >= names_ns_) {
            const std::uint64_t begin = platform::now_ns();
            bpf::refresh_tasks();
            names_ns_ = now + std::max(kNamesNs, (platform::now_ns() - begin) * kScanShare);
        }
        if (now >= memory_ns_) {
            memory_ns_ = now + kMemoryNs;
            memory_watch_.look(now);
        }
        if (status_line_.is_due(now)) {
            status_line_.update(now, event::counts().fired,
                                defer::counts(defer::WorkTable::get().domain).ran);
        }
    }

    void status_line_about_to_break() {
        if (object_.has_rings() && options_.verbose) {
            status_line_.erase();
        }
    }

    void look_at_processes() {
        const std::vector<LifeEvent> events = Host::take_life_events();
        const std::uint64_t now = platform::now_ns();
        // What the kernel tells of a process has to be known before its joining is.
        if (now >= scan_ns_ || (!events.empty() && processes_.is_following())) {
            processes_.look(::getpid());
            scan_ns_ = now + std::max(kScanNs, (platform::now_ns() - now) * kScanShare);
        }
        for (const LifeEvent& event : events) {
            if (event.kind == LifeEvent::Kind::joined) {
                processes_.joined(event.pid, event.command, event.time_ns);
            }
        }
    }

    void take_signal(const Signals::Arrival& arrival) {
        if (arrival.number == SIGCHLD) {
            reap();
            return;
        }
        stop_sampling();
        // What the terminal sends goes to COMMAND as well; what was sent to run alone is passed on.
        if (!arrival.from_terminal && !ended_) {
            ::kill(command_.pid, arrival.number);
        }
    }

    /// COMMAND, and orphans of its family, whose parent is run (child subreaper).
    void reap() {
        int status = 0;
        rusage usage{};
        for (pid_t pid = 0; (pid = ::wait4(-1, &status, WNOHANG, &usage)) > 0;) {
            if (pid == command_.pid) {
                ended_ = true;
                status_ = status;
                usage_ = usage;
            }
        }
    }

    void stop_sampling() {
        if (std::exchange(sampling_, false)) {
            event::stop_all();
        }
    }

    void wait_for_sweep() {
        const std::uint64_t begin = platform::now_ns();
        const auto in_time = [&](std::uint64_t limit) {
            return platform::now_ns() - begin < limit;
        };
        while (Host::has_dead_member() && in_time(kSweepNs)) {
            turn(5 * kMillisecondNs);
        }
        while (defer::counts(defer::WorkTable::get().domain).in_flight != 0 &&
               in_time(kQuiesceNs)) {
            turn(5 * kMillisecondNs);
        }
        scan_ns_ = 0;
        look_at_processes();
        object_.consume_rings(options_.verbose);
        print_trace();
    }

    const RunOptions& options_;
    Object& object_;
    const Command& command_;
    const Signals& signals_;
    const std::uint64_t start_ns_;
    std::uint64_t end_ns_ = 0;
    std::uint64_t scan_ns_ = 0;
    std::uint64_t drain_ns_ = 0;
    std::uint64_t names_ns_ = 0;
    std::uint64_t memory_ns_ = 0;
    bool sampling_ = true;
    bool ended_ = false;
    int status_ = 0;
    rusage usage_{};
    StatusLine status_line_;
    Processes processes_;
    MemoryWatch memory_watch_;
};

/// Said when it is found, and in the report.
void take_note(Report& report, const std::string& text) {
    complain(text);
    report.notes.push_back(text);
}

void add_notes(Report& report) {
    for (const ProgramReport& program : report.programs) {
        report.threads_refused = std::max(report.threads_refused, program.events.threads_refused);
    }
    if (report.threads_refused != 0) {
        report.notes.push_back(fmt::format("{} threads got no event: {}",
                                           with_commas(report.threads_refused),
                                           std::strerror(static_cast<int>(event::refusal()))));
    }
    task::TaskTable& table = task::TaskTable::get();
    report.tasks_refused = table.tasks_refused.load(std::memory_order_relaxed);
    report.processes_refused = table.processes_refused.load(std::memory_order_relaxed);
    if (report.tasks_refused != 0) {
        report.notes.push_back(fmt::format("{} threads not entered: more than {} at a time",
                                           with_commas(report.tasks_refused),
                                           with_commas(table.tasks.count())));
    }
    if (report.processes_refused != 0) {
        report.notes.push_back(fmt::format("{} processes not entered: more than {} at a time",
                                           with_commas(report.processes_refused),
                                           with_commas(table.processes.count())));
    }
}

/// Reads everything, then lets go of maps and programs, which cancels works still in flight.
void gather(Report& report, Object& object) {
    report.programs = object.program_reports();
    report.maps = object.map_reports();
    object.close();
    const std::uint64_t begin = platform::now_ns();
    do {
        report.works = defer::counts(defer::WorkTable::get().domain);
    } while (report.works.in_flight != 0 && platform::now_ns() - begin < kQuiesceNs &&
             ::poll(nullptr, 0, 1) == 0);
    report.tasks = Host::task_totals();
    report.processors_shared = map::MapTable::get().processors.shared();
    add_notes(report);
}

}  // namespace

int run(const RunOptions& options) {
    DescriptorLimit limit;
    Signals signals;
    int exit_status = kExitFailed;
    const auto fail = [&](const Error& error) {
        complain(error.text);
        return std::exchange(exit_status, kExitFailed);
    };
    if (Result<void> reserved = limit.reserve(kOwnDescriptors); !reserved) {
        return fail(reserved.error());
    }
    if (Result<void> taken = signals.take(); !taken) {
        return fail(taken.error());
    }

    // What can be found wrong without a domain.
    Result<Object> object = Object::open(options.object, options.verbose);
    if (!object) {
        return fail(object.error());
    }
    if (Result<void> reserved = limit.reserve(kOwnDescriptors + object->descriptors()); !reserved) {
        return fail(reserved.error());
    }
    Result<Command> command = find_command(options.command, exit_status);
    if (!command) {
        return fail(command.error());
    }
    exit_status = kExitFailed;
    JsonFile json;
    if (Result<void> opened = json.open(options.json_path); !opened) {
        return fail(opened.error());
    }

    // The domain, the programs in it, COMMAND under them.
    if (Result<void> started = Host::start(); !started) {
        return fail(started.error());
    }
    Report report;
    report.command = options.command;
    event::EventAttributes attributes = options.attributes;
    if (const std::errc error = bpf::jit::CodeRegion::why_nameless(); error != no_error) {
        take_note(report,
                  fmt::format("TASKWORK_PERF_MAP: perf finds no names of programs: no System V "
                              "segment for their code: {}",
                              std::make_error_code(error).message()));
    }
    std::string note;
    event::probe(attributes, object->programs(), &note);
    if (!note.empty()) {
        take_note(report, note);
    }
    report.event = event_text(attributes);
    if (Result<void> loaded = object->load(); !loaded) {
        return fail(loaded.error());
    }
    if (Result<void> attached = object->attach(attributes); !attached) {
        return fail(attached.error());
    }
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    const std::uint64_t start_ns = platform::now_ns();
    // Its first children must find somebody who follows: a static one that lived shortly was
    // missed.
    std::unique_lock held = Host::hold_members();
    if (Result<void> launched = launch(*command, signals, limit); !launched) {
        exit_status = agent::exit_status_of(launched.error().code);
        return fail(launched.error());
    }

    Watch watch(options, *object, *command, signals, start_ns);
    held.unlock();
    watch.wait();

    watch.fill(report);
    gather(report, *object);
    Host::stop();
    exit_status = report.exit_status;
    const std::string text = report_text(report);
    std::fwrite(text.data(), 1, text.size(), stderr);
    if (json.is_wanted()) {
        if (Result<void> written = json.write(report_json(report)); !written) {
            exit_status = kExitFailed;
            return fail(written.error());
        }
    }
    return exit_status;
}

}  // namespace taskwork::cli
