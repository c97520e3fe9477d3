// SPDX-License-Identifier: Apache-2.0
//
// An ordinary user needs no leave of the kernel's: a process that is killed at its first real
// bpf(2) loads, runs, reads and lets go of objects all the same; so does one that is refused
// process_vm_readv and process_vm_writev.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>

#include "uapi/test_host.hpp"

namespace taskwork::uapi {
namespace {

constexpr unsigned kNobody = 65534;

bool kill_at_bpf() {
    sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bpf, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{.len = 4, .filter = filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/// As some containers do; which error they give is theirs.
bool refuse_process_vm(unsigned error) {
    sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_writev, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{.len = 5, .filter = filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/// 0, or the number of the step that failed. `process_vm_error`: 0, or how it is refused.
int whole_life(unsigned process_vm_error) {
    // The folders above the objects may be root's alone, as /root is: they are found from here.
    if (chdir(TASKWORK_TEST_BPF_DIR) != 0 ||
        (getuid() == 0 && (setgid(kNobody) != 0 || setuid(kNobody) != 0))) {
        return 1;
    }
    if (!kill_at_bpf() || (process_vm_error != 0 && !refuse_process_vm(process_vm_error))) {
        return 2;
    }
    libbpf_set_print(keep_log);
    task::TestDomain domain;
    if (!start()) {
        return 3;
    }
    for (const char* name : {"uapi_probe", "sampler", "check_ringbuf"}) {
        TestObject object(name, ".");
        if (object.load() != 0 || !libbpf_log.empty()) {
            std::fprintf(stderr, "%s: %s%s\n", name, libbpf_log.c_str(), last_diagnosis().c_str());
            return 4;
        }
    }
    TestObject object("uapi_probe", ".");
    struct {
        std::int32_t target;
        std::int32_t result;
        std::uint64_t number;
        char text[16];
    } arguments{};
    arguments.target = static_cast<int>(syscall(SYS_gettid));
    if (object.load() != 0 || object.run("schedule", &arguments, sizeof arguments) != 0 ||
        arguments.result != 0) {
        return 5;
    }
    std::uint32_t key = 1;
    std::uint64_t value[2] = {};
    if (bpf_map_lookup_elem(object.map_descriptor("values"), &key, value) != 0 || value[0] != 1) {
        return 6;  // the work ran at the end of the call
    }
    return 0;
}

void expect_whole_life(unsigned process_vm_error) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        int step = 99;
        try {
            step = whole_life(process_vm_error);
        } catch (const std::exception& error) {
            std::fprintf(stderr, "%s\n", error.what());
        }
        _exit(step);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
    EXPECT_EQ(WEXITSTATUS(status), 0) << "step";
}

TEST(Sandbox, a_whole_life_without_the_kernels_bpf_as_an_ordinary_user) { expect_whole_life(0); }

TEST(Sandbox, a_whole_life_where_process_vm_readv_is_refused_with_any_error) {
    for (const unsigned error : {EPERM, ENOSYS, EACCES, EINVAL}) {
        expect_whole_life(error);
    }
}

// That the filter above would have told.
TEST(Sandbox, the_filter_kills_at_a_real_bpf) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        if (!kill_at_bpf()) {
            _exit(1);
        }
        long result = SYS_bpf;
        asm volatile("syscall" : "+a"(result) : "D"(0L), "S"(0L), "d"(0L) : "rcx", "r11", "memory");
        _exit(2);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), SIGSYS);
}

}  // namespace
}  // namespace taskwork::uapi
