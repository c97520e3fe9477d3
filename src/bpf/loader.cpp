// SPDX-License-Identifier: Apache-2.0
//
// The loader: structural checks, then rewriting. What it lets through, the interpreter can run
// without leaving the program: every opcode and register is known, every jump stays inside its
// function and hits the first half of an instruction, no function falls off its end, every call has
// a target. What values may be the verifier proves, before anything is placed where it can be run.
//
// Messages use the phrases of the kernel's verifier, which people and tools look for.
#include <linux/bpf.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include "bpf/checking.hpp"
#include "bpf/helpers.hpp"
#include "bpf/instruction.hpp"
#include "bpf/isa.hpp"
#include "bpf/jit/names.hpp"
#include "bpf/jit/translate.hpp"
#include "bpf/kfuncs.hpp"
#include "bpf/program.hpp"
#include "bpf/verification.hpp"
#include "map/program_array.hpp"
#include "sync/arena.hpp"

namespace taskwork::bpf {

bool is_gpl_compatible(const std::string& license) {
    for (const char* name : {"GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL",
                             "Dual MIT/GPL", "Dual MPL/GPL"}) {
        if (license == name) {
            return true;
        }
    }
    return false;
}

namespace {

constexpr std::uint32_t kInsnsLoadMax = 1'000'000;

std::string program_type_name(std::uint32_t type) {
    static constexpr const char* names[] = {"UNSPEC",
                                            "SOCKET_FILTER",
                                            "KPROBE",
                                            "SCHED_CLS",
                                            "SCHED_ACT",
                                            "TRACEPOINT",
                                            "XDP",
                                            "PERF_EVENT",
                                            "CGROUP_SKB",
                                            "CGROUP_SOCK",
                                            "LWT_IN",
                                            "LWT_OUT",
                                            "LWT_XMIT",
                                            "SOCK_OPS",
                                            "SK_SKB",
                                            "CGROUP_DEVICE",
                                            "SK_MSG",
                                            "RAW_TRACEPOINT",
                                            "CGROUP_SOCK_ADDR",
                                            "LWT_SEG6LOCAL",
                                            "LIRC_MODE2",
                                            "SK_REUSEPORT",
                                            "FLOW_DISSECTOR",
                                            "CGROUP_SYSCTL",
                                            "RAW_TRACEPOINT_WRITABLE",
                                            "CGROUP_SOCKOPT",
                                            "TRACING",
                                            "STRUCT_OPS",
                                            "EXT",
                                            "LSM",
                                            "SK_LOOKUP",
                                            "SYSCALL",
                                            "NETFILTER"};
    if (type < std::size(names)) {
        return std::string("BPF_PROG_TYPE_") + names[type];
    }
    return "program type " + std::to_string(type);
}

class Loader {
public:
    Loader(const LoadSpec& spec, std::string& log)
        : spec_(spec), log_(log), insns_(spec.insns, spec.insns + spec.insn_count),
          is_second_half_(spec.insn_count), starts_function_(spec.insn_count), verified_(insns_),
          gpl_(is_gpl_compatible(spec.license)) {}

    Result<Program*> load();

private:
    using Check = Result<void>;

    Error refuse(std::uint32_t index, const std::string& text,
                 std::errc code = std::errc::invalid_argument) {
        log_ += std::to_string(index) + ": (" + hex_byte(insns_[index].code) + ") " + text + "\n";
        return Error{code, "program '" + spec_.name + "', instruction " + std::to_string(index) +
                               ": " + text};
    }
    Error refuse(const std::string& text, std::errc code = std::errc::invalid_argument) {
        log_ += text + "\n";
        return Error{code, "program '" + spec_.name + "': " + text};
    }
    Check check_type();
    Check find_function(std::uint32_t index, std::int64_t target);
    Check find_functions();
    Check check_flow();
    Check check_tables();
    Check check_values();
    Check check_sleeping();
    Check check_program_arrays();
    Check rewrite();
    Check rewrite_wide_immediate(std::uint32_t index);
    Check rewrite_map(std::uint32_t index, Pseudo pseudo);
    Check rewrite_helper_call(std::uint32_t index);
    Check rewrite_kfunc_call(std::uint32_t index);
    Result<map::Map*> use_map(std::uint32_t index);
    [[nodiscard]] std::uint32_t end_of_function(std::uint32_t index) const;
    [[nodiscard]] static std::int64_t jump_offset(const bpf_insn& insn);
    [[nodiscard]] static bool is_call(const bpf_insn& insn, CallKind kind) {
        return insn.code == (BPF_JMP | BPF_CALL) && insn.src_reg == static_cast<unsigned>(kind);
    }
    [[nodiscard]] static bool is_wide(const bpf_insn& insn, Pseudo pseudo) {
        return insn.code == kLoadImmediate64 && insn.src_reg == static_cast<unsigned>(pseudo);
    }
    void set_wide(std::uint32_t index, std::uint64_t value) {
        insns_[index].src_reg = 0;
        insns_[index].imm = static_cast<std::int32_t>(value);
        insns_[index + 1].imm = static_cast<std::int32_t>(value >> 32);
    }
    Result<Program*> place();

    const LoadSpec& spec_;
    std::string& log_;
    std::vector<bpf_insn> insns_;
    std::vector<bool> is_second_half_;  ///< Of an LDDW.
    std::vector<bool> starts_function_;
    std::vector<map::Map*> maps_;
    std::vector<bpf_insn> verified_;  ///< As verifier::Input has them.
    std::uint32_t program_id_ = 0;
    unsigned frames_ = kFramesMax;
    std::uint32_t context_bytes_ = 0;
    std::vector<KnownCall> known_calls_;
    bool is_walked_ = false;  ///< All that it does, not once for any number of rounds.
    const bool gpl_;
};

Loader::Check Loader::check_type() {
    if (spec_.probe) {
        return {};
    }
    if (spec_.type == BPF_PROG_TYPE_SYSCALL && (spec_.flags & BPF_F_SLEEPABLE) == 0) {
        return refuse("Syscall programs can only be sleepable");
    }
    if (spec_.type != BPF_PROG_TYPE_PERF_EVENT && spec_.type != BPF_PROG_TYPE_SYSCALL) {
        return refuse(program_type_name(spec_.type) +
                      " is not available: taskwork has BPF_PROG_TYPE_PERF_EVENT and "
                      "BPF_PROG_TYPE_SYSCALL");
    }
    if (spec_.type == BPF_PROG_TYPE_PERF_EVENT && (spec_.flags & BPF_F_SLEEPABLE) != 0) {
        return refuse("Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can "
                      "be sleepable");
    }
    return {};
}

// ---- Functions and flow -------------------------------------------------------------------------

Loader::Check Loader::find_function(std::uint32_t index, std::int64_t target) {
    if (target < 0 || target >= static_cast<std::int64_t>(insns_.size()) ||
        is_second_half_[static_cast<std::size_t>(target)]) {
        return refuse(index, "call to invalid destination");
    }
    starts_function_[static_cast<std::size_t>(target)] = true;
    return {};
}

Loader::Check Loader::find_functions() {
    starts_function_[0] = true;
    for (std::uint32_t i = 0; i < insns_.size(); ++i) {
        const bpf_insn& insn = insns_[i];
        if (is_second_half_[i] ||
            !(is_call(insn, CallKind::subprogram) || is_wide(insn, Pseudo::function))) {
            continue;
        }
        if (Check found = find_function(i, std::int64_t{i} + 1 + insn.imm); !found) {
            return found;
        }
    }
    return {};
}

std::uint32_t Loader::end_of_function(std::uint32_t index) const {
    std::uint32_t end = index + 1;
    while (end < insns_.size() && !starts_function_[end]) {
        ++end;
    }
    return end;
}

std::int64_t Loader::jump_offset(const bpf_insn& insn) {
    return insn.code == (BPF_JMP32 | BPF_JA) ? std::int64_t{insn.imm} : std::int64_t{insn.off};
}

Loader::Check Loader::check_flow() {
    std::uint32_t end = 0;
    for (std::uint32_t begin = 0; begin < insns_.size(); begin = end) {
        end = end_of_function(begin);
        for (std::uint32_t i = begin; i < end; ++i) {
            const bpf_insn& insn = insns_[i];
            const bool jumps =
                (BPF_CLASS(insn.code) == BPF_JMP || BPF_CLASS(insn.code) == BPF_JMP32) &&
                BPF_OP(insn.code) != BPF_CALL && BPF_OP(insn.code) != BPF_EXIT;
            if (is_second_half_[i] || !jumps) {
                continue;
            }
            const std::int64_t target = std::int64_t{i} + 1 + jump_offset(insn);
            if (target < begin || target >= end) {
                return refuse(i, "jump out of range from insn " + std::to_string(i) + " to " +
                                     std::to_string(target));
            }
            if (is_second_half_[static_cast<std::size_t>(target)]) {
                return refuse(i,
                              "jump into the middle of ldimm64 insn " + std::to_string(target - 1));
            }
        }
        const std::uint8_t last = insns_[end - 1].code;
        if (is_second_half_[end - 1] ||
            (last != (BPF_JMP | BPF_EXIT) && last != (BPF_JMP | BPF_JA) &&
             last != (BPF_JMP32 | BPF_JA))) {
            return refuse(end - 1, "last insn is not an exit or jmp");
        }
    }
    return {};
}

/// What the program's BTF says of functions and lines is of the functions that there are.
Loader::Check Loader::check_tables() {
    std::vector<std::uint32_t> starts;
    for (std::uint32_t i = 0; i < insns_.size(); ++i) {
        if (starts_function_[i]) {
            starts.push_back(i);
        }
    }
    if (!spec_.functions.empty()) {
        if (spec_.functions.size() != starts.size()) {
            return refuse("number of funcs in func_info doesn't match number of subprogs");
        }
        for (std::size_t i = 0; i < starts.size(); ++i) {
            if (spec_.functions[i].insn != starts[i]) {
                return refuse("func_info BTF section doesn't match subprog layout in BPF program");
            }
        }
    }
    if (spec_.lines.empty()) {
        return {};
    }
    std::size_t begun = 0;
    for (const verifier::LineInfo& line : spec_.lines) {
        if (begun < starts.size() && starts[begun] < line.insn) {
            return refuse("missing bpf_line_info for func#" + std::to_string(begun));
        }
        begun += begun < starts.size() && starts[begun] == line.insn ? 1 : 0;
    }
    if (begun != starts.size()) {
        return refuse("missing bpf_line_info for " + std::to_string(starts.size() - begun) +
                      " funcs starting from func#" + std::to_string(begun));
    }
    return {};
}

/// Functions that a program which may not sleep reaches by calls must not sleep. Callbacks of task
/// work may: those that run in place (bpf_loop) are checked while they run.
Loader::Check Loader::check_sleeping() {
    if ((spec_.flags & BPF_F_SLEEPABLE) != 0 || spec_.probe) {
        return {};
    }
    std::vector<bool> seen(insns_.size());
    std::vector<std::uint32_t> waiting{0};
    seen[0] = true;
    while (!waiting.empty()) {
        const std::uint32_t begin = waiting.back();
        waiting.pop_back();
        const std::uint32_t end = end_of_function(begin);
        for (std::uint32_t i = begin; i < end; ++i) {
            const bpf_insn& insn = insns_[i];
            if (is_second_half_[i]) {
                continue;
            }
            if (is_call(insn, CallKind::helper) && helper(insn.imm).sleepable) {
                return refuse(i,
                              "helper call might sleep in a non-sleepable prog: sleepable helper " +
                                  helper_name(insn.imm) + " in non-sleepable prog");
            }
            if (is_call(insn, CallKind::kfunc) && insn.imm >= 0 && kfunc(insn.imm).sleepable) {
                return refuse(i, std::string("program must be sleepable to call sleepable kfunc ") +
                                     kfunc(insn.imm).name);
            }
            if (is_call(insn, CallKind::subprogram)) {
                const auto target = static_cast<std::uint32_t>(std::int64_t{i} + 1 + insn.imm);
                if (!seen[target]) {
                    seen[target] = true;
                    waiting.push_back(target);
                }
            }
        }
    }
    return {};
}

/// What a value may be, with the verifier; what may sleep, without.
Loader::Check Loader::check_values() {
    if (spec_.probe || (kIsChecking && spec_.unverified)) {
        const bool one = std::count(starts_function_.begin(), starts_function_.end(), true) == 1;
        frames_ = one ? 1 : kFramesMax;
        return check_sleeping();
    }
    if (spec_.unverified) {
        return refuse("is not verified, and nothing checks what it does");
    }
    const Result<verifier::Verdict> verdict = verify_program(spec_, verified_, maps_, log_);
    if (!verdict) {
        return verdict.error();
    }
    frames_ = verdict->frames;
    context_bytes_ = verdict->context_bytes;
    for (const std::uint32_t index : verdict->probes) {
        insns_[index] = as_probe(insns_[index]);
    }
    known_calls_ = std::move(verdict->known_calls);
    is_walked_ = verdict->insns_max <= verifier::kInsnsProcessedMax;
    return {};
}

/// Programs that call each other are of one kind.
Loader::Check Loader::check_program_arrays() {
    for (map::Map* map : maps_) {
        if (map->type == BPF_MAP_TYPE_PROG_ARRAY &&
            map::admit_caller(*map, {spec_.type, spec_.expected_attach_type}) != no_error) {
            return refuse("the programs of map '" + std::string(map->name) +
                          "' are of another type, or attach type");
        }
    }
    return {};
}

// ---- Rewriting ----------------------------------------------------------------------------------

Loader::Check Loader::rewrite() {
    for (std::uint32_t i = 0; i < insns_.size(); ++i) {
        if (is_second_half_[i]) {
            continue;
        }
        Check done;
        if (insns_[i].code == kLoadImmediate64) {
            done = rewrite_wide_immediate(i);
        } else if (is_call(insns_[i], CallKind::helper)) {
            done = rewrite_helper_call(i);
        } else if (is_call(insns_[i], CallKind::kfunc)) {
            done = rewrite_kfunc_call(i);
        }
        if (!done) {
            return done;
        }
    }
    return {};
}

Loader::Check Loader::rewrite_wide_immediate(std::uint32_t index) {
    const bpf_insn insn = insns_[index];
    const auto pseudo = static_cast<Pseudo>(insn.src_reg);
    switch (pseudo) {
    case Pseudo::none:
        return {};
    case Pseudo::function:
        set_wide(index, function_value(program_id_, static_cast<std::uint32_t>(std::int64_t{index} +
                                                                               1 + insn.imm)));
        return {};
    case Pseudo::btf_id: {
        // A weak symbol: the program asks whether the kfunc is there.
        const std::string name =
            spec_.kfunc_name ? spec_.kfunc_name(static_cast<std::uint32_t>(insn.imm)) : "";
        const std::int32_t number = kfunc_by_name(name);
        if (number < 0) {
            return refuse(index, "btf id " + std::to_string(insn.imm) +
                                     " is no kernel function that taskwork has");
        }
        set_wide(index, kKfuncTag | static_cast<std::uint32_t>(number));
        return {};
    }
    default:
        return rewrite_map(index, pseudo);
    }
}

Result<map::Map*> Loader::use_map(std::uint32_t index) {
    const std::int32_t fd = insns_[index].imm;
    map::Map* map = spec_.map_by_fd ? spec_.map_by_fd(fd) : nullptr;
    if (map == nullptr) {
        return refuse(index, "fd " + std::to_string(fd) + " is not pointing to valid bpf_map",
                      std::errc::bad_file_descriptor);
    }
    if ((spec_.flags & BPF_F_SLEEPABLE) != 0 && !spec_.probe && !map::may_be_in_sleepable(*map)) {
        return refuse(
            index, "Sleepable programs can only use array, hash, ringbuf and local storage maps");
    }
    if (spec_.type == BPF_PROG_TYPE_PERF_EVENT && !spec_.probe) {
        const char* refused = nullptr;
        map::for_each_field(map->fields, [&](const map::SpecialField& kind, std::int32_t) {
            if (kind.offset != &map::SpecialFields::task_work &&
                kind.offset != &map::SpecialFields::res_spin_lock && refused == nullptr) {
                refused = kind.type;
            }
        });
        if (refused != nullptr) {
            return refuse(index, std::string("tracing progs cannot use ") + refused + " yet");
        }
    }
    for (map::Map* known : maps_) {
        if (known == map) {
            return map;
        }
    }
    if (maps_.size() == Program::kMapsMax) {
        return refuse(index, "more than " + std::to_string(Program::kMapsMax) + " maps",
                      std::errc::argument_list_too_long);
    }
    maps_.push_back(map);
    return map;
}

Loader::Check Loader::rewrite_map(std::uint32_t index, Pseudo pseudo) {
    Result<map::Map*> map = use_map(index);
    if (!map) {
        return map.error();
    }
    verified_[index].imm =
        static_cast<std::int32_t>(std::find(maps_.begin(), maps_.end(), *map) - maps_.begin());
    if (pseudo == Pseudo::map_fd) {
        if (insns_[index + 1].imm != 0) {
            return refuse(index, "unrecognized bpf_ld_imm64 insn");
        }
        set_wide(index, reinterpret_cast<std::uint64_t>(*map));
        return {};
    }
    void* base = nullptr;
    std::size_t bytes = 0;
    const std::string name = (*map)->name;
    if ((*map)->max_entries != 1 || map::direct_values(**map, &base, &bytes) != no_error) {
        return refuse(index, "map '" + name + "' has no direct value access");
    }
    const auto offset = static_cast<std::uint32_t>(insns_[index + 1].imm);
    if (offset >= (*map)->value_size) {
        return refuse(index, "direct value offset of " + std::to_string(offset) +
                                 " is not allowed in map '" + name + "'");
    }
    set_wide(index, reinterpret_cast<std::uint64_t>(base) + offset);
    return {};
}

Loader::Check Loader::rewrite_helper_call(std::uint32_t index) {
    bpf_insn& insn = insns_[index];
    if (is_poisoned(insn.imm)) {
        insn.imm = kCallNowhere;
        return {};
    }
    const Helper& wanted = helper(insn.imm);
    if (wanted.function == nullptr && helper_name(insn.imm).starts_with("unknown")) {
        return refuse(index, "invalid func " + helper_name(insn.imm));
    }
    if (wanted.function == nullptr) {
        return refuse(index, "unknown func " + helper_name(insn.imm) +
                                 ": taskwork does not have this helper");
    }
    if (wanted.gpl_only && !gpl_) {
        return refuse(index, "cannot call GPL-restricted function from non-GPL compatible program");
    }
    if (insn.imm == BPF_FUNC_tail_call) {
        insn.src_reg = static_cast<unsigned>(CallKind::tail);
    }
    return {};
}

Loader::Check Loader::rewrite_kfunc_call(std::uint32_t index) {
    bpf_insn& insn = insns_[index];
    if (insn.imm == 0 && insn.off == 0) {
        // Weak and not found by the loader: legal while it is never reached.
        insn.imm = kCallNowhere;
        verified_[index].imm = kCallNowhere;
        return {};
    }
    if (!gpl_) {
        return refuse(index, "cannot call kernel function from non-GPL compatible program",
                      std::errc::permission_denied);
    }
    const std::string name = insn.off == 0 && spec_.kfunc_name
                                 ? spec_.kfunc_name(static_cast<std::uint32_t>(insn.imm))
                                 : "";
    const std::int32_t number = kfunc_by_name(name);
    if (number < 0) {
        return refuse(index,
                      "kernel function " +
                          (name.empty() ? "btf_id#" + std::to_string(insn.imm) : "'" + name + "'") +
                          " is not available: taskwork does not have this kfunc");
    }
    insn.imm = number;
    verified_[index].imm = number;
    return {};
}

// ---- All of it ----------------------------------------------------------------------------------

Result<Program*> Loader::load() {
    if (insns_.empty() || insns_.size() > kInsnsLoadMax) {
        return refuse("has " + std::to_string(insns_.size()) + " instructions",
                      std::errc::argument_list_too_long);
    }
    if (Check type = check_type(); !type) {
        return type.error();
    }
    for (std::uint32_t i = 0; i < insns_.size(); ++i) {
        if (is_second_half_[i]) {
            continue;
        }
        if (const std::string fault = fault_of_form(insns_, i, spec_.instruction_set);
            !fault.empty()) {
            return refuse(i, fault);
        }
        if (insns_[i].code == kLoadImmediate64) {
            is_second_half_[i + 1] = true;
        }
    }
    program_id_ = ProgramTable::get().next_id.fetch_add(1, std::memory_order_relaxed);
    for (Check (Loader::*step)() :
         {&Loader::find_functions, &Loader::check_flow, &Loader::check_tables, &Loader::rewrite,
          &Loader::check_values, &Loader::check_program_arrays}) {
        if (Check done = (this->*step)(); !done) {
            return done.error();
        }
    }
    return place();
}

Result<Program*> Loader::place() {
    const std::size_t count = insns_.size();
    const std::size_t insn_bytes = count * sizeof(bpf_insn);
    const std::size_t bytes = insn_bytes + (count + 63) / 64 * sizeof(std::uint64_t);
    void* code = sync::Arena::allocate(bytes, 64);
    if (code == nullptr) {
        return refuse("no memory left in the arena for its code", std::errc::not_enough_memory);
    }
    const task::Process* self = task::current_process();
    const std::uint16_t owner =
        self == nullptr
            ? std::uint16_t{0}
            : static_cast<std::uint16_t>(task::TaskTable::get().processes.index_of(self));
    void* object = ProgramTable::get().programs.claim(owner, kProgramLoading);
    if (object == nullptr) {
        sync::Arena::release(code, bytes);
        return refuse("more than " + std::to_string(ProgramTable::kProgramsMax) + " programs",
                      std::errc::not_enough_memory);
    }

    std::memcpy(code, insns_.data(), insn_bytes);
    auto* starts = reinterpret_cast<std::uint64_t*>(static_cast<std::byte*>(code) + insn_bytes);
    for (std::size_t i = 0; i < count; ++i) {
        starts[i / 64] |= std::uint64_t{starts_function_[i]} << (i % 64);
    }

    auto& program = *static_cast<Program*>(object);
    program.id = program_id_;
    program.type = spec_.type;
    program.expected_attach_type = spec_.expected_attach_type;
    program.context_bytes = context_bytes_;
    program.insn_count = static_cast<std::uint32_t>(count);
    program.insns = static_cast<const bpf_insn*>(code);
    program.function_starts = starts;
    program.code_bytes = bytes;
    program.native = {};
    if (!kIsChecking && !spec_.probe) {
        jit::Source source;
        source.insns = program.insns;
        source.insn_count = program.insn_count;
        source.function_starts = starts;
        source.known_calls = &known_calls_;
        source.program = &program;
        source.counts = !is_walked_;
        program.native = jit::make_native(source);
        std::map<std::uint32_t, std::string> names;
        for (const verifier::FunctionInfo& function : spec_.functions) {
            names.emplace(function.insn, function.name);
        }
        jit::name_native(program.native, spec_.name, names);
    }
    std::memset(program.name, 0, sizeof(program.name));
    std::memcpy(program.name, spec_.name.data(),
                std::min(spec_.name.size(), sizeof(program.name) - 1));
    program.sleepable = (spec_.flags & BPF_F_SLEEPABLE) != 0;
    program.frames = static_cast<std::uint8_t>(frames_);
    program.map_count = static_cast<std::uint32_t>(maps_.size());
    for (std::size_t i = 0; i < maps_.size(); ++i) {
        map::get_reference(*maps_[i]);
        program.maps[i] = maps_[i];
    }
    for (auto* counter :
         {&program.runs, &program.faults, &program.run_ns, &program.callbacks, &program.callback_ns,
          &program.last_fault_insn, &program.last_fault_kind}) {
        counter->store(0, std::memory_order_relaxed);
    }
    for (auto& counter : program.schedule_results) {
        counter.store(0, std::memory_order_relaxed);
    }
    program.references.store(1, std::memory_order_relaxed);
    sync::Word word = sync::Pool::load(object);
    sync::Pool::transition(object, word, word.with_state(kProgramLive));
    return &program;
}

}  // namespace

Result<Program*> load_program(const LoadSpec& spec, std::string& log) {
    return Loader(spec, log).load();
}

}  // namespace taskwork::bpf
