// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/soundness/harness.hpp"

#include "bpf/verifier/log.hpp"

namespace taskwork::fuzz {

Harness::Harness() { bpf::ExecutionObserver::current = &follower_; }

void Harness::fill_memory() {
    world_.fill_arrays();
    for (std::uint32_t key = 0; key < World::kHashKeys / 2; ++key) {
        world_.fill_element(key);
    }
    world_.empty_ring();
    world_.fill(world_.context.data(), World::kPerfEventBytes);
    world_.fill(World::stack(), std::size_t{bpf::kFrameBytes} * 3);
}

bpf::Program* Harness::load(const Generated& program) {
    bpf::LoadSpec spec = world_.spec_of(program);
    spec.observer = &recording_;
    spec.insns_processed_max = insns_walked_max;
    spec.log_level = log_level;
    const auto loaded = world_.load(spec, log, [this] { recording_.clear(); });
    refusal = loaded ? "" : loaded.error().text;
    return loaded ? *loaded : nullptr;
}

std::string Harness::execute(bpf::Program& program) {
    const bool is_syscall = program.type == BPF_PROG_TYPE_SYSCALL;
    for (unsigned i = 0; i < kExecutions; ++i) {
        fill_memory();
        const std::uint64_t faults = program.faults.load(std::memory_order_relaxed);
        follower_.start(program, World::stack(), world_.context.data());
        {
            // Its works run at the end of this one.
            const task::Section section(task::current());
            world_.domain.run(program, world_.context.data(), World::context_bytes(program),
                              is_syscall);
        }
        const bool faulted = program.faults.load(std::memory_order_relaxed) != faults;
        if (!faulted) {
            follower_.end();
        }
        ++counts.executions;
        counts.instructions += follower_.steps();
        if (!follower_.violation().empty()) {
            return follower_.violation();
        }
        const auto fault =
            static_cast<bpf::FaultKind>(program.last_fault_kind.load(std::memory_order_relaxed));
        if (!faulted) {
            continue;
        }
        if (fault == bpf::FaultKind::too_long) {
            ++counts.cut_off;
        } else {
            return bpf::verifier::text_of(
                "instruction %d: %s",
                static_cast<int>(program.last_fault_insn.load(std::memory_order_relaxed)) - 1,
                bpf::describe(fault));
        }
    }
    return {};
}

std::string Harness::judge(std::span<const std::uint8_t> bytes) {
    Choices choices(bytes);
    const Generated generated = generate(choices, world_.fds);
    world_.random.start(seed_of(bytes));
    ++counts.programs;
    bpf::Program* program = load(generated);
    if (program == nullptr) {
        return {};
    }
    ++counts.accepted;
    std::string wrong;
    if (recording_.is_whole()) {
        count_constructs(generated, counts.constructs);
        world_.put_in_reach(*program);
        wrong = execute(*program);
        world_.no_program_in_reach();
    } else {
        ++counts.too_large;
    }
    bpf::put_program(*program);
    counts.jumps_to_covering = follower_.jumps_to_covering;
    counts.loosened = follower_.loosened;
    counts.works = follower_.works;
    counts.programs_called = follower_.programs_called;
    return wrong.empty() ? wrong : listing(wrong, generated);
}

}  // namespace taskwork::fuzz
