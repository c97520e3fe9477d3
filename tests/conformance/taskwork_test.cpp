// SPDX-License-Identifier: Apache-2.0
//
// What the test objects must do, on taskwork: the same tests as on the kernel (tests/reference), in
// a process that is the host of its own domain, with libbpf's calls answered in process.

#include <cerrno>

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
            event::EventTable::get().include_host = 1;  // we sample ourselves
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

}  // namespace taskwork::test
