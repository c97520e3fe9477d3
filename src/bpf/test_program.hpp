// SPDX-License-Identifier: Apache-2.0
//
// For tests of this layer and those below: a domain of the test process with maps and programs,
// written with test_assembler.hpp.
//
//     BpfDomain domain;
//     Program& program = domain.load({set(R0, 7), leave()});
//     EXPECT_EQ(domain.run(program), 7u);
#pragma once

#include <linux/bpf.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "bpf/kfuncs.hpp"
#include "bpf/program.hpp"
#include "bpf/test_assembler.hpp"
#include "defer/task_work.hpp"
#include "map/map.hpp"
#include "task/run_point.hpp"
#include "task/test_domain.hpp"

namespace taskwork::bpf::test {

/// What a program sees of an error.
constexpr std::uint64_t negative(int error) {
    return static_cast<std::uint64_t>(-std::int64_t{error});
}

// ---- Domain -------------------------------------------------------------------------------------

class BpfDomain {
public:
    BpfDomain() {
        EXPECT_EQ(defer::WorkTable::create(defer::WorkTable::kContextsDefault), no_error);
        defer::WorkTable::join();
        EXPECT_EQ(map::MapTable::create(), no_error);
        EXPECT_EQ(ProgramTable::create(), no_error);
        join();
        describe_task(*task::current());
    }

    /// The map as descriptor number `fd` for wide_map().
    map::Map& add_map(const map::MapSpec& spec) {
        auto made = map::create(spec);
        EXPECT_TRUE(made.has_value()) << made.error().text;
        map::get_user(**made);
        maps_.push_back(*made);
        return **made;
    }
    map::Map& array(std::uint32_t value_size, std::uint32_t entries, std::uint32_t flags = 0,
                    std::int32_t task_work_offset = map::kNoField) {
        map::MapSpec spec;
        spec.type = BPF_MAP_TYPE_ARRAY;
        spec.key_size = 4;
        spec.value_size = value_size;
        spec.max_entries = entries;
        spec.flags = flags;
        spec.fields.task_work = task_work_offset;
        return add_map(spec);
    }
    map::Map& hash(std::uint32_t key_size, std::uint32_t value_size, std::uint32_t entries,
                   std::int32_t task_work_offset = map::kNoField) {
        map::MapSpec spec;
        spec.type = BPF_MAP_TYPE_HASH;
        spec.key_size = key_size;
        spec.value_size = value_size;
        spec.max_entries = entries;
        spec.fields.task_work = task_work_offset;
        return add_map(spec);
    }
    map::Map& ring(std::uint32_t bytes) {
        map::MapSpec spec;
        spec.type = BPF_MAP_TYPE_RINGBUF;
        spec.max_entries = bytes;
        return add_map(spec);
    }
    [[nodiscard]] Piece wide_map(Register dst, const map::Map& map) const {
        return wide(dst, static_cast<std::uint64_t>(fd_of(map)), BPF_PSEUDO_MAP_FD);
    }
    [[nodiscard]] Piece wide_value(Register dst, const map::Map& map, std::uint32_t offset) const {
        return wide(dst, std::uint64_t{offset} << 32 | static_cast<std::uint32_t>(fd_of(map)),
                    BPF_PSEUDO_MAP_VALUE);
    }

    /// Id 1000 + n stands for the kfunc with our number n.
    static bpf_insn call_kfunc(const char* name) {
        return make(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, 1000 + kfunc_by_name(name));
    }

    LoadSpec spec() const {
        LoadSpec spec;
        spec.type = BPF_PROG_TYPE_PERF_EVENT;
        spec.name = "test";
        spec.license = "GPL";
        spec.unverified = true;
        spec.map_by_fd = [this](int fd) -> map::Map* {
            const auto index = static_cast<std::size_t>(fd - kFirstFd);
            return fd >= kFirstFd && index < maps_.size() ? maps_[index] : nullptr;
        };
        spec.kfunc_name = [](std::uint32_t id) -> std::string {
            return id >= 1000 && id < 1000 + kKfuncs
                       ? kfunc(static_cast<std::int32_t>(id - 1000)).name
                       : "";
        };
        return spec;
    }
    LoadSpec sleepable_spec() const {
        LoadSpec with = spec();
        with.type = BPF_PROG_TYPE_SYSCALL;
        with.flags = BPF_F_SLEEPABLE;
        return with;
    }
    Result<Program*> try_load(const LoadSpec& with, const std::vector<Piece>& pieces) {
        std::vector<bpf_insn> insns;
        for (const Piece& piece : pieces) {
            insns.insert(insns.end(), piece.insns.begin(),
                         piece.insns.begin() + static_cast<std::ptrdiff_t>(piece.count));
        }
        LoadSpec spec = with;
        spec.insns = insns.data();
        spec.insn_count = static_cast<std::uint32_t>(insns.size());
        log.clear();
        return load_program(spec, log);
    }
    Result<Program*> try_load(const std::vector<Piece>& pieces) { return try_load(spec(), pieces); }
    /// Fails the test, and ends it, if the program is refused.
    Program& load(const LoadSpec& with, const std::vector<Piece>& pieces) {
        auto loaded = try_load(with, pieces);
        if (!loaded) {
            ADD_FAILURE() << loaded.error().text;
            std::abort();
        }
        return **loaded;
    }
    Program& load(const std::vector<Piece>& pieces) { return load(spec(), pieces); }
    Program& load_sleepable(const std::vector<Piece>& pieces) {
        return load(sleepable_spec(), pieces);
    }

    /// Puts the only reference, and waits until its place is free: there are 256.
    static void unload(Program& program) {
        put_program(program);
        task::wait_until([&program] {
            const std::uint8_t state = sync::Pool::load(&program).state();
            return state != kProgramLive && state != kProgramDying;
        });
    }

    /// Runs it in the calling thread, at level task.
    std::uint64_t run(Program& program, void* context = nullptr, std::size_t context_size = 0,
                      bool context_writable = false) {
        prepare(program, context, context_size);
        execution.context_writable = context_writable;
        const task::Section section(execution.task);
        return bpf::run(execution);
    }
    /// Runs it in the calling thread as an event's handler does.
    std::uint64_t run_in_nmi(Program& program, void* context = nullptr,
                             std::size_t context_size = 0, void* ucontext = nullptr) {
        prepare(program, context, context_size);
        execution.ucontext = ucontext;
        const task::NmiScope scope(*execution.task, platform::stack_pointer(), false);
        EXPECT_TRUE(scope.entered());
        return bpf::run(execution);
    }
    /// Runs it, expecting this fault at this instruction.
    void expect_fault(Program& program, FaultKind kind, std::uint64_t insn, void* context = nullptr,
                      std::size_t context_size = 0) {
        const std::uint64_t faults = program.faults.load(std::memory_order_relaxed);
        EXPECT_EQ(run(program, context, context_size), 0u);
        EXPECT_TRUE(execution.faulted);
        EXPECT_EQ(program.faults.load(std::memory_order_relaxed), faults + 1);
        EXPECT_STREQ(describe(static_cast<FaultKind>(
                         program.last_fault_kind.load(std::memory_order_relaxed))),
                     describe(kind));
        EXPECT_EQ(program.last_fault_insn.load(std::memory_order_relaxed), insn + 1);
    }

    Execution execution;
    std::string log;

private:
    void prepare(Program& program, void* context, std::size_t context_size) {
        execution = Execution{};
        execution.task = task::current();
        execution.program = &program;
        execution.context = context;
        execution.context_size = context_size;
    }

    static constexpr int kFirstFd = 100;
    [[nodiscard]] int fd_of(const map::Map& map) const {
        for (std::size_t i = 0; i < maps_.size(); ++i) {
            if (maps_[i] == &map) {
                return kFirstFd + static_cast<int>(i);
            }
        }
        return -1;
    }

    task::TestDomain domain_;
    std::vector<map::Map*> maps_;
};

}  // namespace taskwork::bpf::test
