// SPDX-License-Identifier: Apache-2.0
//
// Programs whose processes and threads come and go, or that take away what a guest might rely on:
// each prints under `taskwork run` what it prints without, events fire in it, works run in it, and
// every count balances.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace {

using Json = nlohmann::json;
using Words = std::vector<std::string>;

struct Outcome {
    int status = -1;     ///< As wait(2) has it.
    std::string output;  ///< Standard output.
    double user_s = 0;   ///< User-mode CPU time of the program, its children and the host.
    double wall_ms = 0;
    long resident_kib = 0;  ///< Largest of the processes.
};

std::string temporary(const std::string& name) {
    return ::testing::TempDir() + "taskwork-lifecycle-" + std::to_string(::getpid()) + "-" + name;
}

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Runs a program to its end; its standard error goes to the test's, or to a file.
Outcome run(const Words& words, const Words& environment = {}, const std::string& errors = "") {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe(ends.data()), 0);
    timespec begin{};
    ::clock_gettime(CLOCK_MONOTONIC, &begin);
    const pid_t child = ::fork();
    if (child == 0) {
        std::vector<char*> arguments;
        for (const std::string& word : words) {
            arguments.push_back(const_cast<char*>(word.c_str()));
        }
        arguments.push_back(nullptr);
        for (const std::string& setting : environment) {
            ::putenv(const_cast<char*>(setting.c_str()));
        }
        if (!errors.empty() && std::freopen(errors.c_str(), "w", stderr) == nullptr) {
            ::_exit(126);
        }
        ::dup2(ends[1], STDOUT_FILENO);
        ::close(ends[0]);
        ::close(ends[1]);
        ::execv(arguments[0], arguments.data());
        std::perror(arguments[0]);
        ::_exit(127);
    }
    ::close(ends[1]);
    Outcome outcome;
    std::array<char, 4096> part{};
    for (ssize_t size; (size = ::read(ends[0], part.data(), part.size())) > 0;) {
        outcome.output.append(part.data(), static_cast<std::size_t>(size));
    }
    ::close(ends[0]);
    rusage usage{};
    EXPECT_EQ(::wait4(child, &outcome.status, 0, &usage), child);
    timespec end{};
    ::clock_gettime(CLOCK_MONOTONIC, &end);
    outcome.wall_ms = static_cast<double>(end.tv_sec - begin.tv_sec) * 1e3 +
                      static_cast<double>(end.tv_nsec - begin.tv_nsec) / 1e6;
    outcome.user_s = static_cast<double>(usage.ru_utime.tv_sec) +
                     static_cast<double>(usage.ru_utime.tv_usec) / 1e6;
    outcome.resident_kib = usage.ru_maxrss;
    return outcome;
}

struct Sampled {
    Outcome outcome;
    Json report;
    std::string errors;  ///< What `run` and the program wrote to standard error.
};

Sampled run_sampled(const std::string& object, const Words& words, const Words& options = {}) {
    const std::string json = temporary("report.json");
    const std::string errors = temporary("stderr");
    Words all = {TASKWORK_TEST_COMMAND, "run", "--json=" + json};
    all.insert(all.end(), options.begin(), options.end());
    all.push_back(std::string(TASKWORK_TEST_BPF_DIR) + "/" + object + ".bpf.o");
    all.push_back("--");
    all.insert(all.end(), words.begin(), words.end());
    Sampled sampled;
    sampled.outcome = run(all, {}, errors);
    sampled.errors = read_file(errors);
    sampled.report = Json::parse(read_file(json), nullptr, false);
    std::remove(json.c_str());
    std::remove(errors.c_str());
    EXPECT_FALSE(sampled.report.is_discarded()) << sampled.errors;
    return sampled;
}

Words program(const std::string& name, const std::string& argument = "") {
    Words words = {std::string(TASKWORK_TEST_PROGRAM_DIR) + "/" + name};
    if (!argument.empty()) {
        words.push_back(argument);
    }
    return words;
}

std::uint64_t count(const Json& report, const char* name) {
    return report["counters"][name].get<std::uint64_t>();
}

/// Runs a program with and without sampling and compares. Returns the report.
Json expect_undisturbed(const Words& words, const Words& options = {}) {
    const Outcome plain = run(words);
    EXPECT_EQ(plain.status, 0) << "the program fails without sampling";
    const Sampled sampled = run_sampled("lifecycle", words, options);
    EXPECT_EQ(sampled.outcome.status, plain.status) << sampled.errors;
    EXPECT_EQ(sampled.outcome.output, plain.output) << sampled.errors;
    const Json& report = sampled.report;
    if (report.is_discarded() || !report.contains("counters")) {
        return report;
    }
    EXPECT_GT(count(report, "fired"), 0U);
    EXPECT_GT(count(report, "ran"), 0U);
    EXPECT_EQ(count(report, "scheduled"),
              count(report, "ran") + count(report, "cancelled") + count(report, "dropped"));
    EXPECT_EQ(count(report, "in_flight"), 0U);
    EXPECT_EQ(count(report, "faulted"), 0U);
    EXPECT_EQ(count(report, "not_entered"), 0U) << report["not_entered"].dump();
    EXPECT_EQ(count(report, "threads_refused"), 0U);
    EXPECT_EQ(count(report, "processes_refused"), 0U);
    return report;
}

TEST(Lifecycle, children_by_fork_are_sampled_with_their_threads_and_children) {
    const Json report = expect_undisturbed(program("life_fork"));
    // The program, 8 children with a thread and a child each.
    EXPECT_EQ(count(report, "processes"), 17U);
    EXPECT_EQ(count(report, "threads"), 25U);
}

TEST(Lifecycle, children_by_bare_fork_are_sampled) {
    const Json report = expect_undisturbed(program("life_fork", "_Fork"));
    EXPECT_EQ(count(report, "processes"), 17U);
}

TEST(Lifecycle, programs_started_by_vfork_are_sampled) {
    EXPECT_EQ(count(expect_undisturbed(program("life_start", "vfork")), "processes"), 9U);
}

TEST(Lifecycle, programs_started_by_posix_spawn_are_sampled) {
    EXPECT_EQ(count(expect_undisturbed(program("life_start", "spawn")), "processes"), 9U);
}

TEST(Lifecycle, a_program_that_executes_others_in_its_place_is_sampled_throughout) {
    // Each image joins as a process of its own; the one before is swept.
    EXPECT_EQ(count(expect_undisturbed(program("life_start", "exec")), "processes"), 6U);
}

TEST(Lifecycle, a_thousand_threads_are_born_and_die_under_sampling) {
    const Json report = expect_undisturbed(program("life_threads"));
    EXPECT_EQ(count(report, "threads"), 1001U);
}

TEST(Lifecycle, a_program_that_jumps_out_of_its_handlers_goes_on_being_sampled) {
    expect_undisturbed(program("life_jumps", "longjmp"), {"--freq=4000"});
}

TEST(Lifecycle, threads_are_cancelled_under_sampling) {
    const Json report = expect_undisturbed(program("life_jumps", "cancel"), {"--freq=4000"});
    EXPECT_EQ(count(report, "threads"), 101U);
}

TEST(Lifecycle, a_program_may_close_every_descriptor) {
    expect_undisturbed(program("life_hostile", "close"));
}

TEST(Lifecycle, a_program_that_blocks_all_signals_is_sampled_and_sees_its_mask) {
    const Json report = expect_undisturbed(program("life_hostile", "block"));
    // 400 ms of CPU time in two threads.
    EXPECT_GT(count(report, "fired"), 200U);
}

TEST(Lifecycle, handlers_on_small_alternate_stacks_run_undisturbed) {
    expect_undisturbed(program("life_hostile", "altstack"), {"--freq=4000"});
}

TEST(Lifecycle, handlers_on_small_alternate_stacks_may_wait_for_our_signal) {
    expect_undisturbed(program("life_hostile", "altwaits"), {"--freq=4000"});
}

TEST(Lifecycle, a_filter_that_kills_for_any_other_call_finds_none_of_ours) {
    const Json report = expect_undisturbed(program("life_hostile", "seccomp"));
    EXPECT_GT(count(report, "fired"), 200U);
}

TEST(Lifecycle, a_wait_under_such_a_filter_is_resumed_without_a_call) {
    const Words words = program("life_hostile", "sandbox");
    const Sampled sampled = run_sampled("lifecycle", words);
    EXPECT_EQ(sampled.outcome.status, 0) << sampled.errors;
    EXPECT_EQ(sampled.outcome.output, "waited\n");
}

TEST(Lifecycle, a_process_that_changes_its_credentials_leaves_and_runs_on) {
    if (::geteuid() != 0) {
        GTEST_SKIP() << "needs root, to become another user";
    }
    expect_undisturbed(program("life_credentials"));
}

TEST(Lifecycle, a_process_leaves_while_a_thread_stands_at_any_instruction_of_the_handler) {
    if (::geteuid() != 0) {
        GTEST_SKIP() << "needs root, to become another user";
    }
    expect_undisturbed(program("life_leaving"));
}

TEST(Lifecycle, nearly_all_events_asked_for_arrive) {
    const Words words = program("life_compute", "1500");
    const Sampled sampled = run_sampled("count", words);
    ASSERT_EQ(sampled.outcome.status, 0) << sampled.errors;
    const double user_s = sampled.report["times_ns"]["user"].get<double>() / 1e9;
    EXPECT_GE(static_cast<double>(count(sampled.report, "fired")), 0.95 * 997 * user_s);
    EXPECT_GT(user_s, 1.0);
}

TEST(Lifecycle, a_killed_host_leaves_the_program_to_run_to_its_end) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe(ends.data()), 0);
    const std::string object = std::string(TASKWORK_TEST_BPF_DIR) + "/lifecycle.bpf.o";
    const Words command = program("life_compute", "1000");
    const pid_t host = ::fork();
    if (host == 0) {
        ::dup2(ends[1], STDOUT_FILENO);
        ::close(ends[0]);
        ::close(ends[1]);
        ::execl(TASKWORK_TEST_COMMAND, TASKWORK_TEST_COMMAND, "run", object.c_str(), "--",
                command[0].c_str(), command[1].c_str(), nullptr);
        ::_exit(127);
    }
    ::close(ends[1]);
    std::string output;
    std::array<char, 256> part{};
    // "begun", once it computes; "done" comes from an orphan.
    while (output.find("begun") == std::string::npos) {
        const ssize_t size = ::read(ends[0], part.data(), part.size());
        ASSERT_GT(size, 0);
        output.append(part.data(), static_cast<std::size_t>(size));
    }
    ASSERT_EQ(::kill(host, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(host, &status, 0), host);
    for (ssize_t size; (size = ::read(ends[0], part.data(), part.size())) > 0;) {
        output.append(part.data(), static_cast<std::size_t>(size));
    }
    ::close(ends[0]);
    EXPECT_NE(output.find("done"), std::string::npos) << output;
}

// ---- The price of being preloaded ---------------------------------------------------------------

/// Prints the environment that a member has, so that a test can start members by itself.
class Membership {
public:
    Membership() {
        std::array<int, 2> ends{};
        std::array<int, 2> hold{};
        EXPECT_EQ(::pipe(ends.data()), 0);
        EXPECT_EQ(::pipe(hold.data()), 0);
        host_ = ::fork();
        const std::string object = std::string(TASKWORK_TEST_BPF_DIR) + "/count.bpf.o";
        if (host_ == 0) {
            ::dup2(ends[1], STDOUT_FILENO);
            ::dup2(hold[0], STDIN_FILENO);
            for (const int fd : {ends[0], ends[1], hold[0], hold[1]}) {
                ::close(fd);
            }
            ::execl(TASKWORK_TEST_COMMAND, TASKWORK_TEST_COMMAND, "run", object.c_str(), "--",
                    "/bin/sh", "-c", "echo $LD_PRELOAD; echo $TASKWORK_DOMAIN; read unused",
                    nullptr);
            ::_exit(127);
        }
        ::close(ends[1]);
        ::close(hold[0]);
        hold_ = hold[1];
        FILE* lines = ::fdopen(ends[0], "r");
        std::array<char, 1024> line{};
        for (std::string* to : {&library_, &domain_}) {
            if (std::fgets(line.data(), line.size(), lines) != nullptr) {
                *to = line.data();
                to->pop_back();
            }
        }
        std::fclose(lines);
    }
    ~Membership() {
        ::close(hold_);
        ::waitpid(host_, nullptr, 0);
    }
    Membership(const Membership&) = delete;
    Membership& operator=(const Membership&) = delete;

    [[nodiscard]] Words environment() const {
        return {"LD_PRELOAD=" + library_, "TASKWORK_DOMAIN=" + domain_};
    }
    [[nodiscard]] const std::string& domain() const { return domain_; }
    [[nodiscard]] const std::string& library() const { return library_; }

private:
    pid_t host_ = -1;
    int hold_ = -1;
    std::string library_;
    std::string domain_;
};

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

TEST(Preload, adds_less_than_5_ms_and_2_mb_to_a_program) {
    const Membership member;
    ASSERT_FALSE(member.domain().empty());
    std::vector<double> plain_ms;
    std::vector<double> member_ms;
    std::vector<double> plain_kib;
    std::vector<double> member_kib;
    for (int start = 0; start < 50; ++start) {  // alternately: the machine is not equally busy
        const Outcome plain = run(program("life_resident"));
        const Outcome joined = run(program("life_resident"), member.environment());
        ASSERT_EQ(plain.status, 0);
        ASSERT_EQ(joined.status, 0);
        plain_ms.push_back(plain.wall_ms);
        member_ms.push_back(joined.wall_ms);
        plain_kib.push_back(std::stod(plain.output));
        member_kib.push_back(std::stod(joined.output));
    }
    RecordProperty("plain_us", static_cast<int>(median(plain_ms) * 1000));
    RecordProperty("member_us", static_cast<int>(median(member_ms) * 1000));
    EXPECT_LT(median(member_ms) - median(plain_ms), 5.0);
    EXPECT_LT(median(member_kib) - median(plain_kib), 2048.0);
    std::printf("start: %.2f ms plain, %.2f ms as a member; resident: %.0f and %.0f KiB\n",
                median(plain_ms), median(member_ms), median(plain_kib), median(member_kib));
}

TEST(Preload, does_nothing_where_the_domain_is_not_named_or_not_there) {
    std::string library;
    std::string domain;
    {
        const Membership member;
        library = member.library();
        domain = member.domain();
    }
    ASSERT_FALSE(domain.empty());
    const Words words = program("life_maps");  // prints its mappings of the arena and its handler
    const std::string alone = run(words).output;
    EXPECT_EQ(run(words, {"LD_PRELOAD=" + library}).output, alone);
    // The host is gone.
    EXPECT_EQ(run(words, {"LD_PRELOAD=" + library, "TASKWORK_DOMAIN=" + domain}).output, alone);
    for (const char* nonsense : {"", ":", "1:2:3", "1:2:3:4:5", "-1:2:3:4", "1:2:3:zz",
                                 "99999999999999999999:1:1:1", "1:0:1:1"}) {
        EXPECT_EQ(run(words, {"LD_PRELOAD=" + library, std::string("TASKWORK_DOMAIN=") + nonsense})
                      .output,
                  alone)
            << nonsense;
    }
}

TEST(Preload, a_library_of_another_version_refuses_the_domain_with_one_line) {
    std::string library = read_file(TASKWORK_TEST_AGENT);
    const std::string version =
        std::string("\0" TASKWORK_TEST_VERSION "\0", sizeof(TASKWORK_TEST_VERSION) + 1);
    std::size_t changed = 0;
    for (std::size_t at = 0; (at = library.find(version, at)) != std::string::npos; ++at) {
        library[at + 1] = '9';
        ++changed;
    }
    ASSERT_GT(changed, 0U);
    const std::string other = temporary("other.so");
    std::ofstream(other, std::ios::binary) << library;
    ::chmod(other.c_str(), 0755);

    const Words words = program("life_maps");
    const std::string errors = temporary("stderr");
    const Outcome plain = run(words);
    const Outcome refused =
        run({TASKWORK_TEST_COMMAND, "run", std::string(TASKWORK_TEST_BPF_DIR) + "/lifecycle.bpf.o",
             "--", words[0]},
            {"TASKWORK_AGENT=" + other}, errors);
    const std::string said = read_file(errors);
    std::remove(other.c_str());
    std::remove(errors.c_str());
    EXPECT_EQ(refused.status, 0) << said;
    EXPECT_EQ(refused.output, plain.output);
    const std::size_t at = said.find("refuses the domain");
    ASSERT_NE(at, std::string::npos) << said;
    EXPECT_EQ(said.find("refuses the domain", at + 1), std::string::npos) << said;
}

TEST(Preload, a_wrong_cookie_or_inode_is_not_joined) {
    const Membership member;
    const Words words = program("life_maps");
    const std::string alone = run(words).output;
    EXPECT_NE(run(words, member.environment()).output, alone) << "a member shows";
    std::string domain = member.domain();
    domain.back() = domain.back() == '0' ? '1' : '0';
    EXPECT_EQ(run(words, {"LD_PRELOAD=" + member.library(), "TASKWORK_DOMAIN=" + domain}).output,
              alone);
}

}  // namespace
