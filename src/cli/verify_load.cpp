// SPDX-License-Identifier: Apache-2.0
#include "cli/verify_load.hpp"

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>

#include "cli/absent_functions.hpp"
#include "cli/object_file.hpp"

namespace taskwork::cli {

namespace {

constexpr std::uint32_t kLevelPaths = 1 | 2;
constexpr std::uint32_t kLevelStatistics = 4;
/// Pages that are not written cost nothing.
constexpr std::size_t kLogBytes = std::size_t{256} << 20;
constexpr std::size_t kEndLines = 8;

/// "processed 12 insns" and the like: the number behind `word`, if `line` has it.
std::optional<std::uint64_t> number_behind(std::string_view line, std::string_view word) {
    const std::size_t at = line.find(word);
    if (at == std::string_view::npos) {
        return std::nullopt;
    }
    std::uint64_t number = 0;
    std::size_t digits = at + word.size();
    const std::size_t begin = digits;
    for (; digits < line.size() && std::isdigit(static_cast<unsigned char>(line[digits])) != 0;
         ++digits) {
        number = number * 10 + static_cast<std::uint64_t>(line[digits] - '0');
    }
    return digits == begin ? std::nullopt : std::optional(number);
}

/// "12: (b7) r0 = 0" or "12: R0=...": an instruction, or the state before it.
bool is_instruction(std::string_view line) {
    const std::size_t digits = line.find_first_not_of("0123456789");
    return digits != 0 && digits != std::string_view::npos && line.substr(digits, 2) == ": ";
}

/// What is neither path nor statistics is a message.
bool is_message(std::string_view line) {
    return !line.empty() && !is_instruction(line) && !line.starts_with(";") &&
           !line.starts_with("from ") && !line.starts_with("mark_precise: ") &&
           !line.starts_with("cur state: ") && !line.starts_with("old state: ");
}

/// The log's buffer, one for all programs.
char* log_buffer() {
    static auto* buffer = static_cast<char*>(std::malloc(kLogBytes));
    if (buffer == nullptr) {
        throw std::bad_alloc();
    }
    return buffer;
}

}  // namespace

bool is_source_line(std::string_view line) {
    return line.starts_with("; ") && line.find(" @ ") != std::string_view::npos;
}

LogSummary summarize_log(std::string_view log) {
    LogSummary summary;
    std::vector<std::string_view> lines;  // without statistics
    std::size_t source = 0;               // the last one's index
    while (!log.empty()) {
        const std::size_t length = std::min(log.find('\n'), log.size());
        const std::string_view line = log.substr(0, length);
        log.remove_prefix(std::min(length + 1, log.size()));
        if (line.starts_with("processed ")) {
            summary.insns_processed = number_behind(line, "processed ").value_or(0);
            summary.states_total = number_behind(line, "total_states ").value_or(0);
            summary.states_peak = number_behind(line, "peak_states ").value_or(0);
        } else if (const auto time = number_behind(line, "verification time ")) {
            summary.time_us = *time;
        } else if (!line.empty() && !line.starts_with("stack depth ")) {
            source = is_source_line(line) ? lines.size() : source;
            lines.push_back(line);
        }
    }
    const auto last = std::find_if(lines.rbegin(), lines.rend(), is_message);
    if (last != lines.rend()) {
        summary.reason = *last;
    }
    if (lines.size() - source > kEndLines) {
        summary.end = {std::string(lines[source]), "..."};
        source = lines.size() - (kEndLines - 2);
    }
    summary.end.insert(summary.end.end(), lines.begin() + static_cast<std::ptrdiff_t>(source),
                       lines.end());
    return summary;
}

Result<std::vector<ProgramName>> programs_of(const std::vector<char>& bytes,
                                             const std::string& path) {
    clear_messages(false);
    const Result<ObjectHandle> object = open_object(bytes, path);
    if (!object) {
        return object.error();
    }
    const btf* types = bpf_object__btf(object->get());
    std::vector<ProgramName> programs;
    for (bpf_program* program = nullptr;
         (program = bpf_object__next_program(object->get(), program)) != nullptr;) {
        ProgramName& entry = programs.emplace_back();
        entry.name = bpf_program__name(program);
        entry.section = bpf_program__section_name(program);
        const std::int32_t id = btf__find_by_name_kind(types, entry.name.c_str(), BTF_KIND_FUNC);
        for (std::uint32_t tag = 1; id > 0 && tag < btf__type_cnt(types); ++tag) {
            const btf_type* type = btf__type_by_id(types, tag);
            if (btf_is_decl_tag(type) && type->type == static_cast<std::uint32_t>(id) &&
                btf_decl_tag(type)->component_idx == -1) {
                entry.tags.emplace_back(btf__name_by_offset(types, type->name_off));
            }
        }
    }
    if (programs.empty()) {
        return Error{std::errc::invalid_argument, path + ": no program in it"};
    }
    return programs;
}

namespace {

/// The object as it is. `names`: of mark_absent_functions(), if that has made it.
ProgramVerdict load_program(const std::vector<char>& bytes, const std::string& path,
                            const std::string& program, std::uint32_t log_level,
                            const std::vector<std::string>& names) {
    clear_messages(false);
    ProgramVerdict verdict;
    const Result<ObjectHandle> object = open_object(bytes, path);
    if (!object) {
        verdict.reached_verifier = false;
        verdict.reason = object.error().text;
        return verdict;
    }
    for (bpf_program* each = nullptr;
         (each = bpf_object__next_program(object->get(), each)) != nullptr;) {
        bpf_program__set_autoload(each, program == bpf_program__name(each));
    }
    bpf_program* wanted = bpf_object__find_program_by_name(object->get(), program.c_str());
    char* const log = log_buffer();
    log[0] = '\0';
    if (log_level != 0) {
        bpf_program__set_log_buf(wanted, log, kLogBytes);
        bpf_program__set_log_level(wanted, log_level);
    }
    const auto begin = std::chrono::steady_clock::now();
    const int error = bpf_object__load(object->get());
    const auto elapsed = std::chrono::steady_clock::now() - begin;
    if (error == -ENOSPC && (log_level & kLevelPaths) != 0) {
        // The paths are too long.
        return load_program(bytes, path, program, kLevelStatistics, names);
    }
    verdict.accepted = error == 0;
    verdict.log = name_absent_functions(log, names);
    verdict.summary = summarize_log(verdict.log);
    if (verdict.summary.time_us == 0) {
        verdict.summary.time_us = static_cast<std::uint64_t>(
            std::chrono::duration_cast<std::chrono::microseconds>(elapsed).count());
    }
    if (!verdict.accepted) {
        verdict.reached_verifier = program_load_failed() || !verdict.log.empty();
        verdict.reason =
            verdict.summary.reason.empty() ? why_failed(-error) : verdict.summary.reason;
    }
    return verdict;
}

/// Whether a load has failed for want of a kernel function, or may have.
bool may_lack_functions(const ProgramVerdict& verdict) {
    return !verdict.accepted &&
           (lacks_function() || verdict.reason.find("kernel function") != std::string::npos);
}

}  // namespace

ProgramVerdict load_alone(const std::vector<char>& bytes, const std::string& path,
                          const std::string& program, std::uint32_t log_level) {
    ProgramVerdict verdict = load_program(bytes, path, program, log_level, {});
    if (!may_lack_functions(verdict)) {
        return verdict;
    }
    const Result<ObjectHandle> object = open_object(bytes, path);
    const btf* types = object ? bpf_object__btf(object->get()) : nullptr;
    if (types == nullptr) {
        return verdict;
    }
    const MarkedObject marked = mark_absent_functions(bytes, *types);
    if (!marked.names.empty()) {
        verdict = load_program(marked.bytes, path, program, log_level, marked.names);
        verdict.absent_functions = marked.needed;
    }
    return verdict;
}

}  // namespace taskwork::cli
