// SPDX-License-Identifier: Apache-2.0
//
// For tests that drive this layer through libbpf: the test process is the host of a domain, and
// loads objects from tests/bpf and examples.
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <stdexcept>
#include <string>

#include "event/event.hpp"
#include "task/test_domain.hpp"
#include "task/worker.hpp"
#include "uapi/uapi.hpp"

namespace taskwork::uapi {

/// What libbpf says goes here instead of to the terminal.
inline std::string libbpf_log;

inline int keep_log(libbpf_print_level level, const char* format, va_list arguments) {
    char line[1024];
    std::vsnprintf(line, sizeof line, format, arguments);
    if (level != LIBBPF_DEBUG) {
        libbpf_log += line;
    }
    return 0;
}

/// One domain for all tests of the executable: what it makes is never unmade.
class HostTest : public testing::Test {
protected:
    static void SetUpTestSuite() {
        libbpf_set_print(keep_log);
        task::LifeHooks hooks;
        hooks.task_born = [](task::Task& task) noexcept { during_events(event::open_for, task); };
        hooks.task_exited = [](task::Task& task) noexcept {
            during_events(event::close_for, task);
        };
        hooks.kick = event::kick;
        task::Worker::set_life_hooks(hooks);
        static auto* domain = new task::TestDomain(std::size_t{256} << 20);
        static_cast<void>(domain);
        const Result<void> started = start();
        ASSERT_TRUE(started.has_value()) << started.error().text;
        events_exist.store(true, std::memory_order_release);
    }
    void SetUp() override {
        libbpf_log.clear();
        clear_diagnosis();
    }

private:
    // The test's own thread is born before the table of events is.
    static inline std::atomic<bool> events_exist{false};
    static void during_events(void (*function)(task::Task&) noexcept, task::Task& task) noexcept {
        if (events_exist.load(std::memory_order_acquire)) {
            function(task);
        }
    }
};

/// A BPF object of the build, by name.
class TestObject {
public:
    explicit TestObject(const std::string& name, const std::string& folder = TASKWORK_TEST_BPF_DIR)
        : object_(bpf_object__open_file((folder + "/" + name + ".bpf.o").c_str(), nullptr)) {
        if (object_ == nullptr) {
            throw std::runtime_error("cannot open " + name + ": " + libbpf_log);
        }
    }
    ~TestObject() { bpf_object__close(object_); }
    TestObject(const TestObject&) = delete;
    TestObject& operator=(const TestObject&) = delete;

    /// 0 or a negative errno.
    int load() { return bpf_object__load(object_); }

    [[nodiscard]] bpf_map* map(const char* name) const {
        bpf_map* found = bpf_object__find_map_by_name(object_, name);
        return found != nullptr ? found : throw std::runtime_error(std::string("no map ") + name);
    }
    [[nodiscard]] int map_descriptor(const char* name) const { return bpf_map__fd(map(name)); }
    [[nodiscard]] bpf_program* program(const char* name) const {
        bpf_program* found = bpf_object__find_program_by_name(object_, name);
        return found != nullptr ? found
                                : throw std::runtime_error(std::string("no program ") + name);
    }
    [[nodiscard]] bpf_object* get() const { return object_; }

    /// Runs a syscall program in this thread; its result, or the negative errno of the call.
    [[nodiscard]] long run(const char* name, void* context = nullptr, unsigned size = 0) const {
        bpf_test_run_opts options{};
        options.sz = sizeof options;
        options.ctx_in = context;
        options.ctx_size_in = size;
        const int error = bpf_prog_test_run_opts(bpf_program__fd(program(name)), &options);
        return error != 0 ? error : static_cast<std::int32_t>(options.retval);
    }

private:
    bpf_object* object_;
};

}  // namespace taskwork::uapi
