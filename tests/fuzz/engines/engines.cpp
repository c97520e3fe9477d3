// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/engines/engines.hpp"

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <string>

#include "bpf/interpreter.hpp"
#include "bpf/verifier/log.hpp"
#include "map/ring_buffer.hpp"

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

bool asks(const bpf::Program& program, std::initializer_list<std::int32_t> helpers) {
    for (std::uint32_t i = 0; i < program.insn_count; ++i) {
        const bpf_insn& insn = program.insns[i];
        if (insn.code == bpf::kLoadImmediate64) {
            ++i;
        } else if (insn.code == (BPF_JMP | BPF_CALL) && insn.src_reg == 0 &&
                   std::find(helpers.begin(), helpers.end(), insn.imm) != helpers.end()) {
            return true;
        }
    }
    return false;
}

bool has_may_goto(const bpf::Program& program) {
    return std::any_of(program.insns, program.insns + program.insn_count, [](const bpf_insn& insn) {
        return insn.code == (BPF_JMP | bpf::kOpConditionalPseudo);
    });
}

}  // namespace

void Engines::fill_memory() {
    world_.fill_maps();
    // Records are given out as they are.
    world_.fill_ring([](void* bytes, std::size_t size) { std::memset(bytes, 0, size); });
    world_.fill(world_.context.data(), kContextFilled);
    world_.fill(World::stack(), kStackBytes);
}

void Engines::take_memory(std::vector<std::uint64_t>& words) {
    for (map::Map* map : {world_.values, world_.direct, world_.spin, world_.resilient}) {
        for (std::uint32_t key = 0; key < map->max_entries; ++key) {
            append(words, map::lookup(*map, &key), map->value_size);
        }
    }
    for (std::uint32_t key = 0; key < World::kHashKeys; ++key) {
        const void* value = map::lookup(*world_.hash, &key);
        words.push_back(value != nullptr ? 1 : 0);
        words.resize(words.size() + world_.hash->value_size / sizeof(std::uint64_t));
        if (value != nullptr) {
            std::memcpy(&words.back() + 1 - world_.hash->value_size / sizeof(std::uint64_t), value,
                        world_.hash->value_size);
        }
    }
    append(words, world_.context.data(), kContextFilled);
    append(words, World::stack(), kStackBytes);
    const auto take = [](void* argument, void* data, std::size_t size) -> long {
        auto& to = *static_cast<std::vector<std::uint64_t>*>(argument);
        to.push_back(size);
        append(to, data, size);
        return 0;
    };
    // As many as there are; each takes more of the ring than here.
    const std::size_t end = words.size() + world_.ring->max_entries / sizeof(std::uint64_t);
    map::ring_consume(*world_.ring, take, &words);
    words.resize(end);
}

Engines::Outcome Engines::run(bpf::Program& program, std::uint64_t seed, Engine engine,
                              std::int64_t budget, unsigned lower) {
    world_.random.start(seed);
    const task::Section section(task::current());
    const task::ReadSection reads(*task::current(), sync::Flavour::sleepable);
    fill_memory();
    // Keys that callbacks are given may lie on the stack.
    auto* const below = static_cast<char*>(__builtin_alloca(16 * (1 + lower)));
    asm volatile("" : : "r"(below) : "memory");
    const World::Run ran = world_.run(program, engine == Engine::interpreter, budget);
    Outcome outcome{.too_long = ran.fault == static_cast<std::uint64_t>(bpf::FaultKind::too_long),
                    .used = budget - ran.left,
                    .words = {ran.result, ran.fault}};
    take_memory(outcome.words);
    return outcome;
}

void Engines::note_ratio(const Outcome& interpreted, const Outcome& native) {
    if (native.used <= 0 || interpreted.used < kCountedMin) {
        return;
    }
    const double ratio = static_cast<double>(interpreted.used) / static_cast<double>(native.used);
    counts.ratio_max = std::max(counts.ratio_max, ratio);
    counts.ratio_min = counts.ratio_min == 0 ? ratio : std::min(counts.ratio_min, ratio);
}

std::string Engines::compare(bpf::Program& program, std::uint64_t seed) {
    /// Of both engines in turn, before something is called a difference: where nothing has varied,
    /// and where something has.
    constexpr unsigned kRunsSame = 4;
    constexpr unsigned kRunsVarying = 32;
    // An address may have been kept but for its lowest byte, or two.
    constexpr unsigned kLower[kRunsSame] = {0, 1, 0x100 / 16, 0x10000 / 16};

    Outcome expected = run(program, seed, Engine::interpreter, kBudget);
    Outcome native = run(program, seed, Engine::native, kBudget);
    ++counts.executions;
    std::int64_t interpreted_budget = kBudget;
    std::int64_t native_budget = kBudget;
    if (expected.too_long && native.too_long) {
        ++counts.cut_off;
        return {};
    }
    // There it may have ended a loop, in each engine as that counts; native code alone only if the
    // interpreter has not ended long before.
    const auto is_late = [](const Outcome& of) {
        return of.used > kBudget - kBudget / static_cast<std::int64_t>(bpf::kMayGotoReserve);
    };
    if (has_may_goto(program) &&
        (is_late(expected) || (is_late(native) && expected.used > kBudget / 2))) {
        ++counts.cut_off;
        return {};
    }
    if (expected.too_long) {
        ++counts.cut_interpreter;
        interpreted_budget = kBudgetInterpreted;
        expected = run(program, seed, Engine::interpreter, interpreted_budget);
    } else if (native.too_long) {
        ++counts.cut_native;
        native_budget = kBudgetNative;
        native = run(program, seed, Engine::native, native_budget);
    }
    note_ratio(expected, native);
    const bool asks_time = asks(program, {BPF_FUNC_ktime_get_ns});
    bool varies =
        asks_time || asks(program, {BPF_FUNC_get_prandom_u32, BPF_FUNC_get_smp_processor_id});
    bool has_varied = false;
    // Words that native code has not left as any run of the interpreter has.
    std::vector<std::size_t> differ;
    for (std::size_t i = 0; i < expected.words.size(); ++i) {
        if (expected.words[i] != native.words[i]) {
            differ.push_back(i);
        }
    }
    if (differ.empty()) {
        ++counts.compared;
        return {};
    }
    const Outcome first = native;
    for (unsigned i = 1; i < (varies ? kRunsVarying : kRunsSame) && !differ.empty(); ++i) {
        const unsigned lower = kLower[i % kRunsSame];
        const Outcome again = run(program, seed, Engine::interpreter, interpreted_budget, lower);
        has_varied = has_varied || again.words != expected.words;
        varies = varies || has_varied;
        native = run(program, seed, Engine::native, native_budget, lower);
        if (varies) {
            std::erase_if(differ, [&](std::size_t word) {
                return again.words[word] != expected.words[word] ||
                       native.words[word] == expected.words[word];
            });
        }
    }
    if (differ.empty()) {
        ++counts.unrepeatable;
        return {};
    }
    if (asks_time && has_varied) {
        ++counts.by_time;
        return {};
    }
    std::string text;
    for (const std::size_t word : differ) {
        text += bpf::verifier::text_of(
            "%s%s %llx, natively %llx", text.empty() ? "" : "; ",
            word == 0   ? "result"
            : word == 1 ? "fault"
                        : ("word " + std::to_string(word - 2) + " of the memory").c_str(),
            static_cast<unsigned long long>(expected.words[word]),
            static_cast<unsigned long long>(first.words[word]));
    }
    return text;
}

std::string Engines::judge(std::span<const std::uint8_t> bytes) {
    Choices choices(bytes);
    const Generated generated = generate(choices, world_.fds, Audience::engines);
    const std::uint64_t seed = seed_of(bytes);
    ++counts.programs;
    std::string log;
    bpf::LoadSpec spec = world_.spec_of(generated);
    if (seed % kWalkedWholeEach != 0) {
        spec.insns_processed_max = kInsnsWalkedMax;
    }
    const auto loaded = world_.load(spec, log);
    if (!loaded) {
        return {};
    }
    bpf::Program& program = **loaded;
    ++counts.accepted;
    std::string wrong;
    if (program.native.code == nullptr) {
        wrong = "it has no native code";
    }
    world_.put_in_reach(program);
    for (unsigned i = 0; i < kMemories && wrong.empty(); ++i) {
        wrong = compare(program, seed + i);
    }
    world_.no_program_in_reach();
    bpf::put_program(program);
    return wrong.empty() ? wrong : listing(wrong, generated);
}

}  // namespace taskwork::fuzz
