// SPDX-License-Identifier: Apache-2.0
#include "uapi/ring_poll.hpp"

#include <linux/bpf.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

#include "map/ring_buffer.hpp"
#include "uapi/descriptors.hpp"
#include "uapi/perf_event.hpp"

namespace taskwork::uapi {
namespace {

std::atomic<int> rings_open;

/// Also when it is readable already: to an edge-triggered waiter each write is news.
void make_readable(int descriptor, Object& object) {
    const std::uint64_t one = 1;
    object.readable = write(descriptor, &one, sizeof one) == sizeof one || object.readable;
}

void settle(int descriptor, Object& object, void*) {
    if (!object.is_polled()) {
        return;
    }
    if (!object.holds_data()) {
        std::uint64_t count = 0;
        if (!object.readable || read(descriptor, &count, sizeof count) != sizeof count) {
            return;
        }
        object.readable = false;
        // Submitted since we looked: its hook may have come before the read and be lost in it.
        if (object.holds_data()) {
            make_readable(descriptor, object);
        }
    } else if (!object.readable) {
        make_readable(descriptor, object);
    }
}

/// Whether the records of this ring are for this object; those of a perf event are taken to its
/// pages.
bool takes_from(Object& object, const map::Map& ring) {
    if (object.kind() == Object::Kind::map) {
        return &static_cast<MapObject&>(object).map() == &ring;
    }
    return object.kind() == Object::Kind::perf_event &&
           static_cast<PerfEvent&>(object).take_records(ring);
}

void submitted(map::Map& map) noexcept {
    for_each_descriptor(
        [](int descriptor, Object& object, void* argument) {
            // The worker may be late: a consumer that was woken otherwise has it all by now.
            if (object.is_polled() && takes_from(object, *static_cast<const map::Map*>(argument)) &&
                object.holds_data()) {
                make_readable(descriptor, object);
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
