// SPDX-License-Identifier: Apache-2.0
//
// Ring buffer (BPF_MAP_TYPE_RINGBUF): many producers in any context, one consumer. The layout that
// a consumer maps is the kernel's, so libbpf's ring_buffer works on it: a consumer page (position
// consumed), a producer page (position produced), the data area twice in a row (a record that wraps
// is contiguous). A record starts with 8 bytes: length with BUSY (bit 31) and DISCARD (bit 30), and
// a word that is the kernel's own there (page offset) and ours here (lap and owner).
//
// Reserving is lock-free; a handler that interrupts a producer half-way reserves behind it, waits
// for nothing, and its record is seen once the interrupted producer goes on. A record whose
// producer died is discarded by the worker.
//
//   RB.1  Records are consumed in order of reservation, each once.
//   RB.2  A reservation that does not fit is refused and counted; nothing is overwritten: wherever
//         the consumer says that it is, no record that is busy is, nor one behind it.
//   RB.3  A reservation behind one whose producer stands between reserving and publishing is also
//         refused if 1,024 are (all that fit, if that is fewer), in rings of more than 64 KiB a
//         64th of their bytes, at most 32,768.
#pragma once

#include <cstdint>

#include "map/map.hpp"

namespace taskwork::map {

/// Reserves `size` bytes; nullptr: does not fit (counted), size too large, or flags not 0.
/// Context: any.
void* ring_reserve(Map& map, std::uint64_t size, std::uint64_t flags, std::uint16_t owner) noexcept;
/// flags: BPF_RB_NO_WAKEUP, BPF_RB_FORCE_WAKEUP.
/// Context: any.
void ring_submit(void* record, std::uint64_t flags) noexcept;
void ring_discard(void* record, std::uint64_t flags) noexcept;
/// Copies. Errors: invalid_argument (flags), resource_unavailable_try_again (does not fit).
/// Context: any.
std::errc ring_output(Map& map, const void* data, std::uint64_t size, std::uint64_t flags,
                      std::uint16_t owner) noexcept;
/// bpf_ringbuf_query.
/// Context: any.
std::uint64_t ring_query(const Map& map, std::uint64_t flags) noexcept;

/// Size of a reserved record, 0 if `address` is not the data of a busy record owned by `owner`.
/// For the checking interpreter. Context: any.
std::uint64_t ring_record_size(const Map& map, const void* address, std::uint16_t owner) noexcept;
/// The ring that a reserved record lies in; nullptr if none. Context: any.
Map* ring_of_record(const void* record) noexcept;

/// Consumer of the host: calls function for each finished record (not for discarded ones), frees
/// the space. Returns the number of records, or stops at the first negative result and returns it.
/// Context: task.
long ring_consume(Map& map, long (*function)(void* argument, void* data, std::size_t size),
                  void* argument);

/// What a consumer process maps: arena offsets of consumer page, producer page and data.
struct RingLayout {
    std::uint64_t consumer_offset;
    std::uint64_t producer_offset;
    std::uint64_t data_offset;
    std::uint64_t data_bytes;
};
RingLayout ring_layout(const Map& map) noexcept;
/// Refused reservations. Context: any.
std::uint64_t ring_dropped(const Map& map) noexcept;

/// Called by the worker when records were submitted and the consumer may be waiting; set by uapi
/// and cli. Context: irq.
void set_ring_hook(void (*hook)(Map& map) noexcept) noexcept;

/// Makes what rings share, once in the host. Errors: not_enough_memory.
/// Context: task.
std::errc ring_buffer_start() noexcept;

/// Maps the windows that the arena's rings need twice; in each process after joining the arena.
/// Context: task; async-signal-safe.
std::errc map_mirrors(int arena_fd) noexcept;

}  // namespace taskwork::map
