// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/engines/engines.hpp"

#include <cstring>
#include <thread>

#include "bpf/interpreter.hpp"
#include "bpf/verifier/log.hpp"
#include "map/ring_buffer.hpp"
#include "sync/arena.hpp"

namespace taskwork::fuzz {

namespace {

/// More than programs use of it, and little to fill.
constexpr std::size_t kContextBytes = std::size_t{1} << 16;
constexpr std::size_t kContextFilled = 512;
constexpr std::size_t kPerfEventBytes = 184;
constexpr std::size_t kStackBytes = std::size_t{bpf::kFrameBytes} * bpf::kFramesMax;
constexpr std::uint32_t kHashKeys = 8;

std::byte* stack() { return task::current()->bpf_stack[static_cast<unsigned>(Level::task)]; }

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

Engines::Engines()
    : values_(&domain_.array(64, 2)), hash_(&domain_.hash(4, 48, kHashKeys)),
      ring_(&domain_.ring(4096)), direct_(&domain_.array(128, 1)),
      constants_(&domain_.array(128, 1, BPF_F_RDONLY_PROG)),
      context_(kContextBytes / sizeof(std::uint64_t)) {
    const auto fd = [this](const map::Map& map) {
        return domain_.wide_map(bpf::test::R1, map).insns[0].imm;
    };
    fds_ = {fd(*values_), fd(*hash_), fd(*ring_), fd(*direct_), fd(*constants_)};
    std::uint64_t constants[16];
    for (std::uint64_t& each : constants) {
        each = word();
    }
    const std::uint32_t key = 0;
    EXPECT_EQ(map::update_by_user(*constants_, &key, constants, BPF_ANY), no_error);
    EXPECT_EQ(map::freeze(*constants_), no_error);
}

/// Of any magnitude.
std::uint64_t Engines::word() {
    const std::uint64_t bits = random_.draw();
    const std::uint64_t drawn = random_.draw() >> (bits % 64);
    return (bits & 64) != 0 ? drawn : 0 - drawn;
}

void Engines::fill(void* to, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; i += sizeof(std::uint64_t)) {
        const std::uint64_t drawn = word();
        std::memcpy(static_cast<char*>(to) + i, &drawn, sizeof(drawn));
    }
}

void Engines::fill_memory() {
    for (map::Map* map : {values_, direct_}) {
        for (std::uint32_t key = 0; key < map->max_entries; ++key) {
            fill(map::lookup(*map, &key), map->value_size);
        }
    }
    for (std::uint32_t key = 0; key < kHashKeys; ++key) {
        if (key >= kHashKeys / 2) {
            static_cast<void>(map::remove(*hash_, &key));
            continue;
        }
        // In place where it can be: a replacement may find no memory before the section ends.
        std::uint64_t value[6];
        void* const found = map::lookup(*hash_, &key);
        fill(found == nullptr ? value : found, sizeof(value));
        if (found == nullptr) {
            static_cast<void>(map::update_by_user(*hash_, &key, value, BPF_ANY));
        }
    }
    // Records are given out as they are.
    std::memset(reinterpret_cast<void*>(sync::kArenaBase + map::ring_layout(*ring_).data_offset), 0,
                ring_->max_entries);
    fill(context_.data(), kContextFilled);
    fill(stack(), kStackBytes);
}

std::vector<std::uint64_t> Engines::take_memory() {
    std::vector<std::uint64_t> memory;
    for (map::Map* map : {values_, direct_}) {
        for (std::uint32_t key = 0; key < map->max_entries; ++key) {
            append(memory, map::lookup(*map, &key), map->value_size);
        }
    }
    for (std::uint32_t key = 0; key < kHashKeys; ++key) {
        const void* value = map::lookup(*hash_, &key);
        memory.push_back(value != nullptr ? 1 : 0);
        if (value != nullptr) {
            append(memory, value, hash_->value_size);
        }
    }
    const auto take = [](void* argument, void* data, std::size_t size) -> long {
        auto& to = *static_cast<std::vector<std::uint64_t>*>(argument);
        to.push_back(size);
        append(to, data, size);
        return 0;
    };
    map::ring_consume(*ring_, take, &memory);
    append(memory, context_.data(), kContextFilled);
    append(memory, stack(), kStackBytes);
    return memory;
}

bpf::Program* Engines::load(const Generated& program) {
    bpf::LoadSpec spec = domain_.spec();
    spec.unverified = false;
    spec.type = program.type;
    spec.flags = program.type == BPF_PROG_TYPE_SYSCALL ? BPF_F_SLEEPABLE : 0;
    spec.insns = program.insns.data();
    spec.insn_count = static_cast<std::uint32_t>(program.insns.size());
    spec.functions = program.functions;
    for (;;) {
        std::string log;
        auto loaded = bpf::load_program(spec, log);
        if (loaded) {
            return *loaded;
        }
        if (loaded.error().code != std::errc::not_enough_memory) {
            return nullptr;
        }
        std::this_thread::yield();  // The worker gives back those that were put.
    }
}

Engines::Outcome Engines::run(bpf::Program& program, std::uint64_t seed, Engine engine,
                              unsigned lower) {
    random_.start(seed);
    const task::Section section(task::current());
    const task::ReadSection reads(*task::current(), sync::Flavour::sleepable);
    fill_memory();
    const bool is_syscall = program.type == BPF_PROG_TYPE_SYSCALL;
    bpf::Execution execution;
    execution.task = task::current();
    execution.program = &program;
    execution.context = context_.data();
    execution.context_size = is_syscall ? kContextBytes : kPerfEventBytes;
    execution.context_writable = is_syscall;
    execution.interpret = engine == Engine::interpreter;
    Outcome outcome;
    // Keys that callbacks are given may lie on the stack.
    auto* const below = static_cast<char*>(__builtin_alloca(16 * (1 + lower)));
    asm volatile("" : : "r"(below) : "memory");
    outcome.result = bpf::run(execution);
    if (execution.faulted) {
        outcome.fault = program.last_fault_kind.load(std::memory_order_relaxed);
    }
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
    const Generated generated = generate(choices, fds_);
    // The same memory for the same input.
    std::uint64_t seed = 0xcbf29ce484222325U;
    for (const std::uint8_t byte : bytes) {
        seed = (seed ^ byte) * 0x100000001b3U;
    }
    ++counts.programs;
    bpf::Program* program = load(generated);
    if (program == nullptr) {
        return {};
    }
    ++counts.accepted;
    std::string wrong;
    if (program->native.code == nullptr) {
        wrong = "it has no native code";
    }
    for (unsigned i = 0; i < kMemories && wrong.empty(); ++i) {
        wrong = compare(*program, seed + i);
    }
    bpf::put_program(*program);
    if (wrong.empty()) {
        return {};
    }
    std::string text = wrong + "\n";
    for (std::uint32_t i = 0; i < generated.insns.size(); ++i) {
        text += std::to_string(i) + ": " + bpf::verifier::describe(generated.insns, i) + "\n";
        i += generated.insns[i].code == bpf::kLoadImmediate64 ? 1 : 0;
    }
    return text;
}

}  // namespace taskwork::fuzz
