// SPDX-License-Identifier: Apache-2.0
#include "uapi/object.hpp"

#include <linux/bpf.h>

#include "map/ring_buffer.hpp"
#include "sync/arena.hpp"
#include "uapi/ring_poll.hpp"

namespace taskwork::uapi {

MapObject::MapObject(map::Map& map, bool may_read, bool may_write)
    : Object(kKind),
      trie_walk(map.type == BPF_MAP_TYPE_LPM_TRIE ? std::make_unique<TrieWalk>() : nullptr),
      map_(map), may_read_(may_read), may_write_(may_write) {
    map::get_user(map_);
    if (map_.type == BPF_MAP_TYPE_RINGBUF) {
        ring_opened();
    }
}

MapObject::~MapObject() {
    if (map_.type == BPF_MAP_TYPE_RINGBUF) {
        ring_closed();
    }
    if (sync::Arena::present() && sync::Arena::is_host()) {
        map::put_user(map_);
    }
}

bool MapObject::is_polled() const noexcept { return map_.type == BPF_MAP_TYPE_RINGBUF; }

bool MapObject::holds_data() const noexcept {
    return map::ring_query(map_, BPF_RB_AVAIL_DATA) != 0;
}

bool MapObject::may_write() const noexcept {
    return may_write_ && map_.frozen.load(std::memory_order_acquire) == 0;
}

ProgramObject::ProgramObject(bpf::Program& program, std::uint32_t type) noexcept
    : Object(kKind), program_(program), type_(type) {}

ProgramObject::~ProgramObject() {
    if (sync::Arena::present() && sync::Arena::is_host()) {
        bpf::put_program(program_);
    }
}

}  // namespace taskwork::uapi
