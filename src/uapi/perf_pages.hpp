// SPDX-License-Identifier: Apache-2.0
//
// What a user maps of a perf event that programs send records to (PERF_COUNT_SW_BPF_OUTPUT): a page
// with the positions, then data, in the layout of perf_event_open(2); libbpf's perf_buffer reads
// it. Programs write into a ring buffer of the arena (map/program_array.hpp); the worker copies
// from there. What finds no room is counted, and told by a PERF_RECORD_LOST before the next record.
#pragma once

#include <linux/perf_event.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include "map/program_array.hpp"

namespace taskwork::uapi {

class PerfPages {
public:
    /// Makes the event's part in the arena. Throws std::bad_alloc if the arena is full.
    /// Context: task.
    PerfPages(std::int32_t processor, bool takes_records, bool enabled);
    /// Context: task.
    ~PerfPages();
    PerfPages(const PerfPages&) = delete;
    PerfPages& operator=(const PerfPages&) = delete;

    [[nodiscard]] map::EventOutput& output() const noexcept { return *output_; }

    /// As mmap(2). Returns the address, or -EINVAL (not shared and writable, not 1 + 2^n pages,
    /// another size than before, an event that sends nothing), -ENOMEM, mmap's own. Context: task.
    std::int64_t map(void* address, std::size_t size, int protection, int flags, off_t offset);

    /// Copies what is in the ring to the pages; false if it is not its ring.
    /// Context: irq.
    bool take(const map::Map& ring) noexcept;
    /// Context: any.
    [[nodiscard]] bool holds_data() const noexcept;

private:
    std::int64_t make_pages(std::size_t size);
    void append(const void* data, std::size_t size) noexcept;
    void write(std::uint64_t at, const void* from, std::size_t bytes) noexcept;

    map::EventOutput* output_;
    int descriptor_ = -1;
    std::size_t size_ = 0;
    perf_event_mmap_page* page_ = nullptr;
    std::uint64_t lost_ = 0;          ///< Not told yet, for want of room in the pages.
    std::uint64_t dropped_told_ = 0;  ///< Of those that found no room in the ring.
};

}  // namespace taskwork::uapi
