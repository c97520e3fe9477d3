// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/soundness/generator.hpp"

#include <string>

#include "tests/fuzz/soundness/body.hpp"

namespace taskwork::fuzz {

using bpf::verifier::ArgumentInfo;
using bpf::verifier::FunctionInfo;

namespace {

/// Changes one field of one instruction.
void change(std::vector<bpf_insn>& insns, Choices& choices) {
    const std::size_t at = (choices.byte() | std::size_t{choices.byte()} << 8) % insns.size();
    bpf_insn& insn = insns[at];
    switch (choices.below(6)) {
    case 0:
        insn.dst_reg = choices.below(11) & 15;
        break;
    case 1:
        insn.src_reg = choices.below(11) & 15;
        break;
    case 2:
        insn.off = static_cast<__s16>(insn.off + static_cast<std::int8_t>(choices.byte()) / 8);
        break;
    case 3:
        insn.imm = choices.number();
        break;
    case 4:  // another operation of the class
        insn.code = static_cast<__u8>((insn.code & 0x0f) | (choices.below(16) << 4));
        break;
    default:
        std::swap(insn, insns[(at + 1) % insns.size()]);
        break;
    }
}

FunctionInfo info_of(const Signature& signature, std::uint32_t insn, std::size_t number) {
    FunctionInfo info;
    info.insn = insn;
    info.name = number == 0 ? "main" : "f" + std::to_string(number);
    info.is_global = signature.kind == Signature::Kind::global;
    for (const Holds& each : signature.arguments) {
        ArgumentInfo argument;
        if (!each.is_number()) {
            argument.kind = ArgumentInfo::Kind::memory;
            argument.size = each.size;
            argument.non_null = !signature.may_be_null;
        }
        info.arguments.push_back(argument);
    }
    return info;
}

}  // namespace

Generated generate(Choices& choices, const MapFds& maps, Audience audience) {
    Generated result;
    const unsigned kind = choices.byte();
    result.type = kind % 4 == 3 && audience != Audience::kernel ? BPF_PROG_TYPE_PERF_EVENT
                                                                : BPF_PROG_TYPE_SYSCALL;
    const unsigned changes = kind / 4 % 8 == 7 ? 1 + kind / 32 % 4 % 3 : 0;

    Plan plan{.maps = maps,
              .type = result.type,
              .audience = audience,
              .all_constructs = kind >= 128 && audience != Audience::kernel,
              .functions = {Signature{}}};
    std::vector<std::uint32_t> begins;
    std::vector<std::pair<std::size_t, std::size_t>> references;
    for (std::size_t i = 0; i < plan.functions.size(); ++i) {
        Body body(plan, choices, plan.functions[i]);
        const std::vector<bpf_insn> code = body.write();
        begins.push_back(static_cast<std::uint32_t>(result.insns.size()));
        for (const Body::Reference& each : body.references) {
            references.emplace_back(result.insns.size() + each.insn, each.function);
        }
        result.insns.insert(result.insns.end(), code.begin(), code.end());
    }
    for (const auto& [insn, function] : references) {
        result.insns[insn].imm =
            static_cast<__s32>(begins[function]) - static_cast<__s32>(insn) - 1;
    }
    for (std::size_t i = 0; i < begins.size(); ++i) {
        result.functions.push_back(info_of(plan.functions[i], begins[i], i));
    }
    for (unsigned i = 0; i < changes; ++i) {
        change(result.insns, choices);
    }
    return result;
}

}  // namespace taskwork::fuzz
