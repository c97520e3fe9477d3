// SPDX-License-Identifier: Apache-2.0
//
// libbpf, unchanged, on top of this layer: objects are loaded, run, read and let go.
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <thread>

#include "bpf/program.hpp"
#include "defer/task_work.hpp"
#include "map/map.hpp"
#include "uapi/test_host.hpp"
#include "uapi/uapi.hpp"

namespace taskwork::uapi {
namespace {

using task::wait_until;

/// Of uapi_probe.bpf.c.
struct Arguments {
    std::int32_t target = 0;
    std::int32_t result = 0;
    std::uint64_t number = 0;
    char text[16] = {};
};

class Loading : public HostTest {
protected:
    static void load(TestObject& object) {
        ASSERT_EQ(object.load(), 0) << libbpf_log << last_diagnosis();
    }
    static defer::WorkCounts domain_counts() {
        return defer::counts(defer::WorkTable::get().domain);
    }
};

TEST_F(Loading, examples_and_test_objects_load_without_a_word_from_libbpf) {
    for (const char* name : {"hash_resume", "array_signal", "sampler", "stack_sampler",
                             "check_ringbuf", "check_maps", "slot_life", "uapi_probe"}) {
        TestObject object(name);
        load(object);
        EXPECT_EQ(libbpf_log, "") << name;
    }
}

TEST_F(Loading, what_we_do_not_have_is_refused_and_named) {
    struct Case {
        const char* object;
        int error;
        const char* named;
    };
    for (const Case& expected : {
             Case{"fail_unknown_helper", -EINVAL, "109"},
             Case{"fail_unknown_map_user_ringbuf", -EINVAL, "inbox"},
             Case{"fail_unknown_program_xdp", -EINVAL, "XDP"},
             Case{"fail_not_gpl", -EINVAL, "GPL"},
         }) {
        TestObject object(expected.object);
        clear_diagnosis();
        const int error = object.load();
        EXPECT_LT(error, 0) << expected.object;
        EXPECT_NE(last_diagnosis().find(expected.named), std::string::npos)
            << expected.object << ": " << error << " " << last_diagnosis();
    }
    TestObject kfunc("fail_unknown_kfunc");
    EXPECT_LT(kfunc.load(), 0);
    EXPECT_NE(libbpf_log.find("bpf_taskwork_test_no_such_kfunc"), std::string::npos) << libbpf_log;
}

TEST_F(Loading, commands_and_flags_that_linux_does_not_have_are_refused) {
    union bpf_attr attr;
    std::memset(&attr, 0, sizeof attr);
    for (const int command : {-1, 9999, static_cast<int>(BPF_ITER_CREATE)}) {
        EXPECT_EQ(syscall(SYS_bpf, command, &attr, sizeof attr), -1);
        EXPECT_EQ(errno, EINVAL);
        EXPECT_NE(last_diagnosis().find(std::to_string(command)), std::string::npos)
            << last_diagnosis();
    }
    const bpf_insn insns[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0},
                              {.code = BPF_JMP | BPF_EXIT}};
    LIBBPF_OPTS(bpf_prog_load_opts, options);
    const auto load_flagged = [&](std::uint32_t flags) {
        options.prog_flags = flags;
        return bpf_prog_load(BPF_PROG_TYPE_PERF_EVENT, "p", "GPL", insns, 2, &options);
    };
    EXPECT_EQ(load_flagged(1 << 8), -EINVAL);
    EXPECT_EQ(load_flagged(1U << 31), -EINVAL);
    const int program = load_flagged(1 << 7);
    EXPECT_GE(program, 0);
    close(program);
}

TEST_F(Loading, sections_hold_what_they_held_and_can_be_mapped_as_a_skeleton_does) {
    TestObject object("uapi_probe");
    bpf_map* constants = object.map("uapi_pro.rodata");
    std::size_t size = 0;
    const void* initial = bpf_map__initial_value(constants, &size);
    ASSERT_NE(initial, nullptr);
    std::uint64_t factor = 5;
    ASSERT_EQ(bpf_map__set_initial_value(constants, &factor, size), 0);
    load(object);
    bpf_map* data = object.map("uapi_pro.data");
    void* place = const_cast<void*>(bpf_map__initial_value(data, &size));
    void* view =
        mmap(place, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, bpf_map__fd(data), 0);
    ASSERT_EQ(view, place);
    auto* initialised = static_cast<std::uint64_t*>(view);
    EXPECT_EQ(*initialised, 40u);
    *initialised = 100;
    Arguments arguments;
    arguments.number = 7;
    EXPECT_EQ(object.run("sections", &arguments, sizeof arguments), 7 * 5 + 101);
    EXPECT_EQ(arguments.number, 7u * 5 + 101);
    EXPECT_EQ(*initialised, 101u);
    // Constants stay constant.
    std::uint32_t key = 0;
    EXPECT_EQ(bpf_map_update_elem(bpf_map__fd(constants), &key, &factor, 0), -EPERM);
}

TEST_F(Loading, fields_of_a_task_are_relocated_onto_ours) {
    TestObject object("uapi_probe");
    load(object);
    Arguments arguments;
    ASSERT_EQ(object.run("identity", &arguments, sizeof arguments), 0);
    EXPECT_EQ(arguments.target, static_cast<int>(syscall(SYS_gettid)));
    EXPECT_EQ(arguments.result, getpid());
    EXPECT_STREQ(reinterpret_cast<const char*>(arguments.number), program_invocation_name);
    EXPECT_EQ(std::strncmp(program_invocation_short_name, arguments.text, 15), 0);
}

TEST_F(Loading, a_syscall_program_is_run_by_the_rules_of_linux) {
    TestObject object("uapi_probe");
    load(object);
    const int program = bpf_program__fd(object.program("sections"));
    const auto run = [&](const std::function<void(bpf_test_run_opts&)>& change) {
        Arguments arguments;
        bpf_test_run_opts options{};
        options.sz = sizeof options;
        options.ctx_in = &arguments;
        options.ctx_size_in = sizeof arguments;
        change(options);
        return bpf_prog_test_run_opts(program, &options);
    };
    char bytes[16] = {};
    EXPECT_EQ(run([](auto&) {}), 0);
    EXPECT_EQ(run([](auto& options) { options.repeat = 2; }), -EINVAL);
    EXPECT_EQ(run([](auto& options) { options.ctx_size_in = 0; }), -EINVAL);
    EXPECT_EQ(run([](auto& options) { options.ctx_in = nullptr; }), -EINVAL);
    EXPECT_EQ(run([](auto& options) { options.ctx_in = reinterpret_cast<void*>(8); }), -EFAULT);
    EXPECT_EQ(run([](auto& options) { options.flags = 1; }), -EINVAL);
    // The program reads and writes `number`, to byte 16.
    EXPECT_EQ(run([](auto& options) { options.ctx_size_in = 16; }), 0);
    EXPECT_EQ(run([](auto& options) { options.ctx_size_in = 15; }), -EINVAL);
    EXPECT_EQ(run([&](auto& options) {
                  options.data_in = bytes;
                  options.data_size_in = sizeof bytes;
              }),
              -EINVAL);
    EXPECT_EQ(bpf_prog_test_run_opts(bpf_program__fd(object.program("on_event")), nullptr), -524);
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    EXPECT_EQ(bpf_prog_test_run_opts(object.map_descriptor("values"), &options), -EINVAL);
    EXPECT_EQ(bpf_prog_test_run_opts(9999, &options), -EBADF);
}

TEST_F(Loading, a_program_tells_its_maps_runs_and_types) {
    TestObject object("uapi_probe");
    load(object);
    const int program = bpf_program__fd(object.program("sections"));
    Arguments arguments;
    ASSERT_GE(object.run("sections", &arguments, sizeof arguments), 0);
    const int statistics = bpf_enable_stats(BPF_STATS_RUN_TIME);
    ASSERT_GE(statistics, 0);
    ASSERT_GE(object.run("sections", &arguments, sizeof arguments), 0);
    close(statistics);
    ASSERT_GE(object.run("sections", &arguments, sizeof arguments), 0);
    std::uint32_t maps[16] = {};
    bpf_prog_info info{};
    info.nr_map_ids = 16;
    info.map_ids = reinterpret_cast<std::uintptr_t>(maps);
    std::uint32_t size = sizeof info;
    ASSERT_EQ(bpf_obj_get_info_by_fd(program, &info, &size), 0);
    EXPECT_EQ(info.type, static_cast<std::uint32_t>(BPF_PROG_TYPE_SYSCALL));
    EXPECT_STREQ(info.name, "sections");
    EXPECT_EQ(info.run_cnt, 1u);  // While statistics were enabled.
    EXPECT_GT(info.run_time_ns, 0u);
    EXPECT_EQ(info.gpl_compatible, 1u);
    EXPECT_EQ(info.created_by_uid, getuid());
    EXPECT_GE(info.nr_map_ids, 2u);  // .rodata and .data at least
    for (std::uint32_t index = 0; index < info.nr_map_ids; ++index) {
        const int map = bpf_map_get_fd_by_id(maps[index]);
        EXPECT_GE(map, 0);
        close(map);
    }
    btf* types = btf__load_from_kernel_by_id(info.btf_id);
    ASSERT_NE(types, nullptr);
    EXPECT_GT(btf__find_by_name_kind(types, "arguments", BTF_KIND_STRUCT), 0);
    btf__free(types);
    const int again = bpf_prog_get_fd_by_id(info.id);
    EXPECT_GE(again, 0);
    close(again);
    EXPECT_NE(program_of(program), nullptr);
    EXPECT_EQ(map_of(program), nullptr);
    map::Map* map = map_of(object.map_descriptor("values"));
    ASSERT_NE(map, nullptr);
    const btf* map_types = btf_of(*map);
    ASSERT_NE(map_types, nullptr);
    EXPECT_STREQ(btf__name_by_offset(map_types,
                                     btf__type_by_id(map_types, map->btf_value_type_id)->name_off),
                 "value");
}

TEST_F(Loading, the_log_is_given_and_cut_as_linux_does) {
    const bpf_insn unknown_helper[] = {
        {.code = BPF_JMP | BPF_CALL, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 99999},
        {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
    char log[4096] = {};
    union bpf_attr attr;
    std::memset(&attr, 0, sizeof attr);
    attr.prog_type = BPF_PROG_TYPE_SYSCALL;
    attr.prog_flags = BPF_F_SLEEPABLE;
    attr.insns = reinterpret_cast<std::uintptr_t>(unknown_helper);
    attr.insn_cnt = 2;
    attr.license = reinterpret_cast<std::uintptr_t>("GPL");
    const auto load_with_log = [&](unsigned level, char* buffer, unsigned size) {
        attr.log_level = level;
        attr.log_buf = reinterpret_cast<std::uintptr_t>(buffer);
        attr.log_size = size;
        const long result = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr);
        return result < 0 ? -errno : static_cast<int>(result);
    };
    EXPECT_EQ(load_with_log(1, log, sizeof log), -EINVAL);
    EXPECT_NE(std::string(log).find("99999"), std::string::npos) << log;
    const std::string whole = log;
    char small[8] = {};
    EXPECT_EQ(load_with_log(1, small, sizeof small), -ENOSPC);
    EXPECT_EQ(small, whole.substr(whole.size() - 7));
    EXPECT_EQ(load_with_log(1 | 8, small, sizeof small), -ENOSPC);
    EXPECT_EQ(small, whole.substr(0, 7));
    EXPECT_EQ(load_with_log(0, small, sizeof small), -EINVAL);
    EXPECT_EQ(load_with_log(64, small, sizeof small), -EINVAL);
    EXPECT_EQ(load_with_log(1, small, 0), -EINVAL);
    EXPECT_EQ(load_with_log(1, reinterpret_cast<char*>(8), 64), -EFAULT);
    LIBBPF_OPTS(bpf_prog_load_opts, unknown_flag, .prog_flags = 1u << 30);
    EXPECT_EQ(bpf_prog_load(BPF_PROG_TYPE_SYSCALL, "x", "GPL", unknown_helper, 2, &unknown_flag),
              -EINVAL);
    EXPECT_EQ(bpf_prog_load(BPF_PROG_TYPE_SYSCALL, "x", "GPL", unknown_helper, 0, nullptr), -E2BIG);
    EXPECT_EQ(
        bpf_prog_load(static_cast<bpf_prog_type>(500), "x", "GPL", unknown_helper + 1, 1, nullptr),
        -EINVAL);
    EXPECT_EQ(
        bpf_prog_load(BPF_PROG_TYPE_SYSCALL, "bad name", "GPL", unknown_helper + 1, 1, nullptr),
        -EINVAL);
}

TEST_F(Loading, malformed_btf_is_refused) {
    char rubbish[64] = {1, 2, 3};
    EXPECT_EQ(bpf_btf_load(rubbish, sizeof rubbish, nullptr), -EINVAL);
    EXPECT_EQ(bpf_btf_load(rubbish, 32u << 20, nullptr), -E2BIG);
    EXPECT_EQ(bpf_btf_load(reinterpret_cast<void*>(8), 64, nullptr), -EFAULT);
}

TEST_F(Loading, our_kernels_types_stand_where_linux_has_its_own) {
    btf* kernel = btf__load_vmlinux_btf();
    ASSERT_NE(kernel, nullptr);
    EXPECT_GT(btf__find_by_name_kind(kernel, "bpf_task_work_schedule_signal", BTF_KIND_FUNC), 0);
    EXPECT_LT(btf__find_by_name_kind(kernel, "vfs_read", BTF_KIND_FUNC), 0);
    btf__free(kernel);
    std::uint32_t first = 0;
    ASSERT_EQ(bpf_btf_get_next_id(0, &first), 0);
    const int descriptor = bpf_btf_get_fd_by_id(first);
    ASSERT_GE(descriptor, 0);
    char name[16] = {};
    bpf_btf_info info{};
    info.name = reinterpret_cast<std::uintptr_t>(name);
    info.name_len = sizeof name;
    std::uint32_t size = sizeof info;
    EXPECT_EQ(bpf_obj_get_info_by_fd(descriptor, &info, &size), 0);
    EXPECT_STREQ(name, "vmlinux");
    EXPECT_EQ(info.kernel_btf, 1u);
    close(descriptor);
}

TEST_F(Loading, a_work_runs_in_the_thread_it_was_scheduled_onto) {
    TestObject object("uapi_probe");
    load(object);
    task::TargetThread target;
    Arguments arguments;
    arguments.target = target.task().tid;
    ASSERT_EQ(object.run("schedule", &arguments, sizeof arguments), 0);
    EXPECT_EQ(arguments.result, 0);
    ASSERT_EQ(object.run("schedule", &arguments, sizeof arguments), 0);
    EXPECT_EQ(arguments.result, -EBUSY);
    const defer::WorkCounts before = domain_counts();
    target.release();
    std::uint32_t key = 1;
    std::uint64_t value[2] = {};
    EXPECT_EQ(bpf_map_lookup_elem(object.map_descriptor("values"), &key, value), 0);
    EXPECT_EQ(value[0], 1u);
    EXPECT_EQ(domain_counts().ran, before.ran + 1);
    arguments.target = INT32_MAX;
    EXPECT_EQ(object.run("schedule", &arguments, sizeof arguments), -2);
}

// K97, K102.
TEST_F(Loading, closing_every_descriptor_cancels_what_is_pending) {
    task::TargetThread target;
    const defer::WorkCounts before = domain_counts();
    {
        TestObject object("uapi_probe");
        load(object);
        Arguments arguments;
        arguments.target = target.task().tid;
        ASSERT_EQ(object.run("schedule", &arguments, sizeof arguments), 0);
        ASSERT_EQ(arguments.result, 0);
        EXPECT_EQ(domain_counts().in_flight, before.in_flight + 1);
    }
    wait_until([&] { return domain_counts().cancelled == before.cancelled + 1; });
    target.release();
    EXPECT_EQ(domain_counts().ran, before.ran);
}

// The map's own user count decides, not the program's reference to the map (K11, K103); a
// descriptor by id makes a user again (K12).
TEST_F(Loading, a_schedule_is_refused_once_nobody_holds_the_map) {
    int program = -1;
    bpf_map_info info{};
    task::TargetThread target;
    {
        TestObject object("uapi_probe");
        load(object);
        program = dup(bpf_program__fd(object.program("schedule")));
        std::uint32_t key = 1;
        const std::uint64_t value[2] = {};
        ASSERT_EQ(bpf_map_update_elem(object.map_descriptor("values"), &key, value, 0), 0);
        std::uint32_t size = sizeof info;
        ASSERT_EQ(bpf_obj_get_info_by_fd(object.map_descriptor("values"), &info, &size), 0);
    }
    Arguments arguments;
    arguments.target = target.task().tid;
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    options.ctx_in = &arguments;
    options.ctx_size_in = sizeof arguments;
    EXPECT_EQ(bpf_prog_test_run_opts(program, &options), 0);
    EXPECT_EQ(arguments.result, -EBUSY);
    const defer::WorkCounts before = domain_counts();
    const int again = bpf_map_get_fd_by_id(info.id);
    ASSERT_GE(again, 0);
    EXPECT_EQ(bpf_prog_test_run_opts(program, &options), 0);
    EXPECT_EQ(arguments.result, 0);
    EXPECT_EQ(domain_counts().in_flight, before.in_flight + 1);
    close(again);
    wait_until([&] { return domain_counts().cancelled == before.cancelled + 1; });
    close(program);
}

// K101.
TEST_F(Loading, a_pending_callback_outlives_its_programs_descriptors) {
    task::TargetThread target;
    int values = -1;
    int counters = -1;
    std::uint32_t id = 0;
    {
        TestObject object("uapi_probe");
        load(object);
        values = dup(object.map_descriptor("values"));
        counters = dup(object.map_descriptor("uapi_pro.bss"));
        id = program_of(bpf_program__fd(object.program("schedule")))->id;
        Arguments arguments;
        arguments.target = target.task().tid;
        ASSERT_EQ(object.run("schedule", &arguments, sizeof arguments), 0);
        ASSERT_EQ(arguments.result, 0);
    }
    target.release();
    std::uint32_t key = 0;
    std::uint64_t callbacks = 0;
    EXPECT_EQ(bpf_map_lookup_elem(counters, &key, &callbacks), 0);
    EXPECT_EQ(callbacks, 1u);
    // And then the program goes away.
    wait_until([&] {
        const int found = bpf_prog_get_fd_by_id(id);
        if (found >= 0) {
            close(found);
        }
        return found == -ENOENT;
    });
    close(values);
    close(counters);
}

TEST_F(Loading, descriptors_are_followed_through_every_kind_of_dup) {
    TestObject object("uapi_probe");
    load(object);
    const int values = object.map_descriptor("values");
    const int copies[] = {dup(values), dup2(values, 200), dup3(values, 201, O_CLOEXEC),
                          fcntl(values, F_DUPFD_CLOEXEC, 0)};
    for (const int copy : copies) {
        ASSERT_GE(copy, 0);
        EXPECT_EQ(map_of(copy), map_of(values));
        EXPECT_EQ(close(copy), 0);
        EXPECT_EQ(map_of(copy), nullptr);
    }
    const int high = dup2(values, 300);
    ASSERT_EQ(close_range(300, 310, 0), 0);
    EXPECT_EQ(map_of(high), nullptr);
    // A number that was closed behind our back and means another file now is not taken for ours.
    const int victim = dup(values);
    ASSERT_EQ(syscall(SYS_close, victim), 0);
    FILE* other = std::tmpfile();
    ASSERT_NE(other, nullptr);
    ASSERT_EQ(fileno(other), victim);
    EXPECT_EQ(map_of(victim), nullptr);
    std::fclose(other);
}

// A child that closes what it has inherited does not cancel the host's works.
TEST_F(Loading, a_forked_child_has_no_part_in_the_hosts_descriptors) {
    TestObject object("uapi_probe");
    load(object);
    task::TargetThread target;
    Arguments arguments;
    arguments.target = target.task().tid;
    ASSERT_EQ(object.run("schedule", &arguments, sizeof arguments), 0);
    const defer::WorkCounts before = domain_counts();
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        std::uint32_t key = 1;
        std::uint64_t value[2] = {};
        const int map = object.map_descriptor("values");
        const bool refused = bpf_map_lookup_elem(map, &key, value) == -ESRCH;
        close_range(3, ~0u, 0);
        _exit(refused ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    EXPECT_EQ(domain_counts().cancelled, before.cancelled);
    target.release();
    EXPECT_EQ(domain_counts().ran, before.ran + 1);
}

}  // namespace
}  // namespace taskwork::uapi
