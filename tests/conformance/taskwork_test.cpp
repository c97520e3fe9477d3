// SPDX-License-Identifier: Apache-2.0
//
// What the test objects must do, on taskwork: the same tests as on the kernel (tests/reference), in
// a process that is the host of its own domain, with libbpf's calls answered in process.

#include <cerrno>
#include <ostream>

#include "../bpf/conformance.hpp"
#include "bpf/program.hpp"
#include "event/event.hpp"
#include "task/test_domain.hpp"
#include "uapi/thread.hpp"
#include "uapi/uapi.hpp"

namespace taskwork::test {

std::string backend::unavailable_because() {
    // One domain for all tests of the executable, never unmade.
    static const Result<void> started = [] {
        static task::TestDomain* domain = new task::TestDomain();
        static_cast<void>(domain);
        Result<void> result = uapi::start();
        if (result.has_value()) {
            event::EventTable::get().include_host.store(
                1, std::memory_order_relaxed);  // we sample ourselves
            task::Worker::set_life_hooks({.task_born = event::open_for,
                                          .task_exited = event::close_for,
                                          .process_joined = nullptr,
                                          .process_died = nullptr,
                                          .kick = event::kick});
        }
        return result;
    }();
    // A host that does not start is a failure, not a reason to skip.
    EXPECT_TRUE(started.has_value()) << started.error().text;
    return {};
}

/// A thread of the host becomes a task of the domain, and ceases to be one when it ends.
void backend::thread_begins() { ASSERT_NE(uapi::own_task(), nullptr); }

void backend::thread_ends() {}

const bool backend::allocates_in_nmi = true;
const int backend::stale_schedule_error = -ENOENT;

namespace {

// ---- What the kernel's verifier refuses, taskwork ends when it happens
// -----------------------------

class Faults : public testing::TestWithParam<const char*> {};

TEST_P(Faults, end_the_program_and_are_counted_while_the_thread_goes_on) {
    SKIP_IF_UNAVAILABLE();
    on_check_thread([](const check_input& facts) {
        CheckObject object(GetParam());
        ASSERT_EQ(object.load_error(), 0) << CheckObject::log();
        object.set_input(facts);
        bpf::Program* program = uapi::program_of(object.program_fd("in_nmi"));
        ASSERT_NE(program, nullptr);
        ThreadEvent event;
        object.attach("in_nmi", event);
        ASSERT_TRUE(object.compute_until([&] { return object.result().events >= 3; }));
        object.detach();
        EXPECT_EQ(program->faults.load(std::memory_order_relaxed), object.result().events);
        // `after`, and `zero`.
        struct Variables {
            std::uint64_t both[2];
        };
        const Variables variables = object.read<Variables>(".bss");
        EXPECT_EQ(variables.both[0] + variables.both[1], 0u);
    });
}

INSTANTIATE_TEST_SUITE_P(Objects, Faults,
                         testing::Values("fault_below_stack", "fault_endless_loop",
                                         "fault_endless_recursion", "fault_helper_argument",
                                         "fault_null_value", "fault_read_outside_value",
                                         "fault_slot_access", "fault_user_pointer",
                                         "fault_wild_pointer", "fault_write_constant",
                                         "fault_write_context", "fault_write_outside_value",
                                         "fault_write_task"),
                         [](const auto& parameter) { return std::string(parameter.param); });

// ---- What taskwork does not have is refused by name
// ------------------------------------------------

struct Refusal {
    const char* object;
    const char* names;
};

void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.object; }

class Refused : public testing::TestWithParam<Refusal> {};

TEST_P(Refused, with_a_message_that_names_it) {
    SKIP_IF_UNAVAILABLE();
    uapi::clear_diagnosis();
    CheckObject object(GetParam().object);
    EXPECT_NE(object.load_error(), 0);
    const std::string said = uapi::last_diagnosis() + CheckObject::log();
    EXPECT_NE(said.find(GetParam().names), std::string::npos) << said;
}

INSTANTIATE_TEST_SUITE_P(
    Objects, Refused,
    testing::Values(Refusal{"fail_unknown_helper", "send_signal"},
                    Refusal{"fail_unknown_kfunc", "bpf_taskwork_test_no_such_kfunc"},
                    Refusal{"fail_unknown_map_user_ringbuf", "(user_ringbuf)"},
                    Refusal{"fail_unknown_program_xdp", "XDP"}, Refusal{"fail_not_gpl", "GPL"}),
    [](const auto& parameter) { return std::string(parameter.param.object); });

}  // namespace
}  // namespace taskwork::test
