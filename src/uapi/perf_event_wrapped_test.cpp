// SPDX-License-Identifier: Apache-2.0
//
// perf_event_open, its ioctls and links, driven as libbpf's users do it.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#ifndef TASKWORK_TEST_REFERENCE
#include "event/event.hpp"
#endif
#include "uapi/test_host.hpp"

namespace taskwork::uapi {
namespace {

perf_event_attr sampling(std::uint64_t period_ns = 1'000'000) {
    perf_event_attr attr{};
    attr.type = PERF_TYPE_SOFTWARE;
    attr.size = sizeof attr;
    attr.config = PERF_COUNT_SW_CPU_CLOCK;
    attr.sample_period = period_ns;
    return attr;
}

/// Descriptor, or negative errno.
int open_event(const perf_event_attr& attr, int pid = 0, int cpu = -1, unsigned long flags = 0) {
    const long result = syscall(SYS_perf_event_open, &attr, pid, cpu, -1, flags);
    return result < 0 ? -errno : static_cast<int>(result);
}

int control(int event, unsigned long request, unsigned long argument = 0) {
    return ioctl(event, request, argument) == 0 ? 0 : -errno;
}

#ifndef TASKWORK_TEST_REFERENCE
/// How many programs are attached in the event layer.
int attached() {
    int count = 0;
    for (const event::Event& one : event::EventTable::get().events) {
        count += one.is_attached() ? 1 : 0;
    }
    return count;
}
#endif

/// Computes until `done` or for ten seconds of the thread's time.
template <class Condition>
bool compute_until(Condition done) {
    volatile std::uint64_t sink = 0;
    for (;;) {
        for (int round = 0; round < 10000; ++round) {
            sink = sink + static_cast<std::uint64_t>(round);
        }
        if (done()) {
            return true;
        }
        timespec used{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
        if (used.tv_sec >= 10) {
            return false;
        }
    }
}

class PerfEvents : public HostTest {
protected:
#ifndef TASKWORK_TEST_REFERENCE
    void SetUp() override {
        HostTest::SetUp();
        event::EventTable::get().include_host.store(
            1, std::memory_order_relaxed);  // the events are to be ours
    }
#endif

    /// Loads the object; the descriptor of one of its programs.
    static int load_program(TestObject& object, const char* name) {
        EXPECT_EQ(object.load(), 0) << libbpf_log;
        return bpf_program__fd(object.program(name));
    }
};

TEST_F(PerfEvents, what_is_not_served_or_makes_no_sense_is_refused) {
    perf_event_attr attr = sampling();
    attr.type = PERF_TYPE_TRACEPOINT;
    attr.config = 0xffffff;
    EXPECT_LT(open_event(attr), 0);
    attr = sampling();
    attr.sample_period = std::uint64_t{1} << 63;
    EXPECT_EQ(open_event(attr), -EINVAL);
    attr = sampling();
    attr.freq = 1;
    attr.sample_freq = 1'000'000'000;
    EXPECT_EQ(open_event(attr), -EINVAL);
    attr = sampling();
    EXPECT_EQ(open_event(attr, -1, -1), -EINVAL);
    EXPECT_EQ(open_event(attr, 0, -1, 1ul << 20), -EINVAL);
    attr.size = 32;
    EXPECT_EQ(open_event(attr), -E2BIG);
    EXPECT_EQ(syscall(SYS_perf_event_open, nullptr, 0, -1, -1, 0), -1);
    EXPECT_EQ(errno, EFAULT);
    struct {
        perf_event_attr known;
        std::uint64_t unknown[40];
    } larger{};
    larger.known = sampling();
    larger.known.size = sizeof larger;
    const int event = open_event(larger.known);
    EXPECT_GE(event, 0);
    close(event);
    larger.unknown[39] = 1;
    EXPECT_EQ(open_event(larger.known), -E2BIG);
}

TEST_F(PerfEvents, an_attached_program_fires_until_its_link_is_closed) {
    TestObject object("hash_resume");
    ASSERT_GE(load_program(object, "on_event"), 0);
    const perf_event_attr attr = sampling();
    const int event = open_event(attr);
    ASSERT_GE(event, 0);
    bpf_link* link = bpf_program__attach_perf_event(object.program("on_event"), event);
    ASSERT_NE(link, nullptr) << libbpf_log;

    bpf_link_info info{};
    std::uint32_t size = sizeof info;
    ASSERT_EQ(bpf_obj_get_info_by_fd(bpf_link__fd(link), &info, &size), 0);
    EXPECT_EQ(info.type, static_cast<std::uint32_t>(BPF_LINK_TYPE_PERF_EVENT));
    bpf_prog_info program{};
    size = sizeof program;
    ASSERT_EQ(bpf_obj_get_info_by_fd(bpf_program__fd(object.program("on_event")), &program, &size),
              0);
    EXPECT_EQ(info.prog_id, program.id);

    const int values = object.map_descriptor("values");
    const auto runs = [&] {
        std::uint32_t tid = static_cast<std::uint32_t>(syscall(SYS_gettid));
        struct {
            std::uint64_t work;
            std::uint64_t runs;
            std::int64_t copied;
            char text[64];
        } value{};
        return bpf_map_lookup_elem(values, &tid, &value) == 0 ? value.runs : 0;
    };
    EXPECT_TRUE(compute_until([&] { return runs() >= 3; }));
#ifndef TASKWORK_TEST_REFERENCE
    EXPECT_EQ(attached(), 1);
#endif
    EXPECT_EQ(bpf_link__destroy(link), 0);
#ifndef TASKWORK_TEST_REFERENCE
    EXPECT_EQ(attached(), 0);
#endif
    const std::uint64_t before = runs();
    volatile unsigned sink = 0;
    for (unsigned round = 0; round < 20'000'000; ++round) {
        sink = sink + round;
    }
    EXPECT_LE(runs(), before + 1);  // one may have been on its way
}

TEST_F(PerfEvents, links_are_refused_with_the_errors_of_linux) {
    TestObject object("check_ringbuf");
    const int in_nmi = load_program(object, "in_nmi");
    const int in_task = bpf_program__fd(object.program("in_task"));
    const int event = open_event(sampling());
    ASSERT_GE(event, 0);
    EXPECT_EQ(bpf_link_create(in_nmi, -1, BPF_PERF_EVENT, nullptr), -EBADF);
    EXPECT_EQ(bpf_link_create(in_nmi, STDERR_FILENO, BPF_PERF_EVENT, nullptr), -EBADF);
    EXPECT_EQ(bpf_link_create(-1, event, BPF_PERF_EVENT, nullptr), -EBADF);
    EXPECT_EQ(bpf_link_create(STDERR_FILENO, event, BPF_PERF_EVENT, nullptr), -EINVAL);
    EXPECT_EQ(bpf_link_create(in_task, event, BPF_PERF_EVENT, nullptr), -EINVAL);
    EXPECT_EQ(bpf_link_create(in_nmi, event, BPF_XDP, nullptr), -EINVAL);
    LIBBPF_OPTS(bpf_link_create_opts, flagged, .flags = 1);
    EXPECT_EQ(bpf_link_create(in_nmi, event, BPF_PERF_EVENT, &flagged), -EINVAL);
    const int link = bpf_link_create(in_nmi, event, BPF_PERF_EVENT, nullptr);
    ASSERT_GE(link, 0);
    EXPECT_EQ(bpf_link_create(in_nmi, event, BPF_PERF_EVENT, nullptr), -EEXIST);
    EXPECT_EQ(control(event, PERF_EVENT_IOC_SET_BPF, static_cast<unsigned long>(in_nmi)), -EEXIST);
    EXPECT_EQ(bpf_link_detach(link), -EOPNOTSUPP);
    EXPECT_EQ(bpf_link_detach(event), -EINVAL);
    close(link);
    const int again = bpf_link_create(in_nmi, event, BPF_PERF_EVENT, nullptr);
    EXPECT_GE(again, 0);
    close(again);
    close(event);
}

#ifndef TASKWORK_TEST_REFERENCE

TEST_F(PerfEvents, a_program_is_attached_while_its_event_is_enabled) {
    TestObject object("check_ringbuf");
    const int program = load_program(object, "in_nmi");
    perf_event_attr attr = sampling();
    attr.disabled = 1;
    const int event = open_event(attr);
    ASSERT_GE(event, 0);
    EXPECT_EQ(control(event, PERF_EVENT_IOC_SET_BPF, 9999), -EBADF);
    EXPECT_EQ(control(event, PERF_EVENT_IOC_SET_BPF, static_cast<unsigned long>(program)), 0);
    EXPECT_EQ(attached(), 0);
    EXPECT_EQ(control(event, PERF_EVENT_IOC_ENABLE), 0);
    EXPECT_EQ(attached(), 1);
    std::uint64_t period = 0;
    EXPECT_EQ(control(event, PERF_EVENT_IOC_PERIOD, reinterpret_cast<unsigned long>(&period)),
              -EINVAL);
    period = 2'000'000;
    EXPECT_EQ(control(event, PERF_EVENT_IOC_PERIOD, reinterpret_cast<unsigned long>(&period)), 0);
    EXPECT_EQ(attached(), 1);
    EXPECT_EQ(control(event, PERF_EVENT_IOC_DISABLE), 0);
    EXPECT_EQ(attached(), 0);
    EXPECT_EQ(control(event, PERF_EVENT_IOC_ENABLE), 0);
    std::uint64_t id = 0;
    EXPECT_EQ(control(event, PERF_EVENT_IOC_ID, reinterpret_cast<unsigned long>(&id)), 0);
    EXPECT_NE(id, 0u);
    EXPECT_EQ(control(event, 0x1234), -ENOTTY);
    const int duplicate = dup(event);
    close(event);
    EXPECT_EQ(attached(), 1);  // the event is still open
    close(duplicate);
    EXPECT_EQ(attached(), 0);
}

TEST_F(PerfEvents, an_event_that_is_not_served_is_named) {
    perf_event_attr attr = sampling();
    attr.config = PERF_COUNT_SW_PAGE_FAULTS;
    EXPECT_EQ(open_event(attr), -ENOENT);
    EXPECT_NE(last_diagnosis().find("type 1, config 2"), std::string::npos) << last_diagnosis();
    const int event = open_event(sampling());
    EXPECT_EQ(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, event, 0), MAP_FAILED);
    close(event);
}

TEST_F(PerfEvents, a_link_outlives_the_descriptors_of_its_event_and_program) {
    TestObject object("check_ringbuf");
    const int program = dup(load_program(object, "in_nmi"));
    const int event = open_event(sampling());
    const int link = bpf_link_create(program, event, BPF_PERF_EVENT, nullptr);
    ASSERT_GE(link, 0);
    close(program);
    close(event);
    EXPECT_EQ(attached(), 1);
    bpf_link_info info{};
    std::uint32_t size = sizeof info;
    ASSERT_EQ(bpf_obj_get_info_by_fd(link, &info, &size), 0);
    const int found = bpf_link_get_fd_by_id(info.id);
    EXPECT_GE(found, 0);
    close(link);
    EXPECT_EQ(attached(), 1);
    close(found);
    EXPECT_EQ(attached(), 0);
    EXPECT_EQ(bpf_link_get_fd_by_id(info.id), -ENOENT);
}

#endif

}  // namespace
}  // namespace taskwork::uapi
