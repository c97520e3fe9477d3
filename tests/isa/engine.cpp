// SPDX-License-Identifier: Apache-2.0
#include "tests/isa/engine.hpp"

#include <cstring>

#include "bpf/interpreter.hpp"
#include "bpf/jit/processor.hpp"
#include "bpf/jit/test_native.hpp"
#include "task/worker.hpp"
#include "tests/isa/helpers.hpp"

namespace taskwork::isa {

const char* name_of(Engine engine) {
    switch (engine) {
    case Engine::interpret:
        return "interpret";
    case Engine::jit:
        return "jit";
    case Engine::jit_baseline:
        break;
    }
    return "jit_baseline";
}

std::optional<std::string> why_absent(Engine engine) {
    if (engine != Engine::interpret && !bpf::jit::kProcessor.has_translator) {
        return "this build has no JIT: there is none for its processor";
    }
    return std::nullopt;
}

bool checks_accesses(Engine engine) { return engine == Engine::interpret; }

Outcome Runner::run(Engine engine, const std::vector<std::uint8_t>& program,
                    const std::vector<std::uint8_t>& memory) {
    if (const std::optional<std::string> absent = why_absent(engine)) {
        return {.kind = Outcome::Kind::refused, .text = *absent};
    }
    if (program.size() % sizeof(bpf_insn) != 0) {
        return {.kind = Outcome::Kind::refused,
                .text = std::to_string(program.size()) + " bytes are no whole instructions"};
    }
    std::vector<bpf_insn> insns(program.size() / sizeof(bpf_insn));
    if (!insns.empty()) {
        std::memcpy(insns.data(), program.data(), program.size());
    }
    bpf::LoadSpec spec = domain_.spec();
    spec.insns = insns.data();
    spec.insn_count = static_cast<std::uint32_t>(insns.size());
    spec.instruction_set = bpf::InstructionSet::whole;
    std::string log;
    Result<bpf::Program*> loaded = bpf::load_program(spec, log);
    if (!loaded) {
        return {.kind = Outcome::Kind::refused, .text = loaded.error().text};
    }
    const std::uint64_t address = lend(**loaded, memory);
    const Outcome outcome =
        engine == Engine::interpret
            ? interpret(**loaded, address, memory.size())
            : translate(**loaded, engine == Engine::jit, address, memory.size());
    bpf::put_program(**loaded);
    // The domain has room for 256 programs, and frees them behind a grace period.
    if (++programs_ % 128 == 0) {
        task::Worker::synchronize();
    }
    return outcome;
}

std::uint64_t Runner::lend(bpf::Program& program, const std::vector<std::uint8_t>& memory) {
    if (memory.empty()) {
        return 0;
    }
    map::Map*& map = maps_[memory.size()];
    if (map == nullptr) {
        map = &domain_.array(static_cast<std::uint32_t>(memory.size()), 1);
    }
    map::get_reference(*map);
    program.maps[0] = map;
    program.map_count = 1;
    void* value = nullptr;
    std::size_t bytes = 0;
    EXPECT_EQ(map::direct_values(*map, &value, &bytes), no_error);
    std::memcpy(value, memory.data(), memory.size());
    return reinterpret_cast<std::uint64_t>(value);
}

Outcome Runner::interpret(bpf::Program& program, std::uint64_t address, std::size_t size) {
    bpf::Execution execution;
    execution.task = task::current();
    execution.program = &program;
    const task::Section section(execution.task);
    const task::ReadSection reads(*execution.task, sync::Flavour::sleepable);
    forget_unwinding();
    bpf::Machine machine(execution, Level::task);
    const std::uint64_t r0 = machine.run(0, address, size, 0);
    if (execution.faulted && !has_unwound()) {
        const auto kind =
            static_cast<bpf::FaultKind>(program.last_fault_kind.load(std::memory_order_relaxed));
        return {.kind = Outcome::Kind::fault,
                .text =
                    "instruction " +
                    std::to_string(program.last_fault_insn.load(std::memory_order_relaxed) - 1) +
                    ": " + bpf::describe(kind)};
    }
    return {.r0 = r0};
}

Outcome Runner::translate(const bpf::Program& program, bool extensions, std::uint64_t address,
                          std::size_t size) {
    bpf::jit::Source source;
    source.insns = program.insns;
    source.insn_count = program.insn_count;
    source.function_starts = program.function_starts;
    source.extensions = extensions;
    if (const auto image = bpf::jit::translate(source); !image) {
        return {.kind = Outcome::Kind::refused, .text = image.error().text};
    }
    bpf::jit::test::Native native(source);
    give_helpers(native.state);
    return {.r0 = native.run(address, size)};
}

}  // namespace taskwork::isa
