// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/soundness/harness.hpp"

#include <algorithm>
#include <cstring>
#include <thread>

#include "bpf/verifier/log.hpp"
#include "map/ring_buffer.hpp"

namespace taskwork::fuzz {

namespace {

/// As far as the verifier lets a syscall program reach.
constexpr std::size_t kContextBytes = std::size_t{1} << 16;
constexpr std::size_t kPerfEventBytes = 184;

}  // namespace

Harness::Harness()
    : values_(&domain_.array(64, 2)), hash_(&domain_.hash(4, 48, 8)), ring_(&domain_.ring(4096)),
      direct_(&domain_.array(128, 1)), constants_(&domain_.array(128, 1, BPF_F_RDONLY_PROG)),
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
    bpf::ExecutionObserver::current = &follower_;
}

/// Of any magnitude.
std::uint64_t Harness::word() {
    const std::uint64_t bits = random_.draw();
    const std::uint64_t drawn = random_.draw() >> (bits % 64);
    return (bits & 64) != 0 ? drawn : 0 - drawn;
}

void Harness::fill(void* to, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; i += sizeof(std::uint64_t)) {
        const std::uint64_t drawn = word();
        std::memcpy(static_cast<char*>(to) + i, &drawn, sizeof(drawn));
    }
}

void Harness::fill_memory() {
    for (map::Map* map : {values_, direct_}) {
        for (std::uint32_t key = 0; key < map->max_entries; ++key) {
            fill(map::lookup(*map, &key), map->value_size);
        }
    }
    std::uint64_t value[6];
    for (std::uint32_t key = 0; key < 4; ++key) {
        if (void* found = map::lookup(*hash_, &key); found != nullptr) {
            fill(found, sizeof(value));
        } else {
            fill(value, sizeof(value));
            static_cast<void>(map::update_by_user(*hash_, &key, value, BPF_ANY));
        }
    }
    const auto ignore = [](void*, void*, std::size_t) -> long { return 0; };
    map::ring_consume(*ring_, ignore, nullptr);
    fill(context_.data(), kPerfEventBytes);
    fill(task::current()->bpf_stack[static_cast<unsigned>(Level::task)],
         std::size_t{bpf::kFrameBytes} * 3);
}

bpf::Program* Harness::load(const Generated& program) {
    bpf::LoadSpec spec = domain_.spec();
    spec.type = program.type;
    spec.flags = program.type == BPF_PROG_TYPE_SYSCALL ? BPF_F_SLEEPABLE : 0;
    spec.insns = program.insns.data();
    spec.insn_count = static_cast<std::uint32_t>(program.insns.size());
    spec.functions = program.functions;
    spec.unverified = false;
    spec.observer = &recording_;
    spec.log_level = log_level;
    for (;;) {
        recording_.clear();
        log.clear();
        auto loaded = bpf::load_program(spec, log);
        if (loaded) {
            refusal.clear();
            return *loaded;
        }
        refusal = loaded.error().text;
        if (loaded.error().code != std::errc::not_enough_memory) {
            return nullptr;
        }
        // The worker gives back those that were put.
        std::this_thread::yield();
    }
}

std::string Harness::execute(bpf::Program& program) {
    const bool is_syscall = program.type == BPF_PROG_TYPE_SYSCALL;
    for (unsigned i = 0; i < kExecutions; ++i) {
        fill_memory();
        follower_.start(program, task::current()->bpf_stack[static_cast<unsigned>(Level::task)],
                        context_.data());
        domain_.run(program, context_.data(), is_syscall ? kContextBytes : kPerfEventBytes,
                    is_syscall);
        ++counts.executions;
        counts.instructions += follower_.steps();
        if (!follower_.violation().empty()) {
            return follower_.violation();
        }
        const auto fault =
            static_cast<bpf::FaultKind>(program.last_fault_kind.load(std::memory_order_relaxed));
        if (!domain_.execution.faulted) {
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

std::string Harness::listing(const std::string& what, const Generated& program) const {
    std::string text = what + "\n";
    for (std::uint32_t i = 0; i < program.insns.size(); ++i) {
        text += std::to_string(i) + ": " + bpf::verifier::describe(program.insns, i) + "\n";
        i += program.insns[i].code == bpf::kLoadImmediate64 ? 1 : 0;
    }
    return text;
}

std::string Harness::judge(std::span<const std::uint8_t> bytes) {
    Choices choices(bytes);
    const Generated generated = generate(choices, fds_);
    // The same memory for the same input.
    std::uint64_t seed = 0xcbf29ce484222325U;
    for (const std::uint8_t byte : bytes) {
        seed = (seed ^ byte) * 0x100000001b3U;
    }
    random_.start(seed);
    ++counts.programs;
    bpf::Program* program = load(generated);
    if (program == nullptr) {
        return {};
    }
    ++counts.accepted;
    std::string wrong;
    if (recording_.is_whole()) {
        wrong = execute(*program);
    } else {
        ++counts.too_large;
    }
    bpf::put_program(*program);
    counts.jumps_to_covering = follower_.jumps_to_covering;
    counts.loosened = follower_.loosened;
    return wrong.empty() ? wrong : listing(wrong, generated);
}

}  // namespace taskwork::fuzz
