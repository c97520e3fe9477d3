// SPDX-License-Identifier: Apache-2.0
//
// The test objects and the examples on the real kernel, which says what is right: what they expect
// of taskwork is what the kernel does. Programs fire on threads and children of this test only; all
// is closed at the end, nothing is pinned.

#include "kernel.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <map>
#include <memory>
#include <vector>

#include "../bpf/conformance.hpp"

namespace taskwork::test {

std::string backend::unavailable_because() { return no_reference_because(); }
void backend::thread_begins() {}
void backend::thread_ends() {}
const bool backend::allocates_in_nmi = false;
// A schedule through freed memory.
const int backend::stale_schedule_error = 0;

namespace {

// ---- The examples, on a program of ours ---------------------------------------------------------

/// A child that runs the demo program; an object's perf_event program fires on all its threads.
class Sampled {
public:
    Sampled(CheckObject& object, const std::string& program) {
        int go[2] = {-1, -1};
        if (pipe2(go, O_CLOEXEC) != 0) {
            throw std::runtime_error("pipe failed");
        }
        pid_ = fork();
        if (pid_ == 0) {
            char byte = 0;
            int out = open("/dev/null", O_WRONLY);
            dup2(out, 1);
            if (read(go[0], &byte, 1) == 1) {
                execl(demo().c_str(), demo().c_str(), "--seconds", "60", nullptr);
            }
            _exit(127);
        }
        ThreadEvent event(pid_, true, true);
        object.attach(program, event);
        EXPECT_EQ(write(go[1], "x", 1), 1);
        close(go[0]);
        close(go[1]);
    }
    ~Sampled() {
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
    }
    Sampled(const Sampled&) = delete;
    Sampled& operator=(const Sampled&) = delete;

    pid_t pid() const { return pid_; }
    static std::string demo() { return std::string(TASKWORK_TEST_EXAMPLE_DIR) + "/stacks"; }

private:
    pid_t pid_ = -1;
};

/// All elements of a map.
template <typename Key, typename Value>
std::vector<std::pair<Key, Value>> elements(int fd) {
    std::vector<std::pair<Key, Value>> all;
    Key key{};
    Key next{};
    bool first = true;
    while (bpf_map_get_next_key(fd, first ? nullptr : &key, &next) == 0) {
        first = false;
        key = next;
        Value value{};
        if (bpf_map_lookup_elem(fd, &key, &value) == 0) {
            all.emplace_back(key, value);
        }
    }
    return all;
}

struct HashValue {
    std::uint64_t work;
    std::uint64_t runs;
    std::int64_t copied;
    char text[64];
};

TEST(Examples, hash_resume_copies_the_argument_on_every_thread) {
    SKIP_IF_UNAVAILABLE();
    CheckObject object("hash_resume");
    ASSERT_EQ(object.load_error(), 0) << CheckObject::log();
    Sampled sampled(object, "on_event");
    auto values = [&] { return elements<std::uint32_t, HashValue>(object.map_fd("values")); };
    // Four threads of work; the first may have been hit, too.
    ASSERT_TRUE(wait_until([&] {
        unsigned ran = 0;
        for (const auto& [tid, value] : values()) {
            ran += value.runs >= 3;
        }
        return ran >= 4;
    }));
    std::string demo = Sampled::demo().substr(0, sizeof(HashValue::text) - 1);
    for (const auto& [tid, value] : values()) {
        if (value.runs > 0) {
            EXPECT_EQ(value.text, demo);
            EXPECT_EQ(value.copied, static_cast<std::int64_t>(demo.size() + 1));
        }
    }
}

struct ArrayValue {
    std::uint64_t work;
    std::uint64_t runs;
    std::int64_t copied;
    std::uint32_t tid;
    char text[60];
};

TEST(Examples, array_signal_runs_in_shared_slots) {
    SKIP_IF_UNAVAILABLE();
    CheckObject object("array_signal");
    ASSERT_EQ(object.load_error(), 0) << CheckObject::log();
    Sampled sampled(object, "on_event");
    ArrayValue ran{};
    std::uint32_t slot = 0;
    ASSERT_TRUE(wait_until([&] {
        for (std::uint32_t i = 0; i < 16; ++i) {
            ran = object.read<ArrayValue>("slots", i);
            slot = i;
            if (ran.runs >= 3) {
                return true;
            }
        }
        return false;
    }));
    std::string demo = Sampled::demo().substr(0, sizeof(ArrayValue::text) - 1);
    EXPECT_EQ(ran.text, demo);
    EXPECT_EQ(ran.copied, static_cast<std::int64_t>(demo.size() + 1));
    EXPECT_EQ(ran.tid % 16, slot);
}

struct LeafKey {
    std::uint32_t tgid;
    std::uint32_t tid;
    std::uint64_t address;
};
struct StackKey {
    std::uint32_t tgid;
    std::uint32_t tid;
    std::uint64_t addresses[30];
};
struct Thread {
    std::uint32_t tgid;
    char name[16];
    std::uint64_t samples;
};
struct Process {
    std::uint64_t work;
    std::uint64_t arguments_at;
    std::uint64_t scheduled_at_ns;
    std::uint64_t latency_ns;
    std::uint32_t reads;
    std::int32_t error;
    char command_line[256];
    char environment[256];
};

void expect_sampler_results(CheckObject& object, const Sampled& sampled) {
    std::uint32_t pid = static_cast<std::uint32_t>(sampled.pid());
    Process process{};
    ASSERT_TRUE(wait_until([&] {
        return bpf_map_lookup_elem(object.map_fd("processes"), &pid, &process) == 0 &&
               process.reads > 0 && process.arguments_at != 0;
    }));
    EXPECT_EQ(process.error, 0);
    EXPECT_EQ(process.command_line, (Sampled::demo() + " --seconds 60").substr(0, 255));
    EXPECT_EQ(process.environment, (std::string("PATH=") + getenv("PATH")).substr(0, 255));
    EXPECT_GT(process.latency_ns, 0u);

    // Each chain's thread shows up under its name, with samples that the leaves add up to.
    ASSERT_TRUE(wait_until([&] {
        std::map<std::string, std::uint64_t> by_name;
        for (const auto& [tid, thread] :
             elements<std::uint32_t, Thread>(object.map_fd("threads"))) {
            EXPECT_EQ(thread.tgid, pid);
            by_name[thread.name] = thread.samples;
        }
        return by_name["words-0"] >= 20 && by_name["matrix-1"] >= 20 && by_name["primes-2"] >= 20 &&
               by_name["trees-3"] >= 20;
    }));
    object.detach();
    std::map<std::uint32_t, std::uint64_t> leaves;
    for (const auto& [key, count] : elements<LeafKey, std::uint64_t>(object.map_fd("leaves"))) {
        EXPECT_EQ(key.tgid, pid);
        EXPECT_NE(key.address, 0u);
        leaves[key.tid] += count;
    }
    for (const auto& [tid, thread] : elements<std::uint32_t, Thread>(object.map_fd("threads"))) {
        EXPECT_EQ(leaves[tid], thread.samples) << thread.name;
    }
}

TEST(Examples, sampler_counts_leaves_and_reads_command_line_and_environment) {
    SKIP_IF_UNAVAILABLE();
    CheckObject object("sampler");
    ASSERT_EQ(object.load_error(), 0) << CheckObject::log();
    Sampled sampled(object, "sample");
    expect_sampler_results(object, sampled);
    EXPECT_TRUE((elements<StackKey, std::uint64_t>(object.map_fd("stacks")).empty()));
}

TEST(Examples, stack_sampler_also_counts_stacks_several_levels_deep) {
    SKIP_IF_UNAVAILABLE();
    CheckObject object("stack_sampler");
    ASSERT_EQ(object.load_error(), 0) << CheckObject::log();
    Sampled sampled(object, "sample");
    expect_sampler_results(object, sampled);
    std::uint64_t deep = 0;
    std::uint64_t all = 0;
    for (const auto& [key, count] : elements<StackKey, std::uint64_t>(object.map_fd("stacks"))) {
        all += count;
        deep += key.addresses[4] != 0 ? count : 0;
    }
    EXPECT_GT(deep, all / 2) << "of " << all << " samples";
}

// ---- balance, and what must be refused ----------------------------------------------------------

struct Counters {
    std::uint64_t events, scheduled, busy, no_memory, stale, ended, other_errors, ran, updates,
        deletes, copied, copy_errors, records, records_lost;
};

TEST(Kernel, never_runs_more_than_was_scheduled_under_a_mix_of_everything) {
    SKIP_IF_UNAVAILABLE();
    CheckObject object("balance");
    ASSERT_EQ(object.load_error(), 0) << CheckObject::log();
    auto counters = [&] { return object.read<Counters>(".data.counters"); };
    {
        Sampled sampled(object, "in_nmi");
        ASSERT_TRUE(wait_until([&] { return counters().ran >= 1000; }));
    }
    Counters end = counters();
    EXPECT_LE(end.ran, end.scheduled);
    EXPECT_GT(end.deletes, 0u);
    EXPECT_GT(end.updates, 0u);
    EXPECT_EQ(end.other_errors, 0u);
    EXPECT_EQ(end.copied + end.copy_errors, end.ran);
}

class Refused : public testing::TestWithParam<const char*> {};

TEST_P(Refused, by_the_kernel_too) {
    SKIP_IF_UNAVAILABLE();
    CheckObject object(GetParam());
    EXPECT_NE(object.load_error(), 0);
}

INSTANTIATE_TEST_SUITE_P(Kernel, Refused,
                         testing::Values("fail_unknown_kfunc", "fail_not_gpl", "fault_below_stack",
                                         "fault_endless_loop", "fault_endless_recursion",
                                         "fault_helper_argument", "fault_null_value",
                                         "fault_read_outside_value", "fault_slot_access",
                                         "fault_user_pointer", "fault_wild_pointer",
                                         "fault_write_constant", "fault_write_context",
                                         "fault_write_outside_value", "fault_write_task"),
                         [](const auto& parameter) { return std::string(parameter.param); });

class Accepted : public testing::TestWithParam<const char*> {};

// What taskwork refuses of these, it refuses for want of a feature, not because the object is bad.
TEST_P(Accepted, by_the_kernel) {
    SKIP_IF_UNAVAILABLE();
    CheckObject object(GetParam());
    EXPECT_EQ(object.load_error(), 0) << CheckObject::log();
}

INSTANTIATE_TEST_SUITE_P(Kernel, Accepted,
                         testing::Values("fail_unknown_helper", "fail_unknown_map_user_ringbuf",
                                         "fail_unknown_program_xdp", "fail_no_perf_event",
                                         "fail_no_btf"),
                         [](const auto& parameter) { return std::string(parameter.param); });

}  // namespace
}  // namespace taskwork::test
