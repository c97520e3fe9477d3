// SPDX-License-Identifier: Apache-2.0
#include "uapi/command.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <utility>

#include "sync/arena.hpp"
#include "uapi/diagnosis.hpp"
#include "uapi/uapi.hpp"

namespace taskwork::uapi {
namespace {

constexpr unsigned kAttrSizeMax = 4096;

/// Takes attrs of any version: a missing tail is zero, an unknown one must be.
int copy_attr(Command& command, const union bpf_attr* user, unsigned size) {
    if (size > kAttrSizeMax) {
        return -E2BIG;
    }
    command.user = user_address(user);
    if (size > sizeof command.attr) {
        std::byte tail[kAttrSizeMax];
        const std::size_t tail_size = size - sizeof command.attr;
        if (copy_from_user(tail, command.user + sizeof command.attr, tail_size) != no_error) {
            return -EFAULT;
        }
        if (std::any_of(tail, tail + tail_size,
                        [](std::byte byte) { return byte != std::byte{}; })) {
            return -E2BIG;
        }
    }
    std::memset(&command.attr, 0, sizeof command.attr);
    const std::size_t known = std::min<std::size_t>(size, sizeof command.attr);
    return copy_from_user(&command.attr, command.user, known) == no_error ? 0 : -EFAULT;
}

long run_command(int number, const Command& command) {
    switch (number) {
    case BPF_MAP_CREATE:
        return map_create(command);
    case BPF_MAP_LOOKUP_ELEM:
        return map_lookup_elem(command);
    case BPF_MAP_UPDATE_ELEM:
        return map_update_elem(command);
    case BPF_MAP_DELETE_ELEM:
        return map_delete_elem(command);
    case BPF_MAP_GET_NEXT_KEY:
        return map_get_next_key(command);
    case BPF_MAP_LOOKUP_AND_DELETE_ELEM:
        return map_lookup_and_delete_elem(command);
    case BPF_MAP_FREEZE:
        return map_freeze(command);
    case BPF_MAP_LOOKUP_BATCH:
        return map_lookup_batch(command);
    case BPF_MAP_LOOKUP_AND_DELETE_BATCH:
        return map_lookup_and_delete_batch(command);
    case BPF_MAP_UPDATE_BATCH:
        return map_update_batch(command);
    case BPF_MAP_DELETE_BATCH:
        return map_delete_batch(command);
    case BPF_PROG_LOAD:
        return prog_load(command);
    case BPF_PROG_TEST_RUN:
        return prog_test_run(command);
    case BPF_PROG_BIND_MAP:
        return prog_bind_map(command);
    case BPF_LINK_CREATE:
        return link_create(command);
    case BPF_LINK_UPDATE:
        return link_update(command);
    case BPF_LINK_DETACH:
        return link_detach(command);
    case BPF_BTF_LOAD:
        return btf_load(command);
    case BPF_OBJ_GET_INFO_BY_FD:
        return get_info_by_fd(command);
    case BPF_PROG_GET_NEXT_ID:
    case BPF_MAP_GET_NEXT_ID:
    case BPF_BTF_GET_NEXT_ID:
    case BPF_LINK_GET_NEXT_ID:
        return get_next_id(number, command);
    case BPF_PROG_GET_FD_BY_ID:
    case BPF_MAP_GET_FD_BY_ID:
    case BPF_BTF_GET_FD_BY_ID:
    case BPF_LINK_GET_FD_BY_ID:
        return get_fd_by_id(number, command);
    case BPF_ENABLE_STATS:
        return enable_stats(command);
    case BPF_OBJ_PIN:
    case BPF_OBJ_GET:
        return refuse(-EOPNOTSUPP, "bpf(2): pinning to a file system is not supported");
    case BPF_RAW_TRACEPOINT_OPEN:
        return refuse(-EOPNOTSUPP,
                      "bpf(2): there are no raw tracepoints, fentry or LSM hooks here");
    case BPF_PROG_ATTACH:
    case BPF_PROG_DETACH:
    case BPF_PROG_QUERY:
        return refuse(-EINVAL, "bpf(2): there is nothing to attach to but perf events (no cgroups, "
                               "sockets or network devices)");
    case BPF_TASK_FD_QUERY:
    case BPF_ITER_CREATE:
    default:
        return refuse(-EINVAL, "bpf(2): command " + std::to_string(number) + " is not supported");
    }
}

}  // namespace

bool Command::ends_at(std::size_t end) const noexcept {
    const auto* bytes = reinterpret_cast<const unsigned char*>(&attr);
    return std::all_of(bytes + end, bytes + sizeof attr,
                       [](unsigned char byte) { return byte == 0; });
}

long Command::put(std::size_t offset, std::uint32_t value) const noexcept {
    return copy_to_user(user + offset, &value, sizeof value) == no_error ? 0 : -EFAULT;
}

long refuse(int negative_error, std::string reason) {
    set_diagnosis(std::move(reason));
    return negative_error;
}

bool is_object_name(const char (&name)[BPF_OBJ_NAME_LEN]) noexcept {
    const char* end = std::find(std::begin(name), std::end(name), '\0');
    return end != std::end(name) && std::all_of(std::begin(name), end, [](char character) {
               const auto byte = static_cast<unsigned char>(character);
               return byte < 128 && (std::isalnum(byte) != 0 || byte == '_' || byte == '.');
           });
}

long bpf(int number, union bpf_attr* attr, unsigned size) {
    if (!sync::Arena::present() || !sync::Arena::is_host()) {
        return refuse(-ESRCH, "bpf(2): this process is not the host of a domain");
    }
    Command command;
    if (const int error = copy_attr(command, attr, size); error != 0) {
        return error;
    }
    return run_command(number, command);
}

}  // namespace taskwork::uapi
