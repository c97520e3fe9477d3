// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/engines/beside_kernel.hpp"

#include <time.h>

#include <algorithm>
#include <cctype>
#include <cstring>

#include "bpf/verifier/log.hpp"
#include "map/ring_buffer.hpp"
#include "tests/fuzz/engines/walked.hpp"

namespace taskwork::fuzz {

namespace {

/// Of the interpreter: some hundred thousand instructions.
constexpr std::uint64_t kLongestNs = 20'000'000;

/// Of the hash's elements, for a grace period: as many as an execution seldom needs are left.
constexpr std::uint64_t kWaitingMost = 64;

std::uint64_t processor_time_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(now.tv_nsec);
}

std::array<std::uint64_t, 16> constants_of(const World& world) {
    std::array<std::uint64_t, 16> constants;
    const std::uint32_t key = 0;
    std::memcpy(constants.data(), map::lookup(*world.constants, &key), sizeof constants);
    return constants;
}

Generated generated(std::span<const std::uint8_t> bytes, const MapFds& fds) {
    Choices choices(bytes);
    return generate(choices, fds, Audience::kernel);
}

std::string without_numbers(const std::string& text) {
    constexpr const char* kDecimal = "0123456789";
    constexpr const char* kHexadecimal = "0123456789abcdef";
    std::string plain;
    for (std::size_t at = 0; at < text.size();) {
        if (std::isdigit(static_cast<unsigned char>(text[at])) == 0) {
            plain += text[at++];
            continue;
        }
        const bool is_hexadecimal = text.compare(at, 2, "0x") == 0;
        at = std::min(text.find_first_not_of(is_hexadecimal ? kHexadecimal : kDecimal,
                                             at + (is_hexadecimal ? 2 : 0)),
                      text.size());
        plain += 'N';
    }
    return plain;
}

}  // namespace

BesideKernel::BesideKernel() : constants_(constants_of(world_)), kernel_(constants_) {}

void BesideKernel::fill_memory(std::uint64_t seed, std::uint64_t leftovers) {
    world_.random.start(seed);
    world_.fill_maps();
    world_.fill(world_.context.data(), Memory::kContextBytes);
    world_.random.start(leftovers);
    world_.fill_ring([this](void* bytes, std::size_t size) { world_.fill(bytes, size); });
    world_.fill(World::stack(), std::size_t{bpf::kFrameBytes} * bpf::kFramesMax);
}

Memory BesideKernel::take_memory() {
    Memory memory;
    std::memcpy(memory.context.data(), world_.context.data(), sizeof memory.context);
    const auto take = [](map::Map& map, std::uint32_t key, auto& to) {
        const void* const value = map::lookup(map, &key);
        if (value != nullptr) {
            std::memcpy(to.data(), value, sizeof to);
        }
        return value != nullptr;
    };
    for (std::uint32_t key = 0; key < memory.values.size(); ++key) {
        take(*world_.values, key, memory.values[key]);
    }
    take(*world_.direct, 0, memory.direct);
    take(*world_.constants, 0, memory.constants);
    for (std::uint32_t key = 0; key < memory.hash.size(); ++key) {
        Memory::Element element;
        if (take(*world_.hash, key, element)) {
            memory.hash[key] = element;
        }
    }
    const auto take_record = [](void* to, void* data, std::size_t size) -> long {
        const auto* const bytes = static_cast<const std::uint8_t*>(data);
        static_cast<std::vector<Memory::Record>*>(to)->emplace_back(bytes, bytes + size);
        return 0;
    };
    map::ring_consume(*world_.ring, take_record, &memory.records);
    return memory;
}

BesideKernel::Outcome BesideKernel::run(bpf::Program& program, std::uint64_t seed, bool interpret,
                                        std::uint64_t leftovers, Memory* start) {
    if (map::usage(*world_.hash).waiting >= kWaitingMost) {
        task::Worker::synchronize();
    }
    const task::Section section(task::current());
    const task::ReadSection reads(*task::current(), sync::Flavour::sleepable);
    fill_memory(seed, leftovers);
    if (start != nullptr) {
        *start = take_memory();
    }
    const std::uint64_t refused = map::usage(*world_.hash).refused_no_memory;
    const World::Run ran = world_.run(program, interpret);
    const bool lacked_memory = map::usage(*world_.hash).refused_no_memory != refused;
    return {ran.result, ran.fault, lacked_memory, take_memory()};
}

bool BesideKernel::is_repeatable_here(const Case& of, std::uint64_t seed, const Outcome& first) {
    constexpr std::uint64_t kTimes = 64;  // A bit of what was left may be all that matters.
    for (std::uint64_t leftovers = 3; leftovers < 3 + kTimes; ++leftovers) {
        if (!(run(of.ours, seed, true, leftovers) == first)) {
            return false;
        }
    }
    return true;
}

/// Once more, with other maps.
bool BesideKernel::is_repeatable_there(const Case& of, const Memory& start,
                                       const Outcome& first) const {
    KernelSide other(constants_);
    const KernelSide::Loaded loaded = other.load(generated(of.bytes, other.fds));
    if (!loaded.program) {
        return false;
    }
    for (unsigned i = 0; i < 2; ++i) {
        Outcome again{0, 0, false, start};
        again.result = other.run(loaded.program, again.memory).value_or(0);
        if (!(again == first)) {
            return false;
        }
    }
    return true;
}

std::string BesideKernel::compare(const Case& of, std::uint64_t seed) {
    ++counts.executions;
    const std::uint64_t begin_ns = processor_time_ns();
    Memory start;
    const Outcome expected = run(of.ours, seed, true, 1, &start);
    const auto too_long = static_cast<std::uint64_t>(bpf::FaultKind::too_long);
    if (expected.fault == too_long || processor_time_ns() - begin_ns > kLongestNs) {
        ++counts.cut_off;
        return {};
    }
    if (expected.lacked_memory) {
        ++counts.lacked_memory;
        return {};
    }
    if (!(run(of.ours, seed, true, 2) == expected)) {
        ++counts.unrepeatable;
        return {};
    }
    const auto told = [&](const char* by, const Outcome& other) {
        return bpf::verifier::text_of("result %llx, %s %llx; fault %llu, %s %llu",
                                      static_cast<unsigned long long>(expected.result), by,
                                      static_cast<unsigned long long>(other.result),
                                      static_cast<unsigned long long>(expected.fault), by,
                                      static_cast<unsigned long long>(other.fault)) +
               expected.memory.difference(other.memory);
    };
    const Outcome native = run(of.ours, seed, false, 2);
    if (native.fault == too_long) {
        ++counts.cut_off;
        return {};
    }
    if (!(native == expected)) {
        if (is_repeatable_here(of, seed, expected)) {
            return told("natively", native);
        }
        ++counts.unrepeatable;
        return {};
    }
    Outcome there{0, 0, false, start};
    const std::optional<std::uint32_t> result = kernel_.run(of.theirs.program, there.memory);
    if (!result) {
        ++counts.not_run;
        return {};
    }
    there.result = *result;
    Outcome short_result = expected;
    short_result.result = static_cast<std::uint32_t>(expected.result);
    if (there == short_result) {
        ++counts.compared;
        return {};
    }
    if (!is_repeatable_here(of, seed, expected) || !is_repeatable_there(of, start, there)) {
        ++counts.unrepeatable;
        return {};
    }
    return told("in the kernel", there);
}

void BesideKernel::note_refusal(const KernelSide::Loaded& theirs, const Generated& here) {
    ++counts.refused;
    Refusals& same = refusals[without_numbers(theirs.reason)];
    ++same.count;
    if (same.programs.size() < kept_refusals) {
        same.programs.push_back(listing(theirs.reason, here) + theirs.log);
    }
}

std::string BesideKernel::judge(std::span<const std::uint8_t> bytes) {
    const Generated here = generated(bytes, world_.fds);
    ++counts.programs;
    if (!KernelSide::may_be_shown(here)) {
        ++counts.not_shown;
        return {};
    }
    Walked walked(here);
    bpf::LoadSpec spec = world_.spec_of(here);
    spec.observer = &walked;
    std::string log;
    const auto loaded = world_.load(spec, log);
    if (!loaded) {
        return {};
    }
    bpf::Program& program = **loaded;
    ++counts.accepted;
    if (walked.has_idle_callback() || walked.tells_addresses()) {
        ++(walked.has_idle_callback() ? counts.not_shown : counts.tell_addresses);
        bpf::put_program(program);
        return {};
    }
    Case of{bytes, program, kernel_.load(generated(bytes, kernel_.fds))};
    std::string wrong;
    if (of.theirs.program) {
        const std::uint64_t seed = seed_of(bytes);
        for (unsigned i = 0; i < kMemories && wrong.empty(); ++i) {
            wrong = compare(of, seed + i);
        }
    } else {
        note_refusal(of.theirs, here);
    }
    bpf::put_program(program);
    return wrong.empty() ? wrong : listing(wrong, here);
}

}  // namespace taskwork::fuzz
