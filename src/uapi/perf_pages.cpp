// SPDX-License-Identifier: Apache-2.0
#include "uapi/perf_pages.hpp"

#include <linux/bpf.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <new>

#include "map/ring_buffer.hpp"
#include "map/value.hpp"
#include "sync/arena.hpp"
#include "task/worker.hpp"
#include "uapi/ring_poll.hpp"

namespace taskwork::uapi {
namespace {

constexpr std::size_t kPage = 4096;

struct Lost {
    perf_event_header header;
    std::uint64_t id;
    std::uint64_t count;
};

std::atomic_ref<decltype(perf_event_mmap_page::data_head)> head_of(perf_event_mmap_page& page) {
    return std::atomic_ref(page.data_head);
}
std::atomic_ref<decltype(perf_event_mmap_page::data_tail)> tail_of(perf_event_mmap_page& page) {
    return std::atomic_ref(page.data_tail);
}

}  // namespace

PerfPages::PerfPages(std::int32_t processor, bool takes_records, bool enabled) {
    void* const memory = sync::Arena::allocate(sizeof(map::EventOutput), 64);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    output_ = new (memory) map::EventOutput();
    output_->processor = processor;
    output_->takes_records = takes_records;
    output_->enabled.store(enabled ? 1 : 0, std::memory_order_relaxed);
    if (takes_records) {
        ring_opened();
    }
}

PerfPages::~PerfPages() {
    if (output_->takes_records) {
        ring_closed();
    }
    if (page_ != nullptr) {
        munmap(page_, size_);
        close(descriptor_);
    }
    if (!sync::Arena::present() || !sync::Arena::is_host()) {
        return;
    }
    if (map::Map* const ring = output_->ring.load(std::memory_order_relaxed)) {
        map::put_reference(*ring);
    }
    // A program may have found it in an array.
    task::Worker::after_grace_period(
        [](void* output) noexcept { sync::Arena::release(output, sizeof(map::EventOutput)); },
        output_);
}

std::int64_t PerfPages::make_pages(std::size_t size) {
    map::MapSpec spec;
    spec.type = BPF_MAP_TYPE_RINGBUF;
    spec.max_entries = static_cast<std::uint32_t>(size - kPage);
    std::strncpy(spec.name, "perf_event", sizeof spec.name);
    const Result<map::Map*> ring = map::create(spec);
    if (!ring) {
        return negative_errno(ring.error().code);
    }
    const int descriptor = memfd_create("perf_event", MFD_CLOEXEC);
    if (descriptor < 0 || ftruncate(descriptor, static_cast<off_t>(size)) != 0) {
        const int error = errno;
        close(descriptor);
        map::put_reference(**ring);
        return -error;
    }
    void* const pages = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (pages == MAP_FAILED) {
        const int error = errno;
        close(descriptor);
        map::put_reference(**ring);
        return -error;
    }
    descriptor_ = descriptor;
    size_ = size;
    page_ = static_cast<perf_event_mmap_page*>(pages);
    page_->data_offset = kPage;
    page_->data_size = size - kPage;
    // Release: pairs with the acquire in perf_output; the pages are there before a record.
    output_->ring.store(*ring, std::memory_order_release);
    return 0;
}

std::int64_t PerfPages::map(void* address, std::size_t size, int protection, int flags,
                            off_t offset) {
    const int sharing = flags & MAP_TYPE;
    const std::size_t data = size - kPage;
    if (!output_->takes_records) {
        return -EOPNOTSUPP;
    }
    if ((sharing != MAP_SHARED && sharing != MAP_SHARED_VALIDATE) ||
        (protection & PROT_WRITE) == 0 || offset != 0 || size < 2 * kPage ||
        data > (std::size_t{1} << 30) || !std::has_single_bit(data) ||
        (page_ != nullptr && size != size_)) {
        return -EINVAL;
    }
    if (page_ == nullptr) {
        if (const std::int64_t error = make_pages(size); error != 0) {
            return error;
        }
    }
    const long view = syscall(SYS_mmap, address, size, protection, flags, descriptor_, 0);
    return view == -1 ? -errno : view;
}

bool PerfPages::take(const map::Map& ring) noexcept {
    map::Map* const own = output_->ring.load(std::memory_order_acquire);
    if (own != &ring) {
        return false;
    }
    map::ring_consume(
        *own,
        [](void* self, void* data, std::size_t size) {
            static_cast<PerfPages*>(self)->append(data, size);
            return 0L;
        },
        this);
    return true;
}

bool PerfPages::holds_data() const noexcept {
    return page_ != nullptr && head_of(*page_).load(std::memory_order_relaxed) !=
                                   tail_of(*page_).load(std::memory_order_relaxed);
}

void PerfPages::write(std::uint64_t at, const void* from, std::size_t bytes) noexcept {
    auto* const data = reinterpret_cast<std::byte*>(page_) + kPage;
    const std::size_t capacity = size_ - kPage;
    const std::size_t start = at & (capacity - 1);
    const std::size_t first = std::min(bytes, capacity - start);
    std::memcpy(data + start, from, first);
    std::memcpy(data, static_cast<const std::byte*>(from) + first, bytes - first);
}

void PerfPages::append(const void* data, std::size_t size) noexcept {
    const std::size_t raw = map::round_up_8(size + sizeof(std::uint32_t));
    const std::size_t bytes = sizeof(perf_event_header) + raw;
    const std::uint64_t dropped = map::ring_dropped(*output_->ring.load(std::memory_order_relaxed));
    const std::uint64_t lost = lost_ + dropped - dropped_told_;
    std::uint64_t head = head_of(*page_).load(std::memory_order_relaxed);
    // Acquire: pairs with the consumer's release; it has read what we write over.
    const std::uint64_t used = head - tail_of(*page_).load(std::memory_order_acquire);
    const std::size_t wanted = bytes + (lost != 0 ? sizeof(Lost) : 0);
    // The kernel's rule, which leaves a byte free.
    if (used > size_ - kPage || wanted >= size_ - kPage - used) {
        ++lost_;
        return;
    }
    if (lost != 0) {
        const Lost record{{PERF_RECORD_LOST, 0, sizeof(Lost)}, 0, lost};
        write(head, &record, sizeof record);
        head += sizeof record;
        lost_ = 0;
        dropped_told_ = dropped;
    }
    struct {
        perf_event_header header;
        std::uint32_t size;
    } start{{PERF_RECORD_SAMPLE, PERF_RECORD_MISC_USER, static_cast<std::uint16_t>(bytes)},
            static_cast<std::uint32_t>(raw - sizeof(std::uint32_t))};
    constexpr std::size_t kStart = sizeof(perf_event_header) + sizeof(std::uint32_t);
    write(head, &start, kStart);
    write(head + kStart, data, size);
    constexpr std::uint64_t kZero = 0;
    write(head + kStart + size, &kZero, raw - sizeof(std::uint32_t) - size);
    // Release: pairs with the consumer's acquire; the records are whole.
    head_of(*page_).store(head + bytes, std::memory_order_release);
}

}  // namespace taskwork::uapi
