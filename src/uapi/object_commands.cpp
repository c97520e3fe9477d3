// SPDX-License-Identifier: Apache-2.0
//
// What is common to all objects: information, ids, BTF, statistics.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "uapi/btf_check.hpp"
#include "uapi/command.hpp"
#include "uapi/descriptors.hpp"
#include "uapi/map_access.hpp"
#include "uapi/perf_event.hpp"
#include "uapi/registry.hpp"
#include "uapi/verifier_log.hpp"

namespace taskwork::uapi {
namespace {

constexpr std::uint32_t kBtfSizeMax = 16 << 20;
constexpr std::uint32_t kInfoSizeMax = 4096;
constexpr std::uint32_t kIdsEnd = INT32_MAX;

/// The caller's info structure: read for its input fields, then written, cut to the caller's size.
template <class Info>
class InfoBuffer {
public:
    /// A caller whose structure is larger than ours gets -E2BIG if it holds anything there.
    explicit InfoBuffer(const Command& command) : command_(command) {
        const auto& request = command.attr.info;
        if (request.info_len > kInfoSizeMax) {
            error_ = -E2BIG;
            return;
        }
        size_ = std::min<std::uint32_t>(request.info_len, sizeof(Info));
        std::byte tail[kInfoSizeMax];
        const std::uint32_t tail_size = request.info_len - size_;
        if (copy_from_user(tail, request.info + size_, tail_size) != no_error) {
            error_ = -EFAULT;
        } else if (std::any_of(tail, tail + tail_size,
                               [](std::byte byte) { return byte != std::byte{}; })) {
            error_ = -E2BIG;
        } else if (copy_from_user(&given_, request.info, size_) != no_error) {
            error_ = -EFAULT;
        }
    }
    [[nodiscard]] long error() const noexcept { return error_; }
    /// What the caller put in: addresses and sizes of arrays.
    [[nodiscard]] const Info& given() const noexcept { return given_; }
    [[nodiscard]] long finish(const Info& info) const {
        if (copy_to_user(command_.attr.info.info, &info, size_) != no_error) {
            return -EFAULT;
        }
        return command_.put(offsetof(union bpf_attr, info.info_len), size_);
    }

private:
    const Command& command_;
    std::uint32_t size_ = 0;
    Info given_{};
    long error_ = 0;
};

long map_info(const Command& command, const MapObject& object) {
    const InfoBuffer<bpf_map_info> buffer(command);
    if (buffer.error() != 0) {
        return buffer.error();
    }
    const map::Map& map = object.map();
    bpf_map_info info{};
    info.type = map.type;
    info.id = map.id;
    info.key_size = map.key_size;
    info.value_size = map.value_size;
    info.max_entries = map.max_entries;
    info.map_flags = map.flags;
    std::memcpy(info.name, map.name, sizeof info.name);
    info.btf_id = map.btf_id;
    info.btf_key_type_id = map.btf_key_type_id;
    info.btf_value_type_id = map.btf_value_type_id;
    return buffer.finish(info);
}

long program_info(const Command& command, const ProgramObject& object) {
    const InfoBuffer<bpf_prog_info> buffer(command);
    if (buffer.error() != 0) {
        return buffer.error();
    }
    const bpf::Program& program = object.program();
    const bpf_prog_info& given = buffer.given();
    bpf_prog_info info{};
    info.type = object.type();
    info.id = program.id;
    std::memcpy(info.name, program.name, sizeof info.name);
    info.xlated_prog_len = program.insn_count * static_cast<std::uint32_t>(sizeof(bpf_insn));
    const ProgramFacts facts = retained_facts(program);
    info.created_by_uid = facts.created_by_uid;
    info.load_time = facts.load_time_ns;
    info.gpl_compatible = facts.gpl_compatible ? 1 : 0;
    info.btf_id = facts.btf == nullptr ? 0 : facts.btf->id();
    info.verified_insns = program.insn_count;
    info.run_cnt = program.runs.load(std::memory_order_relaxed);
    info.run_time_ns = program.run_ns.load(std::memory_order_relaxed);
    info.nr_map_ids = program.map_count;
    info.map_ids = given.map_ids;
    const std::uint32_t ids_wanted = std::min(given.nr_map_ids, program.map_count);
    for (std::uint32_t index = 0; index < ids_wanted; ++index) {
        const std::uint32_t id = program.maps[index]->id;
        if (copy_to_user(given.map_ids + index * sizeof id, &id, sizeof id) != no_error) {
            return -EFAULT;
        }
    }
    if (given.xlated_prog_insns != 0 && given.xlated_prog_len != 0) {
        info.xlated_prog_insns = given.xlated_prog_insns;
        if (copy_to_user(given.xlated_prog_insns, program.insns,
                         std::min(given.xlated_prog_len, info.xlated_prog_len)) != no_error) {
            return -EFAULT;
        }
    }
    info.jited_prog_len = program.native.bytes;
    if (given.jited_prog_insns != 0 && given.jited_prog_len != 0) {
        info.jited_prog_insns = given.jited_prog_insns;
        if (copy_to_user(given.jited_prog_insns, program.native.code,
                         std::min(given.jited_prog_len, info.jited_prog_len)) != no_error) {
            return -EFAULT;
        }
    }
    return buffer.finish(info);
}

long btf_info(const Command& command, const BtfHandle& handle) {
    const InfoBuffer<bpf_btf_info> buffer(command);
    if (buffer.error() != 0) {
        return buffer.error();
    }
    const BtfObject& btf = *handle.btf();
    const bpf_btf_info& given = buffer.given();
    const std::string name = btf.is_kernel() ? "vmlinux" : "";
    if ((given.name != 0) != (given.name_len != 0)) {
        return -EINVAL;
    }
    bpf_btf_info info{};
    info.btf = given.btf;
    info.btf_size = static_cast<std::uint32_t>(btf.raw().size());
    info.id = btf.id();
    info.name = given.name;
    info.name_len = static_cast<std::uint32_t>(name.size());
    info.kernel_btf = btf.is_kernel() ? 1 : 0;
    if (copy_to_user(given.btf, btf.raw().data(), std::min(given.btf_size, info.btf_size)) !=
        no_error) {
        return -EFAULT;
    }
    long result = 0;
    if (given.name != 0) {
        const std::size_t length = std::min<std::size_t>(name.size(), given.name_len - 1);
        if (copy_to_user(given.name, name.data(), length) != no_error ||
            copy_to_user(given.name + length, "", 1) != no_error) {
            return -EFAULT;
        }
        result = length < name.size() ? -ENOSPC : 0;
    }
    const long written = buffer.finish(info);
    return written != 0 ? written : result;
}

long link_info(const Command& command, const LinkObject& link) {
    const InfoBuffer<bpf_link_info> buffer(command);
    if (buffer.error() != 0) {
        return buffer.error();
    }
    bpf_link_info info{};
    info.type = BPF_LINK_TYPE_PERF_EVENT;
    info.id = link.id();
    info.prog_id = link.program().id;
    return buffer.finish(info);
}

std::string last_line(std::string_view text) {
    while (text.ends_with('\n')) {
        text.remove_suffix(1);
    }
    return std::string(text.substr(text.rfind('\n') + 1));
}

long open_map(std::uint32_t id, std::uint32_t open_flags) {
    if ((open_flags & ~static_cast<std::uint32_t>(BPF_F_RDONLY | BPF_F_WRONLY)) != 0 ||
        open_flags == (BPF_F_RDONLY | BPF_F_WRONLY)) {
        return -EINVAL;
    }
    map::Map* map = get_map(id);
    if (map == nullptr) {
        return -ENOENT;
    }
    auto object = std::make_shared<MapObject>(*map, (open_flags & BPF_F_WRONLY) == 0,
                                              (open_flags & BPF_F_RDONLY) == 0);
    map::put_reference(*map);
    return install_map(std::move(object));
}

long open_program(std::uint32_t id) {
    bpf::Program* program = get_program(id);
    if (program == nullptr) {
        return -ENOENT;
    }
    return install_descriptor(
        std::make_shared<ProgramObject>(*program, retained_facts(*program).type), Backing::memfd,
        "bpf-prog");
}

}  // namespace

long btf_load(const Command& command) {
    const union bpf_attr& attr = command.attr;
    if (!command.ends_at(TW_ATTR_END(btf_log_level))) {
        return -EINVAL;
    }
    if (attr.btf_size > kBtfSizeMax) {
        return -E2BIG;
    }
    const VerifierLog log(attr.btf_log_level, attr.btf_log_buf, attr.btf_log_size);
    if (!log.is_valid()) {
        return -EINVAL;
    }
    std::vector<std::byte> raw(attr.btf_size);
    if (copy_from_user(raw.data(), attr.btf, raw.size()) != no_error) {
        return -EFAULT;
    }
    std::string text;
    if (int error = check_btf(raw, log.is_read() ? &text : nullptr); error != 0) {
        if (!log.is_read()) {
            check_btf(raw, &text);  // for the reason alone
        }
        return log.finish(text, refuse(error, "the BTF is malformed: " + last_line(text)));
    }
    std::shared_ptr<BtfObject> btf = BtfObject::load(std::move(raw));
    if (btf == nullptr) {
        return log.finish(text, refuse(-ENOMEM, "the BTF cannot be taken in"));
    }
    if (const int error = btf->check_locks(); error != 0) {
        return log.finish(text + "a struct's bpf_spin_lock is not as it must be\n",
                          refuse(error,
                                 "a struct of the BTF has more than one lock, or one that is "
                                 "misaligned or of another size"));
    }
    if (const long result = log.finish(text, 0); result != 0) {
        return result;
    }
    return install_descriptor(std::make_shared<BtfHandle>(std::move(btf)), Backing::memfd, "btf");
}

long get_info_by_fd(const Command& command) {
    const auto& request = command.attr.info;
    if (!command.ends_at(TW_ATTR_END(info.info))) {
        return -EINVAL;
    }
    const std::shared_ptr<Object> object = object_of(static_cast<int>(request.bpf_fd));
    if (object == nullptr) {
        const int error = wrong_descriptor(static_cast<int>(request.bpf_fd));
        return error == -EBADF ? -EBADFD : error;  // EBADFD: so says the kernel, here alone
    }
    switch (object->kind()) {
    case Object::Kind::map:
        return map_info(command, static_cast<const MapObject&>(*object));
    case Object::Kind::program:
        return program_info(command, static_cast<const ProgramObject&>(*object));
    case Object::Kind::btf:
        return btf_info(command, static_cast<const BtfHandle&>(*object));
    case Object::Kind::link:
        return link_info(command, static_cast<const LinkObject&>(*object));
    case Object::Kind::perf_event:
    case Object::Kind::statistics:
        break;
    }
    return -EINVAL;
}

long get_next_id(int bpf_command, const Command& command) {
    const std::uint32_t start = command.attr.start_id;
    if (!command.ends_at(TW_ATTR_END(next_id)) || start >= kIdsEnd) {
        return -EINVAL;
    }
    std::uint32_t next = 0;
    switch (bpf_command) {
    case BPF_MAP_GET_NEXT_ID:
        next = next_map_id(start);
        break;
    case BPF_PROG_GET_NEXT_ID:
        next = next_program_id(start);
        break;
    case BPF_BTF_GET_NEXT_ID:
        next = BtfObject::next_id(start);
        break;
    case BPF_LINK_GET_NEXT_ID:
        next = LinkObject::next_id(start);
        break;
    }
    return next == 0 ? -ENOENT : command.put(offsetof(union bpf_attr, next_id), next);
}

long get_fd_by_id(int bpf_command, const Command& command) {
    const union bpf_attr& attr = command.attr;
    const std::size_t end =
        bpf_command == BPF_MAP_GET_FD_BY_ID ? TW_ATTR_END(open_flags) : TW_ATTR_END(start_id);
    if (!command.ends_at(end)) {
        return -EINVAL;
    }
    switch (bpf_command) {
    case BPF_MAP_GET_FD_BY_ID:
        return open_map(attr.map_id, attr.open_flags);
    case BPF_PROG_GET_FD_BY_ID:
        return open_program(attr.prog_id);
    case BPF_BTF_GET_FD_BY_ID: {
        std::shared_ptr<BtfObject> btf = BtfObject::by_id(attr.btf_id);
        return btf == nullptr ? -ENOENT
                              : install_descriptor(std::make_shared<BtfHandle>(std::move(btf)),
                                                   Backing::memfd, "btf");
    }
    case BPF_LINK_GET_FD_BY_ID: {
        std::shared_ptr<LinkObject> link = LinkObject::by_id(attr.link_id);
        return link == nullptr ? -ENOENT
                               : install_descriptor(std::move(link), Backing::memfd, "bpf_link");
    }
    }
    return -EINVAL;
}

long enable_stats(const Command& command) {
    if (!command.ends_at(TW_ATTR_END(enable_stats.type)) ||
        command.attr.enable_stats.type != BPF_STATS_RUN_TIME) {
        return -EINVAL;
    }
    return install_descriptor(std::make_shared<StatisticsObject>(), Backing::memfd, "bpf-stats");
}

}  // namespace taskwork::uapi
