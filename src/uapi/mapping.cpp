// SPDX-License-Identifier: Apache-2.0
#include "uapi/mapping.hpp"

#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/errc.hpp"
#include "map/ring_buffer.hpp"
#include "sync/arena.hpp"

namespace taskwork::uapi {
namespace {

constexpr std::size_t kPageSize = 4096;

constexpr std::size_t page_align(std::size_t size) {
    return (size + kPageSize - 1) & ~(kPageSize - 1);
}

/// A mapping of a map in this process, or what unmapping has left of one. The pieces of a mapping
/// share the reference that keeps the map.
struct View {
    std::uintptr_t begin;
    std::uintptr_t end;
    bool writable;
    std::shared_ptr<map::Map> map;
};

struct Views {
    std::mutex lock;
    std::vector<View> all;
};
std::atomic<std::size_t> view_count;

// Never destroyed: mappings may be undone while the process exits.
Views& views() {
    static auto* instance = new Views;
    return *instance;
}

std::shared_ptr<map::Map> hold(map::Map& map) {
    map::get_reference(map);
    return {&map, [](map::Map* held) {
                // A forked child has mappings, but no part in what the host holds.
                if (sync::Arena::present() && sync::Arena::is_host()) {
                    map::put_reference(*held);
                }
            }};
}

/// Cuts [begin, end) out of what is recorded. The caller holds the lock, and destroys the result
/// when the lock is gone: the last reference of a map may go with it.
[[nodiscard]] std::vector<View> drop_range(Views& views, std::uintptr_t begin, std::uintptr_t end) {
    std::vector<View> left;
    for (const View& view : views.all) {
        if (end <= view.begin || view.end <= begin) {
            left.push_back(view);
            continue;
        }
        if (view.begin < begin) {
            left.push_back({view.begin, begin, view.writable, view.map});
        }
        if (end < view.end) {
            left.push_back({end, view.end, view.writable, view.map});
        }
    }
    view_count.store(left.size(), std::memory_order_relaxed);
    return std::exchange(views.all, std::move(left));
}

/// mmap(2) past our own wrapper of it, which would take the lock again. Negative errno on failure.
std::int64_t kernel_mmap(void* address, std::size_t size, int protection, int flags, int descriptor,
                         std::uint64_t offset) {
    const long result = syscall(SYS_mmap, address, size, protection, flags, descriptor, offset);
    return result == -1 ? -errno : result;
}

/// The arena for reading only; where /proc is missing, the arena.
int read_only_arena() {
    static const int descriptor = [] {
        char path[64];
        std::snprintf(path, sizeof path, "/proc/self/fd/%d", sync::Arena::descriptor());
        return open(path, O_RDONLY | O_CLOEXEC);
    }();
    return descriptor >= 0 ? descriptor : sync::Arena::descriptor();
}

std::int64_t map_arena(void* address, std::size_t size, int protection, int flags,
                       std::uint64_t arena_offset) {
    const bool writable = (protection & PROT_WRITE) != 0;
    return kernel_mmap(address, size, protection, flags,
                       writable ? sync::Arena::descriptor() : read_only_arena(), arena_offset);
}

/// Producer page, then the data twice in a row, of which a caller may map a part.
std::int64_t map_ring_records(const map::RingLayout& ring, void* address, std::size_t size,
                              int protection, int flags, std::size_t offset) {
    // One mapping over the whole range settles the address (and obeys MAP_FIXED and its kin), the
    // pieces then replace it.
    const std::int64_t view = kernel_mmap(
        address, size, PROT_NONE,
        (flags & ~(MAP_TYPE | MAP_POPULATE)) | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (view < 0) {
        return view;
    }
    const std::size_t extents = kPageSize + 2 * ring.data_bytes;
    auto* at = reinterpret_cast<std::byte*>(view);
    for (std::size_t done = 0; done < size;) {
        // `logical` runs over: producer page | data | data
        const std::size_t logical = offset + done;
        std::uint64_t source = ring.producer_offset + logical;
        std::size_t left = kPageSize - logical;
        if (logical >= kPageSize) {
            const std::size_t in_data = (logical - kPageSize) % ring.data_bytes;
            source = ring.data_offset + in_data;
            left = ring.data_bytes - in_data;
        }
        left = std::min({left, size - done, extents - logical});
        const std::int64_t piece = map_arena(
            at + done, left, protection, (flags & MAP_POPULATE) | MAP_SHARED | MAP_FIXED, source);
        if (piece < 0) {
            syscall(SYS_munmap, view, size);
            return piece;
        }
        done += left;
    }
    return view;
}

std::int64_t map_ring(const map::Map& map, void* address, std::size_t size, int protection,
                      int flags, std::size_t offset) {
    const map::RingLayout ring = map::ring_layout(map);
    const std::size_t end = 2 * kPageSize + 2 * ring.data_bytes;
    if ((protection & PROT_WRITE) != 0 && (offset != 0 || size != kPageSize)) {
        return -EPERM;  // a consumer writes its position and nothing else
    }
    if (offset > end || size > end - offset) {
        return -EINVAL;
    }
    if (offset == 0 && size == kPageSize) {
        return map_arena(address, size, protection, flags, ring.consumer_offset);
    }
    if (offset < kPageSize) {
        return -EINVAL;  // consumer page and more in one piece: no consumer does that
    }
    return map_ring_records(ring, address, size, protection, flags, offset - kPageSize);
}

std::int64_t map_array(const map::Map& map, void* address, std::size_t size, int protection,
                       int flags, std::size_t offset) {
    if ((map.flags & BPF_F_MMAPABLE) == 0) {
        return -EINVAL;
    }
    void* values = nullptr;
    std::size_t bytes = 0;
    if (const std::errc error = map::direct_values(map, &values, &bytes); error != no_error) {
        return negative_errno(error);
    }
    bytes = page_align(bytes);
    if (offset > bytes || size > bytes - offset) {
        return -EINVAL;
    }
    const std::uint64_t base = reinterpret_cast<std::uintptr_t>(values) - sync::kArenaBase;
    return map_arena(address, size, protection, flags, base + offset);
}

}  // namespace

std::int64_t map_object(const MapObject& object, void* address, std::size_t size, int protection,
                        int flags, off_t offset) {
    map::Map& map = object.map();
    const bool writable = (protection & PROT_WRITE) != 0;
    if ((map.type != BPF_MAP_TYPE_ARRAY && map.type != BPF_MAP_TYPE_RINGBUF) ||
        map::has_any(map.fields)) {
        return negative_errno(errc_kernel_notsupp);
    }
    const int sharing = flags & MAP_TYPE;
    if (sharing != MAP_SHARED && sharing != MAP_SHARED_VALIDATE) {
        return -EINVAL;
    }
    if (size == 0 || offset < 0 || offset % static_cast<off_t>(kPageSize) != 0) {
        return -EINVAL;
    }
    if (!object.may_read()) {
        return -EACCES;  // a mapping can always be read
    }
    if (writable && !object.may_write()) {
        return -EPERM;
    }
    if (writable && (map.flags & BPF_F_RDONLY_PROG) != 0) {
        return -EACCES;
    }
    size = page_align(size);
    const auto start = static_cast<std::size_t>(offset);

    // Under the lock, so that a freeze sees the view or prevents it.
    Views& known = views();
    std::vector<View> replaced;
    const std::lock_guard guard(known.lock);
    if (writable && !object.may_write()) {
        return -EPERM;
    }
    const std::int64_t view = map.type == BPF_MAP_TYPE_RINGBUF
                                  ? map_ring(map, address, size, protection, flags, start)
                                  : map_array(map, address, size, protection, flags, start);
    if (view >= 0) {
        const auto begin = static_cast<std::uintptr_t>(view);
        replaced = drop_range(known, begin, begin + size);  // by MAP_FIXED
        known.all.push_back({begin, begin + size, writable, hold(map)});
        view_count.store(known.all.size(), std::memory_order_relaxed);
    }
    return view;
}

bool may_unmap(const void* address, std::size_t size) noexcept {
    return reinterpret_cast<std::uintptr_t>(address) % kPageSize == 0 && size != 0 &&
           page_align(size) >= size;
}

void follow_unmap(const void* address, std::size_t size) noexcept {
    const auto begin = reinterpret_cast<std::uintptr_t>(address);
    Views& known = views();
    std::vector<View> dropped;
    const std::lock_guard guard(known.lock);
    dropped = drop_range(known, begin, begin + page_align(size));
}

std::errc freeze_unmapped(map::Map& map) noexcept {
    Views& known = views();
    const std::lock_guard guard(known.lock);
    for (const View& view : known.all) {
        if (view.writable && view.map.get() == &map) {
            return std::errc::device_or_resource_busy;
        }
    }
    return map::freeze(map);
}

bool any_mapped() noexcept { return view_count.load(std::memory_order_relaxed) != 0; }

}  // namespace taskwork::uapi
