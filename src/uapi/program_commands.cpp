// SPDX-License-Identifier: Apache-2.0
//
// Programs and what they are attached to: PROG_LOAD, PROG_TEST_RUN, PROG_BIND_MAP, LINK_*.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "uapi/command.hpp"
#include "uapi/descriptors.hpp"
#include "uapi/perf_event.hpp"
#include "uapi/program_types.hpp"
#include "uapi/registry.hpp"
#include "uapi/thread.hpp"
#include "uapi/uapi.hpp"
#include "uapi/verifier_log.hpp"

namespace taskwork::uapi {
namespace {

constexpr int kNotSupported = -static_cast<int>(errc_kernel_notsupp);
constexpr std::uint32_t kInsnsMax = 1000000;  // BPF_COMPLEXITY_LIMIT_INSNS
constexpr std::size_t kLicenseMax = 128;
constexpr std::uint32_t kContextMax = UINT16_MAX;
/// Not in Debian's <linux/bpf.h>: program types and flags up to 6.18.
constexpr std::uint32_t kProgramTypesEnd = 33;
constexpr std::uint32_t kProgramFlags = 0xff;  // to BPF_F_TEST_REG_INVARIANTS

std::uint32_t insns_processed_max = bpf::verifier::kInsnsProcessedMax;

/// Loaders find out what a kernel can do by loading a few instructions as a program of a simple
/// type. They are answered, although programs of such types cannot be attached here; a program
/// compiled from somebody's source, which comes with BTF, is refused by name instead.
bool is_probe(const union bpf_attr& attr) {
    constexpr std::uint32_t probe_insns_max = 16;
    return attr.prog_type != BPF_PROG_TYPE_PERF_EVENT && attr.prog_type != BPF_PROG_TYPE_SYSCALL &&
           attr.prog_type < kProgramTypesEnd && attr.prog_btf_fd == 0 &&
           attr.insn_cnt <= probe_insns_max;
}

std::uint64_t boot_time_ns() {
    timespec now{};
    clock_gettime(CLOCK_BOOTTIME, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1000000000 +
           static_cast<std::uint64_t>(now.tv_nsec);
}

/// The instructions, with map references through fd_array made into plain ones. Negative errno.
int copy_instructions(const union bpf_attr& attr, std::vector<bpf_insn>& insns) {
    insns.resize(attr.insn_cnt);
    if (copy_from_user(insns.data(), attr.insns, insns.size() * sizeof(bpf_insn)) != no_error) {
        return -EFAULT;
    }
    for (std::size_t index = 0; index < insns.size(); ++index) {
        bpf_insn& insn = insns[index];
        if (insn.code != (BPF_LD | BPF_IMM | BPF_DW)) {
            continue;
        }
        const bool by_index = insn.src_reg == BPF_PSEUDO_MAP_IDX;
        const bool value_by_index = insn.src_reg == BPF_PSEUDO_MAP_IDX_VALUE;
        if (by_index || value_by_index) {
            const auto entry = static_cast<std::uint32_t>(insn.imm);
            std::int32_t descriptor = -1;
            if (attr.fd_array == 0) {
                return -EPROTO;
            }
            if (copy_from_user(&descriptor, attr.fd_array + entry * sizeof descriptor,
                               sizeof descriptor) != no_error) {
                return -EFAULT;
            }
            insn.src_reg = by_index ? BPF_PSEUDO_MAP_FD : BPF_PSEUDO_MAP_VALUE;
            insn.imm = descriptor;
        }
        ++index;  // the second half
    }
    return 0;
}

}  // namespace

void set_insns_processed_max(std::uint32_t count) { insns_processed_max = count; }

long prog_load(const Command& command) {
    const union bpf_attr& attr = command.attr;
    if (!command.ends_at(TW_ATTR_END(core_relo_rec_size))) {
        return -EINVAL;
    }
    if ((attr.prog_flags & ~kProgramFlags) != 0 || !is_object_name(attr.prog_name)) {
        return -EINVAL;
    }
    std::string license;
    if (const std::errc error = copy_string_from_user(license, attr.license, kLicenseMax);
        error != no_error) {
        return -EFAULT;
    }
    if (attr.insn_cnt == 0 || attr.insn_cnt > kInsnsMax) {
        return -E2BIG;
    }
    if (!is_probe(attr) && (attr.attach_btf_id != 0 || attr.attach_prog_fd != 0)) {
        return refuse(-EINVAL, "programs that are attached to other code are not available");
    }
    std::shared_ptr<BtfObject> btf;
    if (attr.prog_btf_fd != 0 || attr.func_info_cnt != 0 || attr.line_info_cnt != 0) {
        int error = 0;
        const auto handle = object_as<BtfHandle>(static_cast<int>(attr.prog_btf_fd), error);
        if (handle == nullptr) {
            return error;
        }
        btf = handle->btf();
        if (btf->is_kernel()) {
            return -EACCES;
        }
    }
    if (attr.core_relo_cnt != 0) {
        return refuse(-EINVAL, "relocations are the loader's part (BPF_PROG_LOAD, core_relos)");
    }
    const VerifierLog log(attr.log_level, attr.log_buf, attr.log_size);
    if (!log.is_valid()) {
        return -EINVAL;
    }
    std::vector<bpf_insn> insns;
    if (const int error = copy_instructions(attr, insns); error != 0) {
        return error;
    }

    bpf::LoadSpec spec;
    spec.type = attr.prog_type;
    spec.expected_attach_type = attr.expected_attach_type;
    spec.flags = attr.prog_flags;
    spec.insns = insns.data();
    spec.insn_count = static_cast<std::uint32_t>(insns.size());
    spec.name = attr.prog_name;  // checked: it is terminated
    spec.license = std::move(license);
    spec.probe = is_probe(attr);
    spec.log_level = attr.log_level;
    spec.insns_processed_max = insns_processed_max;
    std::string text;
    if (btf != nullptr) {
        if (const int error = describe_program(command, *btf, spec, text); error != 0) {
            return log.finish(text, refuse(error, text.substr(0, text.find('\n'))));
        }
    }
    // The maps found stay while the program takes references of its own.
    std::vector<std::shared_ptr<MapObject>> maps;
    spec.map_by_fd = [&maps](int descriptor) -> map::Map* {
        int error = 0;
        auto object = object_as<MapObject>(descriptor, error);
        if (object == nullptr) {
            return nullptr;
        }
        maps.push_back(std::move(object));
        return &maps.back()->map();
    };
    spec.kfunc_name = [](std::uint32_t id) { return BtfObject::kernel()->function_name(id); };

    Result<bpf::Program*> loaded = bpf::load_program(spec, text);
    if (!loaded) {
        return log.finish(text, refuse(negative_errno(loaded.error().code), loaded.error().text));
    }
    bpf::Program& program = **loaded;
    auto object = std::make_shared<ProgramObject>(program, attr.prog_type);
    if (const long result = log.finish(text, 0); result != 0) {
        return result;
    }
    retain(program, {std::move(btf), attr.prog_type, getuid(), boot_time_ns(),
                     bpf::is_gpl_compatible(spec.license)});
    return install_descriptor(std::move(object), Backing::memfd, "bpf-prog");
}

long prog_test_run(const Command& command) {
    const auto& test = command.attr.test;
    if (!command.ends_at(TW_ATTR_END(test.batch_size)) ||
        (test.ctx_size_in != 0) != (test.ctx_in != 0) ||
        (test.ctx_size_out != 0) != (test.ctx_out != 0)) {
        return -EINVAL;
    }
    int error = 0;
    const auto object = object_as<ProgramObject>(static_cast<int>(test.prog_fd), error);
    if (object == nullptr) {
        return error;
    }
    if (object->type() != BPF_PROG_TYPE_SYSCALL) {
        return kNotSupported;
    }
    // What a syscall program does not have (kernel/bpf/net/test_run.c).
    if (test.data_in != 0 || test.data_out != 0 || test.ctx_out != 0 || test.duration != 0 ||
        test.repeat != 0 || test.flags != 0 || test.batch_size != 0 ||
        test.ctx_size_in < object->program().context_bytes || test.ctx_size_in > kContextMax) {
        return -EINVAL;
    }
    // Those that it calls may use more of their context than the program itself.
    const bpf::Program& program = object->program();
    const bool calls =
        std::any_of(program.maps, program.maps + program.map_count,
                    [](const map::Map* map) { return map->type == BPF_MAP_TYPE_PROG_ARRAY; });
    std::vector<std::uint64_t> context(((calls ? kContextMax : test.ctx_size_in) + 7) / 8);
    if (copy_from_user(context.data(), test.ctx_in, test.ctx_size_in) != no_error) {
        return -EFAULT;
    }
    task::Task* task = own_task();
    if (task == nullptr) {
        return -ESRCH;
    }
    std::uint32_t result = 0;
    {
        const task::Section section(task);
        bpf::Execution execution;
        execution.task = task;
        execution.program = &object->program();
        execution.context = context.empty() ? nullptr : context.data();
        execution.context_size = calls ? kContextMax : test.ctx_size_in;
        execution.context_writable = true;
        result = static_cast<std::uint32_t>(bpf::run(execution));
    }
    if (copy_to_user(test.ctx_in, context.data(), test.ctx_size_in) != no_error) {
        return -EFAULT;
    }
    return command.put(offsetof(union bpf_attr, test.retval), result);
}

long prog_bind_map(const Command& command) {
    const auto& bind = command.attr.prog_bind_map;
    if (!command.ends_at(TW_ATTR_END(prog_bind_map.flags)) || bind.flags != 0) {
        return -EINVAL;
    }
    int error = 0;
    const auto program_object = object_as<ProgramObject>(static_cast<int>(bind.prog_fd), error);
    if (program_object == nullptr) {
        return error;
    }
    const auto map_object = object_as<MapObject>(static_cast<int>(bind.map_fd), error);
    if (map_object == nullptr) {
        return error;
    }
    bpf::Program& program = program_object->program();
    map::Map& map = map_object->map();
    return bind_map(program, map) ? 0 : -E2BIG;
}

long link_create(const Command& command) {
    const auto& create = command.attr.link_create;
    if (!command.ends_at(TW_ATTR_END(link_create.kprobe_multi.cookies))) {
        return -EINVAL;
    }
    int error = 0;
    auto program = object_as<ProgramObject>(static_cast<int>(create.prog_fd), error);
    if (program == nullptr) {
        return error;
    }
    // Tracepoint programs are let through to the descriptor's check: that it fails with -EBADF is
    // how loaders find out that perf links exist.
    const bool attachable = program->type() == BPF_PROG_TYPE_PERF_EVENT;
    if ((!attachable && program->type() != BPF_PROG_TYPE_TRACEPOINT) ||
        (create.attach_type != BPF_PERF_EVENT)) {
        return refuse(-EINVAL, std::string("program '") + program->program().name +
                                   "': only perf_event programs can be attached here");
    }
    if (create.flags != 0) {
        return -EINVAL;
    }
    auto event = object_as<PerfEvent>(static_cast<int>(create.target_fd), error);
    if (event == nullptr) {
        return -EBADF;  // the kernel's answer for any descriptor that is no perf event
    }
    if (!attachable) {
        return -EINVAL;
    }
    Result<std::shared_ptr<LinkObject>> link =
        LinkObject::create(std::move(event), std::move(program), create.perf_event.bpf_cookie);
    if (!link) {
        return refuse(negative_errno(link.error().code), link.error().text);
    }
    return install_descriptor(std::move(*link), Backing::memfd, "bpf_link");
}

long link_update(const Command& command) {
    if (!command.ends_at(TW_ATTR_END(link_update.old_prog_fd))) {
        return -EINVAL;
    }
    int error = 0;
    if (object_as<LinkObject>(static_cast<int>(command.attr.link_update.link_fd), error) ==
        nullptr) {
        return error;
    }
    return -EINVAL;  // a perf link keeps its program
}

long link_detach(const Command& command) {
    if (!command.ends_at(TW_ATTR_END(link_detach.link_fd))) {
        return -EINVAL;
    }
    int error = 0;
    if (object_as<LinkObject>(static_cast<int>(command.attr.link_detach.link_fd), error) ==
        nullptr) {
        return error;
    }
    return -EOPNOTSUPP;  // a perf link is detached by closing it, as in the kernel
}

}  // namespace taskwork::uapi
