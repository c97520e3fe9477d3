// SPDX-License-Identifier: Apache-2.0
//
// An input is BTF. It is loaded; if it is taken, whatever reads types reads these: sizes, special
// fields, maps with them as keys and values, programs with them as functions.
#include <bpf/btf.h>

#include <algorithm>
#include <cstring>

#include "host.hpp"
#include "uapi/btf_object.hpp"
#include "uapi/descriptors.hpp"
#include "uapi/diagnosis.hpp"
#include "uapi/uapi.hpp"

namespace taskwork::fuzz {
namespace {

constexpr std::uint64_t kCpuNsMax = 5'000'000'000;
constexpr std::uint32_t kTypesRead = 64;
constexpr std::uint32_t kValueBytesMax = 4096;

/// The type's size if it has one that a map could have.
std::uint32_t read_type(const uapi::BtfObject& types, std::uint32_t id) {
    const std::int64_t size = types.size_of(id);
    map::for_each_field(types.special_fields(id),
                        [size](const map::SpecialField& kind, std::int32_t offset) {
                            require(offset >= 0 && offset + std::int64_t{kind.bytes} <= size,
                                    "a special field lies inside its value");
                        });
    static_cast<void>(types.function_name(id));
    return size > 0 && size <= kValueBytesMax ? static_cast<std::uint32_t>(size) : 0;
}

void make_map(long types, std::uint32_t key, std::uint32_t key_size, std::uint32_t value,
              std::uint32_t value_size, std::uint32_t kind) {
    static constexpr std::uint32_t kinds[] = {BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY,
                                              BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_LPM_TRIE};
    union bpf_attr attr;
    std::memset(&attr, 0, sizeof attr);
    attr.map_type = kinds[kind % std::size(kinds)];
    attr.map_flags = attr.map_type == BPF_MAP_TYPE_LPM_TRIE ? BPF_F_NO_PREALLOC : 0;
    attr.key_size = key_size;
    attr.value_size = value_size;
    attr.max_entries = 1;
    attr.btf_fd = static_cast<std::uint32_t>(types);
    attr.btf_key_type_id = key;
    attr.btf_value_type_id = value;
    const long map = call(BPF_MAP_CREATE, attr);
    if (map >= 0) {
        drop(map);
        released(1);
    }
}

void load_program(long types, std::uint32_t main, std::uint32_t callee) {
    const bpf_insn insns[] = {
        {.code = BPF_ALU64 | BPF_MOV, .dst_reg = BPF_REG_2, .src_reg = 0, .off = 0, .imm = 0},
        {.code = BPF_JMP | BPF_CALL, .dst_reg = 0, .src_reg = BPF_PSEUDO_CALL, .off = 0, .imm = 1},
        {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
        {.code = BPF_ALU64 | BPF_MOV, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
        {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
    const bpf_func_info functions[] = {{0, main}, {3, callee}};
    const bpf_line_info lines[] = {{0, main, callee, 1}, {3, callee, main, 2}};
    const Log log;
    union bpf_attr attr;
    std::memset(&attr, 0, sizeof attr);
    attr.prog_type = BPF_PROG_TYPE_PERF_EVENT;
    attr.insns = reinterpret_cast<std::uintptr_t>(insns);
    attr.insn_cnt = std::size(insns);
    attr.license = reinterpret_cast<std::uintptr_t>("GPL");
    attr.log_level = 2;
    attr.log_buf = log.address();
    attr.log_size = Log::kBytes;
    attr.prog_btf_fd = static_cast<std::uint32_t>(types);
    attr.func_info = reinterpret_cast<std::uintptr_t>(functions);
    attr.func_info_cnt = std::size(functions);
    attr.func_info_rec_size = sizeof functions[0];
    attr.line_info = reinterpret_cast<std::uintptr_t>(lines);
    attr.line_info_cnt = std::size(lines);
    attr.line_info_rec_size = sizeof lines[0];
    const long program = call(BPF_PROG_LOAD, attr);
    if (program >= 0) {
        drop(program);
        released(1);
    }
}

void read_types(long descriptor) {
    int error = 0;
    const auto handle = uapi::object_as<uapi::BtfHandle>(static_cast<int>(descriptor), error);
    const uapi::BtfObject& types = *handle->btf();
    std::uint32_t functions[2] = {0, 0};
    std::uint32_t key = 0;
    std::uint32_t key_size = 0;
    const std::uint32_t count = std::min(btf__type_cnt(types.types()), kTypesRead);
    for (std::uint32_t id = 1; id < count; ++id) {
        if (btf_is_func(btf__type_by_id(types.types(), id))) {
            functions[0] = functions[1] == 0 ? id : functions[1];
            functions[1] = id;
        }
        const std::uint32_t size = read_type(types, id);
        if (size == 0) {
            continue;
        }
        if (key != 0 && map::has_any(types.special_fields(id))) {
            make_map(descriptor, key, key_size, id, size, id);
        }
        if (size <= 64) {
            key = id;
            key_size = size;
        }
    }
    if (functions[1] != 0) {
        load_program(descriptor, functions[0], functions[1]);
    }
}

}  // namespace

bool run_input(Bytes input) {
    const Bounds bounds(kCpuNsMax);
    const Log log;
    const bool logs = input.size() % 2 != 0;
    union bpf_attr attr;
    std::memset(&attr, 0, sizeof attr);
    attr.btf = reinterpret_cast<std::uintptr_t>(input.data());
    attr.btf_size = static_cast<std::uint32_t>(input.size());
    if (logs) {
        attr.btf_log_level = 1;
        attr.btf_log_buf = log.address();
        attr.btf_log_size = Log::kBytes;
    }
    uapi::clear_diagnosis();
    const long types = call(BPF_BTF_LOAD, attr);
    if (types >= 0) {
        read_types(types);
        drop(types);
        return bounds.is_quick();
    }
    require(!uapi::last_diagnosis().empty() || types == -ENOSPC, "a refusal has a reason");
    require(!logs || log.text()[0] != '\0', "a refusal has words");
    return bounds.is_quick();
}

}  // namespace taskwork::fuzz
