// SPDX-License-Identifier: Apache-2.0
#include "uapi/map_access.hpp"

#include <linux/bpf.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "bpf/program.hpp"
#include "map/array.hpp"
#include "map/map_in_map.hpp"
#include "map/program_array.hpp"
#include "sync/platform.hpp"
#include "task/worker.hpp"
#include "uapi/descriptors.hpp"
#include "uapi/perf_event.hpp"

namespace taskwork::uapi {

MapAccess::MapAccess(std::uint32_t descriptor, unsigned wanted)
    : object_(object_as<MapObject>(static_cast<int>(descriptor), error_)) {
    if (error_ != 0) {
        return;
    }
    if (((wanted & read) != 0 && !object_->may_read()) ||
        ((wanted & write) != 0 && !object_->may_write())) {
        error_ = -EPERM;
        return;
    }
    section_.emplace();
    if (!section_->entered()) {
        error_ = -ESRCH;
    }
}

long MapAccess::update(const void* key, const void* value, std::uint64_t flags) {
    const std::uint64_t until = platform::now_ns() + kMemoryWaitNs;
    for (;;) {
        const long result = update_once(key, value, flags);
        const std::uint64_t now = platform::now_ns();
        if (result != -ENOMEM || now >= until) {
            return result;
        }
        section_.reset();  // we are one of the readers
        task::Worker::synchronize(until - now);
        section_.emplace();
        if (!section_->entered()) {
            return -ESRCH;
        }
    }
}

long MapAccess::update_once(const void* key, const void* value, std::uint64_t flags) const {
    if (map().type == BPF_MAP_TYPE_PROG_ARRAY) {
        return update_program(key, value, flags);
    }
    if (map().type == BPF_MAP_TYPE_PERF_EVENT_ARRAY) {
        return update_event(key, value, flags);
    }
    if (!map::is_outer(map())) {
        return negative_errno(map::update_by_user(map(), key, value, flags));
    }
    if (const std::errc error = map::may_put_inner(map(), key, flags); error != no_error) {
        return negative_errno(error);
    }
    std::uint32_t descriptor = 0;
    std::memcpy(&descriptor, value, sizeof descriptor);
    int error = 0;
    const auto inner = object_as<MapObject>(static_cast<int>(descriptor), error);
    return inner == nullptr ? error
                            : negative_errno(map::put_inner(map(), key, inner->map(), flags));
}

long MapAccess::update_program(const void* key, const void* value, std::uint64_t flags) const {
    if (const std::errc error = map::may_put_at(map(), key, flags); error != no_error) {
        return negative_errno(error);
    }
    std::uint32_t descriptor = 0;
    std::memcpy(&descriptor, value, sizeof descriptor);
    int error = 0;
    const auto object = object_as<ProgramObject>(static_cast<int>(descriptor), error);
    if (object == nullptr) {
        return error;
    }
    taskwork::bpf::Program& program = object->program();
    taskwork::bpf::get_program(program);
    const std::errc refused = map::put_entry(
        map(), key, {&program, program.id, {object->type(), program.expected_attach_type}});
    if (refused != no_error) {
        taskwork::bpf::put_program(program);
    }
    return negative_errno(refused);
}

long MapAccess::update_event(const void* key, const void* value, std::uint64_t flags) const {
    if (const std::errc error = map::may_put_at(map(), key, flags); error != no_error) {
        return negative_errno(error);
    }
    std::uint32_t descriptor = 0;
    std::memcpy(&descriptor, value, sizeof descriptor);
    int error = 0;
    auto event = object_as<PerfEvent>(static_cast<int>(descriptor), error);
    if (event == nullptr) {
        return -EBADF;
    }
    if (!event->may_be_entry()) {
        return -EOPNOTSUPP;
    }
    map::ArrayEntry entry;
    entry.output = &event->pages().output();
    entry.object =
        new std::shared_ptr<PerfEvent>(std::move(event));  // let_go_of_event() deletes it
    return negative_errno(map::put_entry(map(), key, entry));
}

void let_go_of_event(void* event) noexcept {
    delete static_cast<std::shared_ptr<PerfEvent>*>(event);
}

std::errc MapAccess::next_key(const void* key, void* next) const {
    return object_->trie_walk != nullptr ? object_->trie_walk->next(map(), key, next)
                                         : map::next_key(map(), key, next);
}

}  // namespace taskwork::uapi
