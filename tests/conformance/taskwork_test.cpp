// SPDX-License-Identifier: Apache-2.0
//
// What the test objects must do, on taskwork: the same tests as on the kernel (tests/reference), in
// a process that is the host of its own domain, with libbpf's calls answered in process.

#include <cerrno>
#include <ostream>

#include "../bpf/conformance.hpp"
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

// ---- Refused: what taskwork does not have, what a program may not do ---------------------------

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
                    Refusal{"fail_unknown_program_xdp", "XDP"}, Refusal{"fail_not_gpl", "GPL"},
                    Refusal{"fault_below_stack", "math between fp pointer and register with "
                                                 "unbounded min value is not allowed"},
                    Refusal{"fault_endless_loop", "infinite loop detected at insn"},
                    Refusal{"fault_endless_recursion", "the call stack of 9 frames is too deep"},
                    Refusal{"fault_helper_argument", "R2 unbounded memory access"},
                    Refusal{"fault_null_value", "R0 invalid mem access 'map_value_or_null'"},
                    Refusal{"fault_read_outside_value", "math between map_value pointer"},
                    Refusal{"fault_slot_access",
                            "bpf_task_work cannot be accessed directly by load/store"},
                    Refusal{"fault_user_pointer", "R1 invalid mem access 'scalar'"},
                    Refusal{"fault_wild_pointer", "R1 invalid mem access 'scalar'"},
                    Refusal{"fault_write_constant", "write into map forbidden"},
                    Refusal{"fault_write_context", "invalid bpf_context access off=128 size=8"},
                    Refusal{"fault_write_outside_value", "math between map_value pointer"},
                    Refusal{"fault_write_task", "only read is supported"}),
    [](const auto& parameter) { return std::string(parameter.param.object); });

}  // namespace
}  // namespace taskwork::test
