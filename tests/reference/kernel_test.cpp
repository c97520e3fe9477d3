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

#include "../bpf/check_driver.hpp"

namespace taskwork::test {
namespace {

// ---- check_*: helpers and kfuncs in every context -----------------------------------------------

class Check : public testing::TestWithParam<const char*> {};

TEST_P(Check, finds_what_it_expects_in_every_context) {
    SKIP_WITHOUT_REFERENCE();
    CheckThread([](const check_input& facts) {
        CheckObject object(GetParam());
        ASSERT_EQ(object.load_error(), 0) << CheckObject::log();
        object.set_input(facts);
        ThreadEvent event;
        object.attach("in_nmi", event, facts.cookie);
        ASSERT_TRUE(object.compute_until([&] { return object.result().task_work_runs == 1; }))
            << "schedule_error " << object.result().schedule_error;
        object.detach();
        EXPECT_EQ(object.result().schedule_error, 0);
        EXPECT_EQ(object.result().ran_on, static_cast<std::uint32_t>(facts.tid));

        EXPECT_EQ(object.run("in_task"), 0);
        EXPECT_EQ(object.result().task_runs, 1u);
        EXPECT_EQ(object.result().nmi_runs, 1u);
        object.expect_no_failure();
    });
}

INSTANTIATE_TEST_SUITE_P(Kernel, Check,
                         testing::Values("check_identity", "check_clock", "check_maps",
                                         "check_probe_read", "check_copy_from_user",
                                         "check_task_kfuncs", "check_printk", "check_ringbuf",
                                         "check_for_each", "check_loop", "check_sections"),
                         [](const auto& parameter) { return std::string(parameter.param); });

TEST(Kernel, hands_a_program_the_cookie_it_was_attached_with) {
    SKIP_WITHOUT_REFERENCE();
    CheckThread([](const check_input& facts) {
        CheckObject object("check_cookie");
        ASSERT_EQ(object.load_error(), 0) << CheckObject::log();
        object.set_input(facts);
        ThreadEvent event;
        object.attach("in_nmi", event, facts.cookie);
        ASSERT_TRUE(object.compute_until([&] { return object.result().nmi_runs >= 3; }));
        object.expect_no_failure();
    });
}

TEST(Kernel, walks_the_user_stack_by_frame_pointers) {
    SKIP_WITHOUT_REFERENCE();
    CheckThread([](const check_input& facts) {
        CheckObject object("check_get_stack");
        ASSERT_EQ(object.load_error(), 0) << CheckObject::log();
        object.set_input(facts);
        ThreadEvent event;
        object.attach("in_nmi", event);
        ASSERT_TRUE(object.compute_until([&] { return object.result().observed[0] >= 100; }));
        object.detach();
        object.expect_no_failure();
        check_result result = object.result();
        EXPECT_GE(result.observed[1], result.observed[0] * 9 / 10)
            << "of " << result.observed[0] << " stacks in inner()";
    });
}

struct Record {
    std::uint32_t context;
    std::uint32_t number;
    std::uint64_t time_ns;
    char text[8];
};

TEST(Kernel, ring_buffer_delivers_in_order_and_hides_the_discarded) {
    SKIP_WITHOUT_REFERENCE();
    CheckThread([](const check_input& facts) {
        CheckObject object("check_ringbuf");
        ASSERT_EQ(object.load_error(), 0) << CheckObject::log();
        object.set_input(facts);
        ThreadEvent event;
        object.attach("in_nmi", event);
        ASSERT_TRUE(object.compute_until([&] { return object.result().task_work_runs == 1; }));
        object.detach();
        ASSERT_EQ(object.run("in_task"), 0);

        std::vector<Record> records;
        auto take = [](void* context, void* data, std::size_t size) {
            EXPECT_EQ(size, sizeof(Record));
            static_cast<std::vector<Record>*>(context)->push_back(*static_cast<Record*>(data));
            return 0;
        };
        ring_buffer* ring = ring_buffer__new(object.map_fd("ring"), take, &records, nullptr);
        ASSERT_NE(ring, nullptr);
        EXPECT_EQ(ring_buffer__consume(ring), 6);
        ring_buffer__free(ring);

        const std::uint32_t contexts[] = {CHECK_NMI, CHECK_TASK_WORK, CHECK_TASK};
        ASSERT_EQ(records.size(), 6u);
        for (std::size_t i = 0; i < records.size(); ++i) {
            EXPECT_EQ(records[i].context, contexts[i / 2]) << i;
            EXPECT_EQ(records[i].number, i % 2 + 1) << i;
            EXPECT_STREQ(records[i].text, i % 2 ? "submit" : "output") << i;
        }
    });
}

TEST(Kernel, two_programs_of_one_object_fire_on_events_of_their_own) {
    SKIP_WITHOUT_REFERENCE();
    CheckThread([](const check_input&) {
        CheckObject object("two_programs");
        ASSERT_EQ(object.load_error(), 0) << CheckObject::log();
        ThreadEvent first;
        ThreadEvent second;
        object.attach("first", first);
        object.attach("second", second);
        ASSERT_TRUE(object.compute_until([&] {
            check_result now = object.result();
            return now.observed[4] >= 10 && now.observed[5] >= 10;
        }));
        object.detach();
        check_result end = object.result();
        EXPECT_LE(end.observed[2], end.observed[0]);
        EXPECT_LE(end.observed[3], end.observed[1]);
        EXPECT_EQ(end.observed[4], end.observed[2]);
        EXPECT_EQ(end.observed[5], end.observed[3]);
    });
}

TEST(Kernel, a_thread_gets_back_to_its_program_between_slow_callbacks) {
    SKIP_WITHOUT_REFERENCE();
    CheckThread([](check_input facts) {
        CheckObject object("slow_callback");
        ASSERT_EQ(object.load_error(), 0) << CheckObject::log();
        facts.spin_ns = 3'000'000;  // of an event each millisecond
        object.set_input(facts);
        ThreadEvent event;
        object.attach("in_nmi", event);
        EXPECT_TRUE(object.compute_until([&] { return object.result().task_work_runs >= 20; }));
        object.detach();
        EXPECT_EQ(object.result().task_work_runs, object.result().observed[0]);
    });
}

TEST(Kernel, typed_values_are_filled_in) {
    SKIP_WITHOUT_REFERENCE();
    CheckObject object("typed_values");
    ASSERT_EQ(object.load_error(), 0) << CheckObject::log();
    ASSERT_EQ(object.run("fill"), 0);
    struct {
        char name[8];
        std::int32_t number;
    } key = {"first", -7};
    unsigned char value[256] = {};
    ASSERT_EQ(bpf_map_lookup_elem(object.map_fd("typed"), &key, value), 0);
    EXPECT_EQ(value[0], 200);
}

// ---- schedule_on_task: other threads
// -------------------------------------------------------------

/// A thread that computes, or blocks in a read until it is released.
class Target {
public:
    explicit Target(bool blocks) {
        EXPECT_EQ(pipe(pipe_), 0);
        thread_ = std::thread([this, blocks] {
            tid_.store(static_cast<pid_t>(syscall(SYS_gettid)));
            if (blocks) {
                char byte = 0;
                read_result_ = read(pipe_[0], &byte, 1);
            } else {
                volatile std::uint64_t sink = 1;
                while (!released_.load(std::memory_order_relaxed)) {
                    sink = check_inner(sink);
                }
            }
        });
        wait_until([&] { return tid_.load() != 0 && (!blocks || is_sleeping()); });
    }
    ~Target() { release(); }
    Target(const Target&) = delete;
    Target& operator=(const Target&) = delete;

    pid_t tid() const { return tid_.load(); }
    void release() {
        if (thread_.joinable()) {
            released_.store(true);
            EXPECT_EQ(write(pipe_[1], "x", 1), 1);
            thread_.join();
            close(pipe_[0]);
            close(pipe_[1]);
        }
    }
    /// Of the blocking read: 1 unless something interrupted it.
    ssize_t read_result() const { return read_result_; }

private:
    bool is_sleeping() const {
        std::string path = "/proc/self/task/" + std::to_string(tid_.load()) + "/stat";
        std::FILE* file = std::fopen(path.c_str(), "re");
        char state = '?';
        if (file) {
            EXPECT_EQ(std::fscanf(file, "%*d %*[^)]) %c", &state), 1);
            std::fclose(file);
        }
        return state == 'S';
    }

    std::thread thread_;
    std::atomic<pid_t> tid_{0};
    std::atomic<bool> released_{false};
    int pipe_[2] = {-1, -1};
    ssize_t read_result_ = 0;
};

class OtherTask : public testing::Test {
protected:
    void SetUp() override {
        SKIP_WITHOUT_REFERENCE();
        object_ = std::make_unique<CheckObject>("schedule_on_task");
        ASSERT_EQ(object_->load_error(), 0) << CheckObject::log();
    }
    void aim_at(pid_t tid) {
        check_input input{};
        input.target_tid = tid;
        object_->set_input(input);
    }
    bool wait_for_run(const Target& target) {
        return wait_until([&] {
            return object_->result().task_work_runs == 1 &&
                   object_->result().ran_on == static_cast<std::uint32_t>(target.tid());
        });
    }

    std::unique_ptr<CheckObject> object_;
};

TEST_F(OtherTask, a_computing_thread_runs_it_in_either_mode) {
    for (const char* mode : {"schedule_signal", "schedule_resume"}) {
        CheckObject object("schedule_on_task");
        ASSERT_EQ(object.load_error(), 0);
        Target target(false);
        check_input input{};
        input.target_tid = target.tid();
        object.set_input(input);
        ASSERT_EQ(object.run(mode), 0);
        EXPECT_EQ(object.result().schedule_error, 0);
        EXPECT_TRUE(wait_until([&] { return object.result().task_work_runs == 1; })) << mode;
        EXPECT_EQ(object.result().ran_on, static_cast<std::uint32_t>(target.tid())) << mode;
        EXPECT_GT(object.result().observed[0], 1) << mode;
    }
}

TEST_F(OtherTask, signal_mode_reaches_a_blocked_thread_whose_read_goes_on) {
    Target target(true);
    aim_at(target.tid());
    ASSERT_EQ(object_->run("schedule_signal"), 0);
    EXPECT_EQ(object_->result().schedule_error, 0);
    EXPECT_TRUE(wait_for_run(target));
    target.release();
    EXPECT_EQ(target.read_result(), 1);
}

TEST_F(OtherTask, resume_mode_waits_until_a_blocked_thread_returns_by_itself) {
    Target target(true);
    aim_at(target.tid());
    ASSERT_EQ(object_->run("schedule_resume"), 0);
    EXPECT_EQ(object_->result().schedule_error, 0);
    // Something else, which takes its time, happens to another thread first.
    Target witness(false);
    CheckObject other("schedule_on_task");
    check_input input{};
    input.target_tid = witness.tid();
    other.set_input(input);
    ASSERT_EQ(other.run("schedule_signal"), 0);
    ASSERT_TRUE(wait_until([&] { return other.result().task_work_runs == 1; }));
    EXPECT_EQ(object_->result().task_work_runs, 0u);

    target.release();
    EXPECT_TRUE(wait_for_run(target));
    EXPECT_EQ(target.read_result(), 1);
}

TEST_F(OtherTask, a_cancelled_work_never_runs) {
    Target target(true);
    aim_at(target.tid());
    ASSERT_EQ(object_->run("schedule_resume"), 0);
    EXPECT_EQ(object_->result().schedule_error, 0);
    ASSERT_EQ(object_->run("cancel"), 0);
    EXPECT_EQ(object_->result().schedule_error, 0);
    target.release();  // joins: it has passed its last run point
    EXPECT_EQ(object_->result().task_work_runs, 0u);
}

TEST_F(OtherTask, a_thread_that_does_not_exist_is_not_found) {
    pid_t gone = 0;
    {
        Target target(false);
        gone = target.tid();
    }
    aim_at(gone);
    ASSERT_EQ(object_->run("schedule_signal"), 0);
    EXPECT_EQ(object_->result().schedule_error, -ESRCH);
}

TEST_F(OtherTask, is_scheduled_onto_from_nmi) {
    CheckThread([&](const check_input&) {
        Target target(false);
        aim_at(target.tid());
        ThreadEvent event;
        object_->attach("in_nmi", event);
        EXPECT_TRUE(object_->compute_until([&] { return object_->result().task_work_runs == 1; }));
        EXPECT_EQ(object_->result().schedule_error, 0);
        EXPECT_EQ(object_->result().ran_on, static_cast<std::uint32_t>(target.tid()));
    });
}

// ---- slot_life
// -----------------------------------------------------------------------------------

struct SlotRuns {
    std::uint32_t late;
    std::uint32_t self_delete;
    std::uint32_t first;
    std::uint32_t chained;
    std::uint32_t wrong;
};

TEST(Kernel, slot_is_busy_cancelled_and_free_again_as_slot_life_expects) {
    SKIP_WITHOUT_REFERENCE();
    CheckObject object("slot_life");
    ASSERT_EQ(object.load_error(), 0) << CheckObject::log();
    auto runs = [&] { return object.read<SlotRuns>(".data.runs"); };

    ASSERT_EQ(object.run("schedule_twice"), 0);
    EXPECT_TRUE(wait_until([&] { return runs().late == 1; }));
    ASSERT_EQ(object.run("delete_scheduled"), 0);
    ASSERT_EQ(object.run("update_scheduled"), 0);
    EXPECT_TRUE(wait_until([&] { return runs().late == 2; }));
    ASSERT_EQ(object.run("delete_in_callback"), 0);
    EXPECT_TRUE(wait_until([&] { return runs().self_delete == 1; }));
    ASSERT_EQ(object.run("schedule_in_callback"), 0);
    EXPECT_TRUE(wait_until([&] { return runs().first == 1 && runs().chained == 1; }));
    // Not stale_pointer: on the kernel that is a schedule through freed memory.

    EXPECT_EQ(runs().late, 2u);
    EXPECT_EQ(runs().self_delete, 1u);
    EXPECT_EQ(runs().chained, 1u);
    EXPECT_EQ(runs().wrong, 0u);
    EXPECT_EQ(object.result().task_runs, 5u);
    object.expect_no_failure();
}

// ---- The examples, on a program of ours
// ----------------------------------------------------------

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
    SKIP_WITHOUT_REFERENCE();
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
    SKIP_WITHOUT_REFERENCE();
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
    SKIP_WITHOUT_REFERENCE();
    CheckObject object("sampler");
    ASSERT_EQ(object.load_error(), 0) << CheckObject::log();
    Sampled sampled(object, "sample");
    expect_sampler_results(object, sampled);
    EXPECT_TRUE((elements<StackKey, std::uint64_t>(object.map_fd("stacks")).empty()));
}

TEST(Examples, stack_sampler_also_counts_stacks_several_levels_deep) {
    SKIP_WITHOUT_REFERENCE();
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

// ---- balance, and what must be refused
// -----------------------------------------------------------

struct Counters {
    std::uint64_t events, scheduled, busy, no_memory, other_errors, ran, updates, deletes, copied,
        copy_errors, records, records_lost;
};

TEST(Kernel, never_runs_more_than_was_scheduled_under_a_mix_of_everything) {
    SKIP_WITHOUT_REFERENCE();
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
    SKIP_WITHOUT_REFERENCE();
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
    SKIP_WITHOUT_REFERENCE();
    CheckObject object(GetParam());
    EXPECT_EQ(object.load_error(), 0) << CheckObject::log();
}

INSTANTIATE_TEST_SUITE_P(Kernel, Accepted,
                         testing::Values("fail_unknown_helper", "fail_unknown_map_lpm_trie",
                                         "fail_unknown_map_stack_trace", "fail_unknown_program_xdp",
                                         "fail_no_perf_event", "fail_no_btf"),
                         [](const auto& parameter) { return std::string(parameter.param); });

}  // namespace
}  // namespace taskwork::test
