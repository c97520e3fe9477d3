// SPDX-License-Identifier: Apache-2.0
#include "host.hpp"

#include <bpf/btf.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <iterator>
#include <vector>

#include "bpf/kfuncs.hpp"
#include "bpf/program.hpp"
#include "map/map.hpp"
#include "sync/arena.hpp"
#include "task/worker.hpp"
#include "uapi/btf_object.hpp"
#include "uapi/descriptors.hpp"
#include "uapi/registry.hpp"
#include "uapi/test_malformed.hpp"
#include "uapi/uapi.hpp"

namespace taskwork::fuzz {
namespace {

constexpr std::size_t kArenaBytes = std::size_t{256} << 20;
constexpr std::uint32_t kTasks = 16;
constexpr unsigned kDroppedMax = 128;
constexpr std::uint64_t kQuickNs = 20'000'000;

struct Counts {
    unsigned maps = 0;
    unsigned programs = 0;
    unsigned types = 0;
    bool operator==(const Counts&) const = default;
};

template <class Next>
unsigned count_ids(Next next) {
    unsigned count = 0;
    for (std::uint32_t id = next(0U); id != 0; id = next(id)) {
        ++count;
    }
    return count;
}

Counts counts() {
    return {count_ids([](std::uint32_t id) { return uapi::next_map_id(id); }),
            count_ids([](std::uint32_t id) { return uapi::next_program_id(id); }),
            count_ids([](std::uint32_t id) { return uapi::BtfObject::next_id(id); })};
}

Counts counts_at_start;
bool started = false;
alignas(8) char log_buffer[Log::kBytes];

std::uint64_t cpu_now_ns() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(now.tv_nsec);
}

/// A map and a program with types, let go of. Their types are remembered until others are made,
/// which is when all that are gone are forgotten (uapi/registry.hpp).
void remember_others() {
    uapi::RawBtf btf;
    btf.integer();
    const std::uint32_t main = btf.function("main");
    const std::vector<std::byte> bytes = btf.bytes();
    union bpf_attr attr;
    std::memset(&attr, 0, sizeof attr);
    attr.btf = reinterpret_cast<std::uintptr_t>(bytes.data());
    attr.btf_size = static_cast<std::uint32_t>(bytes.size());
    const long types = call(BPF_BTF_LOAD, attr);
    require(types >= 0, "right types are taken");

    std::memset(&attr, 0, sizeof attr);
    attr.map_type = BPF_MAP_TYPE_HASH;
    attr.key_size = 4;
    attr.value_size = 4;
    attr.max_entries = 1;
    attr.btf_fd = static_cast<std::uint32_t>(types);
    attr.btf_key_type_id = 1;
    attr.btf_value_type_id = 1;
    const long map = call(BPF_MAP_CREATE, attr);
    require(map >= 0, "a map can be made");

    const bpf_insn insns[] = {
        {.code = BPF_ALU64 | BPF_MOV, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
        {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
    const bpf_func_info function{0, main};
    std::memset(&attr, 0, sizeof attr);
    attr.prog_type = BPF_PROG_TYPE_PERF_EVENT;
    attr.insns = reinterpret_cast<std::uintptr_t>(insns);
    attr.insn_cnt = std::size(insns);
    attr.license = reinterpret_cast<std::uintptr_t>("GPL");
    attr.prog_btf_fd = static_cast<std::uint32_t>(types);
    attr.func_info = reinterpret_cast<std::uintptr_t>(&function);
    attr.func_info_cnt = 1;
    attr.func_info_rec_size = sizeof function;
    const long program = call(BPF_PROG_LOAD, attr);
    require(program >= 0, "a program can be loaded");
    drop(program);
    drop(map);
    drop(types);
}

/// The worker frees in steps, each a grace period after the one before.
void settle() {
    for (unsigned round = 0; round < 4; ++round) {
        task::Worker::synchronize();
    }
}

Counts settled_counts() {
    settle();
    remember_others();
    settle();
    return counts();
}

}  // namespace

void require(bool holds, const char* what) {
    if (!holds) {
        std::fprintf(stderr, "fuzz: not so: %s\n", what);
        std::abort();
    }
}

void start_host() {
    if (started) {
        return;
    }
    started = true;
    require(sync::Arena::create(kArenaBytes).has_value(), "there is an arena");
    require(task::Worker::start(kTasks).has_value(), "there is a worker");
    require(uapi::start().has_value(), "bpf(2) is answered");
    counts_at_start = settled_counts();
    std::atexit(require_nothing_left);
}

const std::vector<std::uint32_t>& kfunc_ids() {
    static const std::vector<std::uint32_t> ids = [] {
        std::vector<std::uint32_t> found;
        for (std::int32_t number = 0; number < static_cast<std::int32_t>(bpf::kKfuncs); ++number) {
            const int id = btf__find_by_name_kind(uapi::BtfObject::kernel()->types(),
                                                  bpf::kfunc(number).name, BTF_KIND_FUNC);
            require(id > 0, "the kernel's BTF has the kfuncs");
            found.push_back(static_cast<std::uint32_t>(id));
        }
        return found;
    }();
    return ids;
}

long call(int command, union bpf_attr& attr) { return uapi::bpf(command, &attr, sizeof attr); }

void drop(long descriptor) {
    uapi::forget_descriptor(static_cast<int>(descriptor));
    close(static_cast<int>(descriptor));
}

void released(unsigned dropped) {
    static unsigned waiting = 0;
    waiting += dropped;
    if (waiting >= kDroppedMax) {
        waiting = 0;
        task::Worker::synchronize();
    }
}

Bounds::Bounds(std::uint64_t cpu_ns) : begin_ns_(cpu_now_ns()), cpu_ns_(cpu_ns) {}

Bounds::~Bounds() { require(cpu_now_ns() - begin_ns_ <= cpu_ns_, "an input ends in time"); }

bool Bounds::is_quick() const { return cpu_now_ns() - begin_ns_ < kQuickNs; }

void require_nothing_left() {
    const Counts now = settled_counts();
    std::fprintf(stderr, "fuzz: left behind: maps %d, programs %d, types %d\n",
                 static_cast<int>(now.maps - counts_at_start.maps),
                 static_cast<int>(now.programs - counts_at_start.programs),
                 static_cast<int>(now.types - counts_at_start.types));
    require(now == counts_at_start, "nothing is left behind");
}

Log::Log() { log_buffer[0] = '\0'; }
std::uint64_t Log::address() const { return reinterpret_cast<std::uintptr_t>(log_buffer); }
const char* Log::text() const { return log_buffer; }

}  // namespace taskwork::fuzz
