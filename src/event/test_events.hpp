// SPDX-License-Identifier: Apache-2.0
//
// A host and its events in the test's own process, whose threads are sampled too.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <span>
#include <string>

#include "bpf/statistics.hpp"
#include "event/event.hpp"
#include "task/test_domain.hpp"

namespace taskwork::event {

inline constexpr EventAttributes kOften{
    .source = Source::cpu_clock, .period = 1'000'000, .frequency = 0};

class EventFixture : public ::testing::Test {
protected:
    EventFixture() {
        EXPECT_EQ(map::MapTable::create(), no_error);
        EXPECT_EQ(bpf::ProgramTable::create(), no_error);
        statistics_.emplace();
        EXPECT_EQ(EventTable::create(), no_error);
        bpf::join();
        join();
        EventTable::get().include_host.store(1, std::memory_order_relaxed);
        task::LifeHooks hooks;
        hooks.task_born = open_for;
        hooks.task_exited = close_for;
        hooks.kick = kick;
        task::Worker::set_life_hooks(hooks);
    }
    ~EventFixture() override { stop_all(); }

    /// A program that returns 0.
    static bpf::Program& load() {
        const bpf_insn code[] = {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0},
                                 {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
        return load(code);
    }

    static bpf::Program& load(std::span<const bpf_insn> code) {
        bpf::LoadSpec spec;
        spec.type = BPF_PROG_TYPE_PERF_EVENT;
        spec.insns = code.data();
        spec.insn_count = static_cast<std::uint32_t>(code.size());
        spec.name = "nothing";
        spec.license = "GPL";
        std::string log;
        auto program = bpf::load_program(spec, log);
        EXPECT_TRUE(program.has_value()) << program.error().text;
        return **program;
    }

    /// Computes on the calling thread until `condition` holds, ten seconds at most.
    template <class Condition>
    static bool compute_until(Condition condition) {
        const std::uint64_t end = platform::now_ns() + 10'000'000'000U;
        volatile std::uint64_t value = 1;
        while (!condition()) {
            for (int round = 0; round < 1000; ++round) {
                value = value * 6364136223846793005U + 1;
            }
            if (platform::now_ns() > end) {
                return false;
            }
        }
        return true;
    }

    /// Whether this machine lets us have perf events; tests that need them say so.
    static bool perf_allowed() {
        EventAttributes wanted = kOften;
        return probe(wanted, 1, nullptr) == Delivery::perf;
    }

    static std::uint64_t fired(const bpf::Program& program) { return counts(program).fired; }

    task::TestDomain domain_;
    std::optional<bpf::Statistics> statistics_;
};

}  // namespace taskwork::event
