// SPDX-License-Identifier: Apache-2.0
//
// The names of native code, for who looks at a process from outside, each on request: perf
// (perf_map.hpp) and gdb (debugger.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/context.hpp"
#include "bpf/jit/native_code.hpp"

namespace taskwork::bpf::jit {

struct Symbol {
    std::uintptr_t address;
    std::size_t bytes;
    std::string name;
};
/// Of one program, ascending.
struct Symbols {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    std::vector<Symbol> functions;
};

/// What is known of the code of each program, by its beginning. Nobody tells of code that goes, so
/// an entry lasts until other code stands there.
template <class Entry>
class Named {
public:
    /// Makes an entry for [begin, end); what has stood there is handed to `drop` and goes.
    template <class Drop>
    Entry& replace(std::uintptr_t begin, std::uintptr_t end, const Drop& drop) {
        auto at = entries_.lower_bound(begin);
        if (at != entries_.begin() && std::prev(at)->second.end > begin) {
            --at;
        }
        while (at != entries_.end() && at->first < end) {
            drop(at->second.entry);
            at = entries_.erase(at);
        }
        return entries_.emplace(begin, Range{end, Entry{}}).first->second.entry;
    }
    template <class Visit>
    void each(const Visit& visit) const {
        for (const auto& [begin, range] : entries_) {
            visit(range.entry);
        }
    }
    void clear() noexcept { entries_.clear(); }

private:
    struct Range {
        std::uintptr_t end;
        Entry entry;
    };
    std::map<std::uintptr_t, Range> entries_;
};

/// Names the functions of a program, "bpf_prog_PROGRAM", "bpf_prog_PROGRAM_FUNCTION", for whoever
/// asks. `names`: by the instruction that a function begins with. Host only.
/// Context: task. Takes a lock of the host.
TW_TASK_ONLY void name_native(const NativeCode& native, std::string_view program,
                              const std::map<std::uint32_t, std::string>& names);

}  // namespace taskwork::bpf::jit
