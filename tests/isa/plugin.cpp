// SPDX-License-Identifier: Apache-2.0
//
// taskwork-bpf-plugin: runs one program, in the protocol of public conformance suites for BPF.
//
//     taskwork-bpf-plugin [MEMORY] [--interpret | --jit] [--elf] < PROGRAM
//
// MEMORY and PROGRAM are hexadecimal bytes, blanks or none between them; with --elf PROGRAM is an
// ELF object, itself or in hexadecimal. R0 is printed in hexadecimal, without 0x. Everything else
// is a line on standard error and an exit status:
//
//     0   R0 is on standard output
//     1   the program was refused: its structure is wrong
//     2   bad words, or input that is no program
//     3   the program was ended, for it did what it must not
//     77  this build does not have the engine: there is no JIT for its processor
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <iostream>
#include <iterator>
#include <string>

#include "tests/isa/elf_code.hpp"
#include "tests/isa/engine.hpp"
#include "tests/isa/text.hpp"

namespace {

using namespace taskwork::isa;
using Bytes = std::vector<std::uint8_t>;

constexpr int kRefused = 1;
constexpr int kBadInput = 2;
constexpr int kEnded = 3;
constexpr int kAbsent = 77;

int fail(int status, const std::string& text) {
    std::fprintf(stderr, "taskwork-bpf-plugin: %s\n", text.c_str());
    return status;
}

taskwork::Result<Bytes> program_of(const std::string& input, bool elf) {
    Bytes raw(input.begin(), input.end());
    if (!is_elf(raw)) {
        taskwork::Result<Bytes> bytes = bytes_of_hex(input);
        if (!bytes) {
            return bytes;
        }
        raw = *bytes;
    }
    if (elf) {
        return code_of_elf(raw);
    }
    if (is_elf(raw)) {
        return taskwork::Error{std::errc::invalid_argument, "an ELF object: say --elf"};
    }
    if (raw.empty()) {
        return taskwork::Error{std::errc::invalid_argument, "no bytes"};
    }
    return raw;
}

int run(Engine engine, const std::string& memory_text, bool elf) {
    // First, so that whoever writes it does not find the pipe closed.
    const std::string input{std::istreambuf_iterator<char>(std::cin),
                            std::istreambuf_iterator<char>()};
    if (const std::optional<std::string> absent = why_absent(engine)) {
        return fail(kAbsent, *absent);
    }
    const taskwork::Result<Bytes> memory = bytes_of_hex(memory_text);
    if (!memory) {
        return fail(kBadInput, "memory: " + memory.error().text);
    }
    if (memory->size() > Runner::kMemoryMax) {
        return fail(kBadInput,
                    "memory: more than " + std::to_string(Runner::kMemoryMax) + " bytes");
    }
    const taskwork::Result<Bytes> program = program_of(input, elf);
    if (!program) {
        return fail(kBadInput, "program on standard input: " + program.error().text);
    }
    const Outcome outcome = Runner().run(engine, *program, *memory);
    switch (outcome.kind) {
    case Outcome::Kind::result:
        std::printf("%llx\n", static_cast<unsigned long long>(outcome.r0));
        return 0;
    case Outcome::Kind::refused:
        return fail(kRefused, outcome.text);
    case Outcome::Kind::fault:
        return fail(kEnded, outcome.text);
    }
    return kBadInput;
}

}  // namespace

int main(int argument_count, char** arguments) {
    try {
        CLI::App app{"Runs the program on standard input; prints R0."};
        std::string memory;
        bool elf = false;
        bool interpret = false;
        bool jit = false;
        app.add_option("MEMORY", memory, "hexadecimal bytes: R1 is their address, R2 their number");
        app.add_flag("--elf", elf, "the program is an ELF object");
        auto* const by_interpreter = app.add_flag("--interpret", interpret, "by the interpreter");
        app.add_flag("--jit", jit, "translated to machine code")->excludes(by_interpreter);
        try {
            app.parse(argument_count, arguments);
        } catch (const CLI::CallForHelp&) {
            std::fputs(app.help().c_str(), stdout);
            return 0;
        } catch (const CLI::ParseError& error) {
            return fail(kBadInput, error.what());
        }
        return run(jit ? Engine::jit : Engine::interpret, memory, elf);
    } catch (const std::exception& error) {
        return fail(kBadInput, error.what());
    }
}
