// SPDX-License-Identifier: Apache-2.0
//
// The programs of spin_locks.bpf.c: what each returns, or what the kernel says when it refuses to
// load it. Until taskwork has a verifier it loads those and ends their executions.
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <ostream>
#include <string>

namespace taskwork::test {

struct LockProgram {
    const char* name;
    int result = 0;                 ///< If it loads.
    const char* refused = nullptr;  ///< What the kernel's verifier says.
    int error = -EINVAL;            ///< With it.
    bool for_events = false;
};

inline void PrintTo(const LockProgram& program, std::ostream* out) { *out << program.name; }

inline constexpr const char* kCallUnderLock = "function calls are not allowed while holding a lock";
inline constexpr const char* kExitUnderLock =
    "BPF_EXIT instruction in main prog cannot be used inside bpf_spin_lock-ed region";
inline constexpr const char* kNotForTracing = "tracing progs cannot use bpf_spin_lock yet";

inline constexpr LockProgram kLockPrograms[] = {
    {"spin", 1},
    {"resilient", 1},
    {"resilient_irqsave", 1},
    {"nested", 1},
    {"again", -EDEADLK},
    {"resilient_in_spin", 1},
    {"lock_in_function", 1},
    {"update_of_spin", 0},
    {"update_of_resilient", -EINVAL},
    {"schedule", 0},
    {"helper_under_spin", 0, kCallUnderLock},
    {"helper_under_resilient", 0, kCallUnderLock},
    {"schedule_under_spin", 0, kCallUnderLock},  // K114
    {"two_spins", 0, kCallUnderLock},
    {"spin_in_resilient", 0, kCallUnderLock},
    {"exit_in_spin", 0, kExitUnderLock},
    {"exit_in_resilient", 0, kExitUnderLock},
    {"only_unlock", 0, "bpf_spin_unlock without taking a lock"},
    {"unlock_of_another", 0, "bpf_spin_unlock of different lock"},
    {"out_of_order", 0, "bpf_res_spin_unlock cannot be out of order"},
    {"irqsave_and_unlock", 0, "bpf_res_spin_unlock of different lock"},
    {"not_the_lock", 0, "off 0 doesn't point to 'struct bpf_spin_lock' that is at 8"},
    {"no_lock", 0, "map 'plain' has no valid bpf_spin_lock"},
    {"spin_of_resilient", 0, "map 'resilients' has no valid bpf_spin_lock"},
    {"resilient_of_spin", 0, "map 'spins' has no valid bpf_res_spin_lock"},
    {"read_of_lock", 0, "bpf_spin_lock cannot be accessed directly by load/store", -EACCES},
    {"spin_in_event", 0, kNotForTracing, -EINVAL, true},
    {"resilient_in_event", 0, kNotForTracing, -EINVAL, true},
};

/// The object with one of them, through libbpf's public API alone.
class LockObject {
public:
    explicit LockObject(const LockProgram& wanted) {
        libbpf_set_print(nullptr);
        object_ = bpf_object__open_file(TASKWORK_TEST_BPF_DIR "/spin_locks.bpf.o", nullptr);
        program_ = bpf_object__find_program_by_name(object_, wanted.name);
        bpf_program__set_autoload(program_, true);
        log_.resize(1 << 16);
        bpf_program__set_log_buf(program_, log_.data(), log_.size());
        load_error_ = bpf_object__load(object_);
        log_.resize(log_.find('\0'));
    }
    ~LockObject() { bpf_object__close(object_); }
    LockObject(const LockObject&) = delete;
    LockObject& operator=(const LockObject&) = delete;

    [[nodiscard]] int load_error() const { return load_error_; }
    [[nodiscard]] const std::string& log() const { return log_; }
    [[nodiscard]] int descriptor() const { return bpf_program__fd(program_); }
    /// Runs it on the calling thread; its result, or 100,000 less than the call's error.
    [[nodiscard]] int run() const {
        bpf_test_run_opts options{};
        options.sz = sizeof options;
        const int error = bpf_prog_test_run_opts(descriptor(), &options);
        return error != 0 ? error - 100'000 : static_cast<int>(options.retval);
    }

private:
    bpf_object* object_ = nullptr;
    bpf_program* program_ = nullptr;
    std::string log_;
    int load_error_ = 0;
};

}  // namespace taskwork::test
