// SPDX-License-Identifier: Apache-2.0
//
// What the test objects of this folder must do, whoever runs them: included by one test of the
// kernel (tests/reference) and one of taskwork (tests/conformance), which say in `backend` what
// differs.
#pragma once

#include <signal.h>

#include <atomic>
#include <memory>
#include <vector>

#include "check_driver.hpp"

namespace taskwork::test {

/// Defined by the test that includes this.
namespace backend {
/// Why these tests cannot run here; empty if they can. Called first in each.
std::string unavailable_because();
/// In each new thread that programs are to run on, and at its end.
void thread_begins();
void thread_ends();
/// Whether maps without preallocation have memory for any number of elements in nmi.
extern const bool allocates_in_nmi;
/// The result of a schedule through the pointer of a deleted element; 0: not to be tried.
extern const int stale_schedule_error;
}  // namespace backend

#define SKIP_IF_UNAVAILABLE()                                                                      \
    if (std::string reason = backend::unavailable_because(); !reason.empty())                      \
    GTEST_SKIP() << "not here: " << reason

namespace {

/// CheckThread with what the backend needs around it.
void on_check_thread(const std::function<void(const check_input&)>& body) {
    CheckThread([&](check_input facts) {
        backend::thread_begins();
        facts.allocates_in_nmi = backend::allocates_in_nmi;
        body(facts);
        backend::thread_ends();
    });
}

// ---- check_*: helpers and kfuncs in every context -----------------------------------------------

class Check : public testing::TestWithParam<const char*> {};

TEST_P(Check, finds_what_it_expects_in_every_context) {
    SKIP_IF_UNAVAILABLE();
    on_check_thread([](const check_input& facts) {
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

INSTANTIATE_TEST_SUITE_P(Objects, Check,
                         testing::Values("check_identity", "check_clock", "check_maps",
                                         "check_probe_read", "check_copy_from_user",
                                         "check_task_kfuncs", "check_printk", "check_ringbuf",
                                         "check_for_each", "check_iterators", "check_loop",
                                         "check_sections", "check_queue", "check_sets",
                                         "check_map_in_map"),
                         [](const auto& parameter) { return std::string(parameter.param); });

TEST(Programs, are_handed_the_cookie_they_were_attached_with) {
    SKIP_IF_UNAVAILABLE();
    on_check_thread([](const check_input& facts) {
        CheckObject object("check_cookie");
        ASSERT_EQ(object.load_error(), 0) << CheckObject::log();
        object.set_input(facts);
        ThreadEvent event;
        object.attach("in_nmi", event, facts.cookie);
        ASSERT_TRUE(object.compute_until([&] { return object.result().nmi_runs >= 3; }));
        object.expect_no_failure();
    });
}

TEST(Programs, get_the_user_stack_by_frame_pointers) {
    SKIP_IF_UNAVAILABLE();
    on_check_thread([](const check_input& facts) {
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

struct LastStack {
    std::int64_t id;
    std::uint64_t stack[8];
};

TEST(Programs, give_user_stacks_ids_by_which_users_read_them) {
    SKIP_IF_UNAVAILABLE();
    on_check_thread([](const check_input& facts) {
        CheckObject object("check_stackid");
        ASSERT_EQ(object.load_error(), 0) << CheckObject::log();
        object.set_input(facts);
        ThreadEvent event;
        object.attach("in_nmi", event);
        ASSERT_TRUE(object.compute_until([&] { return object.result().nmi_runs >= 50; }));
        object.detach();
        object.expect_no_failure();
        const LastStack last = object.read<LastStack>(".data.last");
        const int map = object.map_fd("traces");
        const auto id = static_cast<std::uint32_t>(last.id);
        LastStack read{};
        ASSERT_EQ(bpf_map_lookup_elem(map, &id, read.stack), 0);
        LastStack taken{};
        ASSERT_EQ(bpf_map_lookup_and_delete_elem(map, &id, taken.stack), 0);
        EXPECT_EQ(std::memcmp(taken.stack, read.stack, sizeof taken.stack), 0);
        EXPECT_EQ(bpf_map_lookup_and_delete_elem(map, &id, taken.stack), -ENOENT);
        for (int i = 0; i < 8; ++i) {
            EXPECT_EQ(read.stack[i], last.stack[i]) << i;
        }
        // All that are there, once; then none.
        unsigned count = 0;
        std::uint32_t key = 0;
        while (bpf_map_get_next_key(map, nullptr, &key) == 0 && count < 2000) {
            ++count;
            EXPECT_EQ(bpf_map_update_elem(map, &key, read.stack, 0), -EINVAL);
            EXPECT_EQ(bpf_map_delete_elem(map, &key), 0);
            EXPECT_EQ(bpf_map_delete_elem(map, &key), -ENOENT);
            EXPECT_EQ(bpf_map_lookup_elem(map, &key, read.stack), -ENOENT);
        }
        EXPECT_LE(count, 50u);
        key = 1024;
        EXPECT_EQ(bpf_map_lookup_elem(map, &key, read.stack), -ENOENT);
        EXPECT_EQ(bpf_map_delete_elem(map, &key), -E2BIG);
    });
}

struct Record {
    std::uint32_t context;
    std::uint32_t number;
    std::uint64_t time_ns;
    char text[8];
};

TEST(RingBuffer, delivers_in_order_and_hides_the_discarded) {
    SKIP_IF_UNAVAILABLE();
    on_check_thread([](const check_input& facts) {
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

TEST(Programs, two_of_one_object_fire_on_events_of_their_own) {
    SKIP_IF_UNAVAILABLE();
    on_check_thread([](const check_input&) {
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

TEST(Callbacks, let_a_thread_get_back_to_its_program_though_slow) {
    SKIP_IF_UNAVAILABLE();
    on_check_thread([](check_input facts) {
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

TEST(Programs, fill_in_typed_values) {
    SKIP_IF_UNAVAILABLE();
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

// ---- schedule_on_task: other threads ------------------------------------------------------------

/// A thread that computes, or blocks in a read until it is released.
class Target {
public:
    explicit Target(bool blocks) {
        EXPECT_EQ(pipe(pipe_), 0);
        thread_ = std::thread([this, blocks] {
            backend::thread_begins();
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
            backend::thread_ends();
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
        SKIP_IF_UNAVAILABLE();
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
    on_check_thread([&](const check_input&) {
        Target target(false);
        aim_at(target.tid());
        ThreadEvent event;
        object_->attach("in_nmi", event);
        EXPECT_TRUE(object_->compute_until([&] { return object_->result().task_work_runs == 1; }));
        EXPECT_EQ(object_->result().schedule_error, 0);
        EXPECT_EQ(object_->result().ran_on, static_cast<std::uint32_t>(target.tid()));
    });
}

// ---- slot_life ----------------------------------------------------------------------------------

struct SlotRuns {
    std::uint32_t late;
    std::uint32_t self_delete;
    std::uint32_t first;
    std::uint32_t chained;
    std::uint32_t wrong;
};

TEST(Slot, is_busy_cancelled_and_free_again) {
    SKIP_IF_UNAVAILABLE();
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
    if (backend::stale_schedule_error != 0) {
        ASSERT_EQ(object.run("stale_pointer"), 0);
        EXPECT_EQ(object.result().schedule_error, backend::stale_schedule_error);
    }

    EXPECT_EQ(runs().late, 2u);
    EXPECT_EQ(runs().self_delete, 1u);
    EXPECT_EQ(runs().chained, 1u);
    EXPECT_EQ(runs().wrong, 0u);
    EXPECT_EQ(object.result().task_runs, backend::stale_schedule_error != 0 ? 6u : 5u);
    object.expect_no_failure();
}

}  // namespace
}  // namespace taskwork::test
