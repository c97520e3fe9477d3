// SPDX-License-Identifier: Apache-2.0
#include "bpf/jit/names.hpp"

#include "bpf/jit/debugger.hpp"
#include "bpf/jit/perf_map.hpp"
#include "bpf/jit/switches.hpp"

namespace taskwork::bpf::jit {

void name_native(const NativeCode& native, std::string_view program,
                 const std::map<std::uint32_t, std::string>& names) {
    assume_task();
    if (native.code == nullptr || (!is_on(Switch::perf_map) && !is_on(Switch::unwind))) {
        return;
    }
    Symbols symbols;
    symbols.begin = reinterpret_cast<std::uintptr_t>(native.code);
    symbols.end = symbols.begin + native.bytes;
    for (std::uint32_t i = 0; i < native.function_count; ++i) {
        const Place& place = native.functions[i];
        const std::uint32_t end =
            i + 1 < native.function_count ? native.functions[i + 1].offset : native.bytes;
        std::string name = "bpf_prog_";
        name.append(program);
        if (place.insn != 0) {
            const auto found = names.find(place.insn);
            name.append("_").append(found == names.end() ? std::to_string(place.insn)
                                                         : found->second);
        }
        symbols.functions.push_back(
            {symbols.begin + place.offset, end - place.offset, std::move(name)});
    }
    if (is_on(Switch::perf_map)) {
        name_for_perf(symbols);
    }
    if (is_on(Switch::unwind)) {
        name_for_debugger(symbols);
    }
}

}  // namespace taskwork::bpf::jit
