// SPDX-License-Identifier: Apache-2.0
#include "uapi/map_access.hpp"

#include <linux/bpf.h>

#include <cerrno>

#include "uapi/descriptors.hpp"

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
    if (map().type == BPF_MAP_TYPE_RINGBUF) {
        error_ = -static_cast<int>(errc_kernel_notsupp);
        return;
    }
    section_.emplace();
    if (!section_->entered()) {
        error_ = -ESRCH;
    }
}

std::errc MapAccess::next_key(const void* key, void* next) const {
    return object_->trie_walk != nullptr ? object_->trie_walk->next(map(), key, next)
                                         : map::next_key(map(), key, next);
}

}  // namespace taskwork::uapi
