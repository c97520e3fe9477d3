// SPDX-License-Identifier: Apache-2.0
#include "uapi/program_types.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "uapi/btf_layout.hpp"
#include "uapi/user_memory.hpp"

namespace taskwork::uapi {
namespace {

constexpr std::uint32_t kRecordBytesMax = 252;
constexpr unsigned kArgumentsMax = 5;
/// What a log shows of a source line, which may be as long as all names together.
constexpr std::size_t kLineBytesMax = 256;
constexpr std::size_t kFileBytesMax = 64;

/// An array of records that the caller's headers may know more of, or less, than ours, copied in by
/// the page; at most `count_max` of them.
template <class Record>
class Records {
public:
    Records(std::uint64_t from, std::uint32_t count, std::uint32_t record_bytes,
            std::size_t count_max)
        : from_(from), count_(std::min<std::size_t>(count, count_max)),
          record_bytes_(record_bytes) {}

    [[nodiscard]] static bool is_record_size(std::uint32_t bytes) {
        return bytes >= sizeof(Record) && bytes <= kRecordBytesMax && bytes % 4 == 0;
    }
    [[nodiscard]] std::size_t count() const { return count_; }

    /// 0, -EFAULT, or -E2BIG: there is something behind the fields that we know.
    int read(std::size_t index, Record& record) {
        const std::size_t page_count = kPageBytes / record_bytes_;
        if (index % page_count == 0) {
            const std::size_t records = std::min(page_count, count_ - index);
            page_.resize(records * record_bytes_);
            if (copy_from_user(page_.data(), from_ + index * record_bytes_, page_.size()) !=
                no_error) {
                return -EFAULT;
            }
        }
        const std::byte* at = page_.data() + index % page_count * record_bytes_;
        if (std::any_of(at + sizeof record, at + record_bytes_,
                        [](std::byte byte) { return byte != std::byte{}; })) {
            return -E2BIG;
        }
        std::memcpy(&record, at, sizeof record);
        return 0;
    }

private:
    static constexpr std::size_t kPageBytes = 4096;

    std::uint64_t from_;
    std::size_t count_;
    std::size_t record_bytes_;
    std::vector<std::byte> page_;
};

std::string_view text_at(const btf* types, std::uint32_t offset) {
    const char* text = btf__name_by_offset(types, offset);
    return text == nullptr ? std::string_view{} : std::string_view(text);
}

/// Without qualifiers and other names; void if there is no such type.
const btf_type& plain(const btf* types, std::uint32_t id) {
    const btf_type* type = btf__type_by_id(types, id);
    for (unsigned depth = 0; type != nullptr && depth < 32 && is_modifier(*type); ++depth) {
        type = btf__type_by_id(types, type->type);
    }
    return type != nullptr ? *type : *btf__type_by_id(types, 0);
}

/// What declaration tags (arg:...) say of an argument.
enum Tag : unsigned {
    kContext = 1U << 0,
    kTrusted = 1U << 1,
    kUntrusted = 1U << 2,
    kNonNull = 1U << 3,
    kNullable = 1U << 4,
    kUnknown = 1U << 5,
};

class ArgumentTags {
public:
    /// One look at all types.
    explicit ArgumentTags(const btf* types) {
        for (std::uint32_t id = 1; id < btf__type_cnt(types); ++id) {
            const btf_type* type = btf__type_by_id(types, id);
            if (!btf_is_decl_tag(type)) {
                continue;
            }
            const std::string_view text = text_at(types, type->name_off);
            if (text.starts_with(kPrefix)) {
                tags_[{type->type, btf_decl_tag(type)->component_idx}] |=
                    tag_of(text.substr(kPrefix.size()));
            }
        }
    }
    /// Some Tags.
    [[nodiscard]] unsigned of(std::uint32_t function, std::int32_t argument) const {
        const auto found = tags_.find({function, argument});
        return found == tags_.end() ? 0 : found->second;
    }

private:
    static constexpr std::string_view kPrefix = "arg:";

    static unsigned tag_of(std::string_view text) {
        return text == "ctx"         ? kContext
               : text == "trusted"   ? kTrusted
               : text == "untrusted" ? kUntrusted
               : text == "nonnull"   ? kNonNull
               : text == "nullable"  ? kNullable
                                     : kUnknown;
    }

    std::map<std::pair<std::uint32_t, std::int32_t>, unsigned> tags_;
};

/// By the type alone, whatever names and qualifiers it has been given.
bool is_context(const btf* types, const btf_type& pointed_at, std::uint32_t program_type) {
    return program_type == BPF_PROG_TYPE_PERF_EVENT && btf_is_struct(&pointed_at) &&
           text_at(types, pointed_at.name_off) == "bpf_perf_event_data";
}

/// The struct that a type is a view of: what stands behind ___ names the view.
std::optional<bpf::verifier::Struct> kernel_struct(const btf* types, const btf_type& type) {
    if (!btf_is_struct(&type)) {
        return std::nullopt;
    }
    const std::string_view name = text_at(types, type.name_off);
    const std::string_view essence = name.substr(0, name.find("___"));
    return essence == "task_struct" ? std::optional(bpf::verifier::Struct::task)
           : essence == "mm_struct" ? std::optional(bpf::verifier::Struct::mm)
                                    : std::nullopt;
}

class Description {
public:
    Description(const Command& command, const btf* types, bpf::LoadSpec& spec, std::string& log)
        : command_(command), attr_(command.attr), types_(types), spec_(spec), log_(log) {}

    int functions();
    int lines();

private:
    int refuse(const std::string& text) {
        log_ += text + "\n";
        return -EINVAL;
    }
    /// Of a record that could not be read.
    int refuse(int error, const char* text, std::size_t size_offset, std::uint32_t known) {
        if (error == -E2BIG) {
            log_ += std::string(text) + "\n";
            if (const long put = command_.put(size_offset, known); put != 0) {
                return static_cast<int>(put);
            }
        }
        return error;
    }
    [[nodiscard]] bool is_name(std::uint32_t offset) const {
        return btf__name_by_offset(types_, offset) != nullptr;
    }
    bpf::verifier::FunctionInfo describe(const bpf_func_info& record, const btf_type& function);
    bpf::verifier::ArgumentInfo argument(std::uint32_t function, int index, std::uint32_t type_id);

    const Command& command_;
    const union bpf_attr& attr_;
    const btf* types_;
    bpf::LoadSpec& spec_;
    std::string& log_;
    std::optional<ArgumentTags> tags_;
};

bpf::verifier::ArgumentInfo Description::argument(std::uint32_t function, int index,
                                                  std::uint32_t type_id) {
    using Kind = bpf::verifier::ArgumentInfo::Kind;
    const std::string place = "arg#" + std::to_string(index);
    const auto unsupported = [](std::string why) {
        return bpf::verifier::ArgumentInfo{.kind = Kind::unsupported, .why = std::move(why)};
    };
    if (!tags_) {
        tags_.emplace(types_);
    }
    const unsigned tags = tags_->of(function, index);
    if ((tags & kUnknown) != 0) {
        return unsupported(place + " has unsupported set of tags");
    }
    const btf_type& type = plain(types_, type_id);
    if (!btf_is_ptr(&type)) {
        if (tags != 0) {
            return unsupported(place + " has pointer tag, but is not a pointer type");
        }
        if (btf_is_int(&type) || btf_is_any_enum(&type)) {
            return {.kind = Kind::scalar};
        }
        const btf_type* named = btf__type_by_id(types_, function);
        return unsupported("Arg#" + std::to_string(index) + " type " + kind_name(btf_kind(&type)) +
                           " in " + std::string(text_at(types_, named->name_off)) +
                           "() is not supported yet.");
    }
    const btf_type& target = plain(types_, type.type);
    const bool is_context_tagged = (tags & kContext) != 0;
    if (is_context_tagged || is_context(types_, target, attr_.prog_type)) {
        return (tags & ~kContext) == 0 ? bpf::verifier::ArgumentInfo{.kind = Kind::context}
                                       : unsupported(place + " has invalid combination of tags");
    }
    const std::string reference = place + " reference type('" + kind_name(btf_kind(&target)) + " " +
                                  std::string(text_at(types_, target.name_off)) + "') ";
    if ((tags & kTrusted) != 0) {
        if ((tags & kNonNull) != 0) {
            return unsupported(place + " has invalid combination of tags");
        }
        const auto structure = kernel_struct(types_, target);
        if (!structure) {
            return unsupported(reference + "has no matches");
        }
        return {.kind = Kind::trusted_struct,
                .non_null = (tags & kNullable) == 0,
                .structure = *structure};
    }
    if ((tags & kUntrusted) != 0) {
        return unsupported(place + " is untrusted: such arguments are not supported");
    }
    if ((tags & kNullable) != 0) {
        return unsupported(place + " has invalid combination of tags");
    }
    const std::int64_t size = type.type == 0 ? -1 : btf__resolve_size(types_, type.type);
    if (size <= 0) {
        return unsupported(reference + "size cannot be determined: " + std::to_string(-EINVAL));
    }
    return {.kind = Kind::memory,
            .size = static_cast<std::uint32_t>(size),
            .non_null = (tags & kNonNull) != 0};
}

bpf::verifier::FunctionInfo Description::describe(const bpf_func_info& record,
                                                  const btf_type& function) {
    bpf::verifier::FunctionInfo info;
    info.insn = record.insn_off;
    info.name = text_at(types_, function.name_off);
    info.is_global = btf_vlen(&function) == BTF_FUNC_GLOBAL && record.insn_off != 0;
    const btf_type* prototype = btf__type_by_id(types_, function.type);
    const btf_type& result = plain(types_, prototype->type);
    info.returns_scalar = btf_is_int(&result) || btf_is_any_enum(&result);
    if (info.is_global) {
        const btf_param* parameters = btf_params(prototype);
        const unsigned count = std::min<unsigned>(btf_vlen(prototype), kArgumentsMax);
        for (unsigned i = 0; i < count; ++i) {
            info.arguments.push_back(
                argument(record.type_id, static_cast<int>(i), parameters[i].type));
        }
    }
    return info;
}

int Description::functions() {
    if (attr_.func_info_cnt == 0) {
        return 0;
    }
    if (!Records<bpf_func_info>::is_record_size(attr_.func_info_rec_size)) {
        return refuse("invalid func info rec size " + std::to_string(attr_.func_info_rec_size));
    }
    Records<bpf_func_info> records(attr_.func_info, attr_.func_info_cnt, attr_.func_info_rec_size,
                                   std::size_t{spec_.insn_count} + 1);
    std::uint32_t before = 0;
    for (std::size_t i = 0; i < records.count(); ++i) {
        bpf_func_info record;
        if (const int error = records.read(i, record); error != 0) {
            return refuse(error, "nonzero tailing record in func info",
                          offsetof(union bpf_attr, func_info_rec_size), sizeof record);
        }
        if (i == 0 && record.insn_off != 0) {
            return refuse("nonzero insn_off " + std::to_string(record.insn_off) +
                          " for the first func info record");
        }
        if (i != 0 && record.insn_off <= before) {
            return refuse("same or smaller insn offset (" + std::to_string(record.insn_off) +
                          ") than previous func info record (" + std::to_string(before) + ")");
        }
        before = record.insn_off;
        const btf_type* function = btf__type_by_id(types_, record.type_id);
        if (function == nullptr || !btf_is_func(function)) {
            return refuse("invalid type id " +
                          std::to_string(static_cast<std::int32_t>(record.type_id)) +
                          " in func info");
        }
        spec_.functions.push_back(describe(record, *function));
    }
    return 0;
}

std::string_view trimmed(std::string_view text) {
    const std::size_t begin = text.find_first_not_of(" \t");
    return begin == std::string_view::npos ? std::string_view{} : text.substr(begin);
}

int Description::lines() {
    if (attr_.line_info_cnt == 0) {
        return 0;
    }
    if (!Records<bpf_line_info>::is_record_size(attr_.line_info_rec_size)) {
        return refuse("invalid line info rec size " + std::to_string(attr_.line_info_rec_size));
    }
    Records<bpf_line_info> records(attr_.line_info, attr_.line_info_cnt, attr_.line_info_rec_size,
                                   std::size_t{spec_.insn_count} + 1);
    std::uint32_t before = 0;
    for (std::size_t i = 0; i < records.count(); ++i) {
        bpf_line_info record;
        if (const int error = records.read(i, record); error != 0) {
            return refuse(error, "nonzero tailing record in line_info",
                          offsetof(union bpf_attr, line_info_rec_size), sizeof record);
        }
        const std::string which = "line_info[" + std::to_string(i) + "]";
        if ((i != 0 && record.insn_off <= before) || record.insn_off >= spec_.insn_count) {
            return refuse("Invalid " + which + ".insn_off:" + std::to_string(record.insn_off) +
                          " (prev_offset:" + std::to_string(before) +
                          " prog->len:" + std::to_string(spec_.insn_count) + ")");
        }
        before = record.insn_off;
        if (spec_.insns[record.insn_off].code == 0) {  // the second half of a wide one
            return refuse("Invalid insn code at " + which + ".insn_off");
        }
        if (!is_name(record.line_off) || !is_name(record.file_name_off)) {
            return refuse("Invalid " + which + ".line_off or .file_name_off");
        }
        bpf::verifier::LineInfo& line = spec_.lines.emplace_back();
        line.insn = record.insn_off;
        if (attr_.log_level != 0) {  // or nobody will read of it
            const std::string_view file = text_at(types_, record.file_name_off);
            line.file = file.substr(file.rfind('/') + 1).substr(0, kFileBytesMax);
            line.line = BPF_LINE_INFO_LINE_NUM(record.line_col);
            line.text = trimmed(text_at(types_, record.line_off)).substr(0, kLineBytesMax);
        }
    }
    return 0;
}

}  // namespace

int describe_program(const Command& command, const BtfObject& types, bpf::LoadSpec& spec,
                     std::string& log) {
    Description description(command, types.types(), spec, log);
    const int error = description.functions();
    return error != 0 ? error : description.lines();
}

}  // namespace taskwork::uapi
