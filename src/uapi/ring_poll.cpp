// SPDX-License-Identifier: Apache-2.0
#include "uapi/ring_poll.hpp"

#include <linux/bpf.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "map/ring_buffer.hpp"
#include "uapi/descriptors.hpp"

namespace taskwork::uapi {
namespace {

std::atomic<int> rings_open;

/// The ring behind a descriptor, or nullptr.
MapObject* as_ring(Object& object) {
    if (object.kind() != Object::Kind::map) {
        return nullptr;
    }
    auto& ring = static_cast<MapObject&>(object);
    return ring.map().type == BPF_MAP_TYPE_RINGBUF ? &ring : nullptr;
}

bool holds_data(const MapObject& ring) {
    return map::ring_query(ring.map(), BPF_RB_AVAIL_DATA) != 0;
}

/// Also when it is readable already: to an edge-triggered waiter each write is news.
void make_readable(int descriptor, MapObject& ring) {
    const std::uint64_t one = 1;
    ring.readable = write(descriptor, &one, sizeof one) == sizeof one || ring.readable;
}

void settle(int descriptor, Object& object, void*) {
    MapObject* ring = as_ring(object);
    if (ring == nullptr) {
        return;
    }
    if (!holds_data(*ring)) {
        std::uint64_t count = 0;
        if (!ring->readable || read(descriptor, &count, sizeof count) != sizeof count) {
            return;
        }
        ring->readable = false;
        // Submitted since we looked: its hook may have come before the read and be lost in it.
        if (holds_data(*ring)) {
            make_readable(descriptor, *ring);
        }
    } else if (!ring->readable) {
        make_readable(descriptor, *ring);
    }
}

void submitted(map::Map& map) noexcept {
    for_each_descriptor(
        [](int descriptor, Object& object, void* argument) {
            MapObject* ring = as_ring(object);
            // The worker may be late: a consumer that was woken otherwise has it all by now.
            if (ring != nullptr && &ring->map() == argument && holds_data(*ring)) {
                make_readable(descriptor, *ring);
            }
        },
        &map);
}

}  // namespace

void start_ring_poll() noexcept { map::set_ring_hook(submitted); }

void settle_rings() {
    if (rings_open.load(std::memory_order_relaxed) != 0) {
        for_each_descriptor(settle, nullptr);
    }
}

void ring_opened() noexcept { rings_open.fetch_add(1, std::memory_order_relaxed); }

void ring_closed() noexcept { rings_open.fetch_sub(1, std::memory_order_relaxed); }

}  // namespace taskwork::uapi
