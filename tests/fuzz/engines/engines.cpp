// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/engines/engines.hpp"

#include <cstring>

#include "bpf/interpreter.hpp"
#include "bpf/verifier/log.hpp"
#include "map/ring_buffer.hpp"
#include "sync/arena.hpp"

namespace taskwork::fuzz {

namespace {

/// More of the context than programs use, and little to fill.
constexpr std::size_t kContextFilled = 512;
constexpr std::size_t kStackBytes = std::size_t{bpf::kFrameBytes} * bpf::kFramesMax;

void append(std::vector<std::uint64_t>& to, const void* from, std::size_t bytes) {
    const std::size_t at = to.size();
    to.resize(at + bytes / sizeof(std::uint64_t));
    std::memcpy(to.data() + at, from, bytes / sizeof(std::uint64_t) * sizeof(std::uint64_t));
}

/// For a random number, the time, or the processor.
bool asks_what_varies(const bpf::Program& program) {
    for (std::uint32_t i = 0; i < program.insn_count; ++i) {
        const bpf_insn& insn = program.insns[i];
        if (insn.code == bpf::kLoadImmediate64) {
            ++i;
        } else if (insn.code == (BPF_JMP | BPF_CALL) && insn.src_reg == 0 &&
                   (insn.imm == BPF_FUNC_get_prandom_u32 || insn.imm == BPF_FUNC_ktime_get_ns ||
                    insn.imm == BPF_FUNC_get_smp_processor_id)) {
            return true;
        }
    }
    return false;
}

}  // namespace

void Engines::fill_memory() {
    world_.fill_maps();
    // Records are given out as they are.
    std::memset(
        reinterpret_cast<void*>(sync::kArenaBase + map::ring_layout(*world_.ring).data_offset), 0,
        world_.ring->max_entries);
    world_.fill(world_.context.data(), kContextFilled);
    world_.fill(World::stack(), kStackBytes);
}

std::vector<std::uint64_t> Engines::take_memory() {
    std::vector<std::uint64_t> memory;
    for (map::Map* map : {world_.values, world_.direct}) {
        for (std::uint32_t key = 0; key < map->max_entries; ++key) {
            append(memory, map::lookup(*map, &key), map->value_size);
        }
    }
    for (std::uint32_t key = 0; key < World::kHashKeys; ++key) {
        const void* value = map::lookup(*world_.hash, &key);
        memory.push_back(value != nullptr ? 1 : 0);
        if (value != nullptr) {
            append(memory, value, world_.hash->value_size);
        }
    }
    const auto take = [](void* argument, void* data, std::size_t size) -> long {
        auto& to = *static_cast<std::vector<std::uint64_t>*>(argument);
        to.push_back(size);
        append(to, data, size);
        return 0;
    };
    map::ring_consume(*world_.ring, take, &memory);
    append(memory, world_.context.data(), kContextFilled);
    append(memory, World::stack(), kStackBytes);
    return memory;
}

Engines::Outcome Engines::run(bpf::Program& program, std::uint64_t seed, Engine engine,
                              unsigned lower) {
    world_.random.start(seed);
    const task::Section section(task::current());
    const task::ReadSection reads(*task::current(), sync::Flavour::sleepable);
    fill_memory();
    // Keys that callbacks are given may lie on the stack.
    auto* const below = static_cast<char*>(__builtin_alloca(16 * (1 + lower)));
    asm volatile("" : : "r"(below) : "memory");
    const World::Run ran = world_.run(program, engine == Engine::interpreter);
    Outcome outcome{ran.result, ran.fault, {}};
    outcome.memory = take_memory();
    return outcome;
}

std::string Engines::compare(bpf::Program& program, std::uint64_t seed) {
    const Outcome expected = run(program, seed, Engine::interpreter);
    const Outcome native = run(program, seed, Engine::native);
    ++counts.executions;
    const auto too_long = static_cast<std::uint64_t>(bpf::FaultKind::too_long);
    if (expected.fault == too_long || native.fault == too_long) {
        ++counts.cut_off;
        return {};
    }
    const auto same = [&expected](const Outcome& outcome) {
        return outcome.result == expected.result && outcome.fault == expected.fault &&
               outcome.memory == expected.memory;
    };
    if (same(native)) {
        ++counts.compared;
        return {};
    }
    bool repeatable = !asks_what_varies(program);
    for (unsigned i = 0; i < 3 && repeatable; ++i) {
        repeatable = same(run(program, seed, Engine::interpreter, 1 + i));
    }
    if (!repeatable) {
        ++counts.unrepeatable;
        return {};
    }
    std::string text =
        bpf::verifier::text_of("result %llx, natively %llx; fault %llu, natively %llu",
                               static_cast<unsigned long long>(expected.result),
                               static_cast<unsigned long long>(native.result),
                               static_cast<unsigned long long>(expected.fault),
                               static_cast<unsigned long long>(native.fault));
    for (std::size_t i = 0; i < expected.memory.size() && i < native.memory.size(); ++i) {
        if (expected.memory[i] != native.memory[i]) {
            text += bpf::verifier::text_of("; word %zu of the memory %llx, natively %llx", i,
                                           static_cast<unsigned long long>(expected.memory[i]),
                                           static_cast<unsigned long long>(native.memory[i]));
        }
    }
    return text;
}

std::string Engines::judge(std::span<const std::uint8_t> bytes) {
    Choices choices(bytes);
    const Generated generated = generate(choices, world_.fds);
    const std::uint64_t seed = seed_of(bytes);
    ++counts.programs;
    std::string log;
    const auto loaded = world_.load(world_.spec_of(generated), log);
    if (!loaded) {
        return {};
    }
    bpf::Program& program = **loaded;
    ++counts.accepted;
    std::string wrong;
    if (program.native.code == nullptr) {
        wrong = "it has no native code";
    }
    for (unsigned i = 0; i < kMemories && wrong.empty(); ++i) {
        wrong = compare(program, seed + i);
    }
    bpf::put_program(program);
    return wrong.empty() ? wrong : listing(wrong, generated);
}

}  // namespace taskwork::fuzz
