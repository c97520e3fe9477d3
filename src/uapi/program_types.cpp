// SPDX-License-Identifier: Apache-2.0
#include "uapi/program_types.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "uapi/user_memory.hpp"

namespace taskwork::uapi {
namespace {

constexpr std::uint32_t kRecordBytesMax = 256;

/// An array of records that the caller's headers may know more of, or less, than ours.
template <class Record>
int copy_records(std::uint64_t from, std::uint32_t count, std::uint32_t record_bytes,
                 std::vector<Record>& records) {
    if (count == 0) {
        return 0;
    }
    if (record_bytes < sizeof(Record) || record_bytes > kRecordBytesMax || record_bytes % 4 != 0 ||
        count > 2'000'000) {
        return -EINVAL;
    }
    records.resize(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        if (copy_from_user(&records[i], from + std::uint64_t{i} * record_bytes, sizeof(Record)) !=
            no_error) {
            return -EFAULT;
        }
        if (i != 0 && records[i].insn_off <= records[i - 1].insn_off) {
            return -EINVAL;
        }
    }
    return 0;
}

std::string_view text_at(const btf* types, std::uint32_t offset) {
    const char* text = btf__name_by_offset(types, offset);
    return text == nullptr ? std::string_view{} : std::string_view(text);
}

const btf_type* plain(const btf* types, std::uint32_t id) {
    const btf_type* type = btf__type_by_id(types, id);
    for (unsigned depth = 0;
         type != nullptr && depth < 32 && (btf_is_mod(type) || btf_is_typedef(type)); ++depth) {
        type = btf__type_by_id(types, type->type);
    }
    return type;
}

/// Whether a declaration tag says this of an argument of the function.
bool is_tagged(const btf* types, std::uint32_t function, int argument, std::string_view tag) {
    for (std::uint32_t id = 1; id < btf__type_cnt(types); ++id) {
        const btf_type* type = btf__type_by_id(types, id);
        if (btf_is_decl_tag(type) && type->type == function &&
            btf_decl_tag(type)->component_idx == argument &&
            text_at(types, type->name_off) == tag) {
            return true;
        }
    }
    return false;
}

bool is_context(const btf* types, std::uint32_t pointed_at, std::uint32_t program_type) {
    if (program_type != BPF_PROG_TYPE_PERF_EVENT) {
        return false;
    }
    const btf_type* type = btf__type_by_id(types, pointed_at);
    while (type != nullptr && btf_is_mod(type)) {
        type = btf__type_by_id(types, type->type);
    }
    if (type == nullptr) {
        return false;
    }
    const std::string_view name = text_at(types, type->name_off);
    return name == "bpf_perf_event_data" || name == "bpf_user_pt_regs_t";
}

bpf::verifier::ArgumentInfo argument_of(const btf* types, std::uint32_t function, int index,
                                        std::uint32_t type_id, std::uint32_t program_type) {
    using Kind = bpf::verifier::ArgumentInfo::Kind;
    const btf_type* type = plain(types, type_id);
    if (type == nullptr) {
        return {.kind = Kind::unsupported};
    }
    if (btf_is_int(type) || btf_is_any_enum(type)) {
        return {.kind = Kind::scalar};
    }
    if (!btf_is_ptr(type)) {
        return {.kind = Kind::unsupported};
    }
    if (is_tagged(types, function, index, "arg:ctx") ||
        is_context(types, type->type, program_type)) {
        return {.kind = Kind::context};
    }
    const std::int64_t size = type->type == 0 ? -1 : btf__resolve_size(types, type->type);
    if (size <= 0) {
        return {.kind = Kind::unsupported};
    }
    return {.kind = Kind::memory,
            .size = static_cast<std::uint32_t>(size),
            .non_null = is_tagged(types, function, index, "arg:nonnull")};
}

bpf::verifier::FunctionInfo describe_function(const btf* types, const bpf_func_info& record,
                                              std::uint32_t program_type) {
    bpf::verifier::FunctionInfo info;
    info.insn = record.insn_off;
    const btf_type* function = btf__type_by_id(types, record.type_id);
    if (function == nullptr || !btf_is_func(function)) {
        return info;
    }
    info.name = text_at(types, function->name_off);
    info.is_global = btf_vlen(function) == BTF_FUNC_GLOBAL && record.insn_off != 0;
    const btf_type* prototype = btf__type_by_id(types, function->type);
    if (prototype == nullptr || !btf_is_func_proto(prototype)) {
        info.is_global = false;
        return info;
    }
    const btf_type* result = plain(types, prototype->type);
    info.returns_scalar = prototype->type != 0 && result != nullptr &&
                          (btf_is_int(result) || btf_is_any_enum(result));
    if (info.is_global) {
        const btf_param* parameters = btf_params(prototype);
        for (int i = 0; i < btf_vlen(prototype); ++i) {
            info.arguments.push_back(
                argument_of(types, record.type_id, i, parameters[i].type, program_type));
        }
    }
    return info;
}

std::string_view trimmed(std::string_view text) {
    const std::size_t begin = text.find_first_not_of(" \t");
    return begin == std::string_view::npos ? std::string_view{} : text.substr(begin);
}

}  // namespace

int describe_program(const union bpf_attr& attr, const BtfObject& object, bpf::LoadSpec& spec) {
    const btf* types = object.types();
    std::vector<bpf_func_info> functions;
    std::vector<bpf_line_info> lines;
    if (const int error =
            copy_records(attr.func_info, attr.func_info_cnt, attr.func_info_rec_size, functions);
        error != 0) {
        return error;
    }
    if (const int error =
            copy_records(attr.line_info, attr.line_info_cnt, attr.line_info_rec_size, lines);
        error != 0) {
        return error;
    }
    for (const bpf_func_info& record : functions) {
        spec.functions.push_back(describe_function(types, record, attr.prog_type));
    }
    if (attr.log_level == 0) {
        return 0;  // nobody will read of lines
    }
    for (const bpf_line_info& record : lines) {
        std::string_view file = text_at(types, record.file_name_off);
        file = file.substr(file.rfind('/') + 1);
        spec.lines.push_back({.insn = record.insn_off,
                              .file = std::string(file),
                              .line = BPF_LINE_INFO_LINE_NUM(record.line_col),
                              .text = std::string(trimmed(text_at(types, record.line_off)))});
    }
    return 0;
}

}  // namespace taskwork::uapi
