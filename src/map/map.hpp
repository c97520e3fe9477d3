// SPDX-License-Identifier: Apache-2.0
//
// Maps: where programs, callbacks and users meet. A Map lies in the arena; every operation on
// elements is lock-free and legal in nmi, also when it interrupts an operation on the same element.
// One file a kind (array.cpp, hash.cpp, ring_buffer.cpp); this header is what the rest of the
// runtime calls.
//
// Values are 8-byte aligned. A value found by lookup() stays memory until the caller's sleepable
// section ends, also when its element is deleted meanwhile.
//
// Flags, errors, capacity, copying of special fields and the user count are the kernel's (K80-K105,
// kernel/bpf/{arraymap,hashtab,ringbuf,syscall}.c); differences are listed in DESIGN.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/errc.hpp"
#include "base/result.hpp"
#include "defer/task_work.hpp"
#include "map/processors.hpp"
#include "map/spin_lock.hpp"
#include "sync/platform.hpp"
#include "sync/pool.hpp"

namespace taskwork::map {

inline constexpr std::uint8_t kMapCreating = sync::kStateUser;
inline constexpr std::uint8_t kMapLive = sync::kStateUser + 1;

inline constexpr std::int32_t kNoField = -1;

/// Where the special fields of a value lie, in bytes from its beginning; kNoField for those it
/// lacks. There is at most one of a kind, and at most one lock.
struct SpecialFields {
    std::int32_t task_work = kNoField;
    std::int32_t timer = kNoField;
    std::int32_t workqueue = kNoField;
    std::int32_t spin_lock = kNoField;
    std::int32_t res_spin_lock = kNoField;
    friend bool operator==(const SpecialFields&, const SpecialFields&) = default;
};
/// One of them.
struct SpecialField {
    const char* type;  ///< The name of its struct in BTF.
    std::int32_t SpecialFields::* offset;
    std::uint32_t bytes;
    std::uint32_t align;
    bool is_lock;
};
inline constexpr SpecialField kSpecialFields[] = {
    {"bpf_task_work", &SpecialFields::task_work, 8, 8, false},
    {"bpf_timer", &SpecialFields::timer, 16, 8, false},
    {"bpf_wq", &SpecialFields::workqueue, 16, 8, false},
    {"bpf_spin_lock", &SpecialFields::spin_lock, 4, 4, true},
    {"bpf_res_spin_lock", &SpecialFields::res_spin_lock, 4, 4, true},
};
/// Calls visit(kind, offset) for each that there is, in no order.
/// Context: as visit.
template <class Visit>
constexpr void for_each_field(const SpecialFields& fields, Visit visit) {
    for (const SpecialField& kind : kSpecialFields) {
        if (fields.*kind.offset != kNoField) {
            visit(kind, fields.*kind.offset);
        }
    }
}
/// Where the lock of a value lies, of either kind.
/// Context: any.
constexpr std::int32_t lock_of(const SpecialFields& fields) noexcept {
    return fields.spin_lock != kNoField ? fields.spin_lock : fields.res_spin_lock;
}
/// Whether there is any.
/// Context: any.
constexpr bool has_any(const SpecialFields& fields) noexcept { return fields != SpecialFields{}; }

/// What inner maps have in common (map/map_in_map.hpp).
struct InnerShape {
    std::uint32_t type = 0;
    std::uint32_t key_size = 0;
    std::uint32_t value_size = 0;
    std::uint32_t max_entries = 0;
    std::uint32_t flags = 0;
    SpecialFields fields;
    friend bool operator==(const InnerShape&, const InnerShape&) = default;
};

struct Map;

/// What MAP_CREATE asks for, after the BTF has been looked at by the caller (uapi).
struct MapSpec {
    std::uint32_t type = 0;  ///< BPF_MAP_TYPE_*
    std::uint32_t key_size = 0;
    std::uint32_t value_size = 0;
    std::uint32_t max_entries = 0;
    std::uint32_t flags = 0;  ///< BPF_F_*
    std::uint64_t extra = 0;  ///< map_extra; what it means is the kind's.
    char name[16] = {};
    std::uint32_t btf_id = 0;  ///< Caller's; kept for reports.
    std::uint32_t btf_key_type_id = 0;
    std::uint32_t btf_value_type_id = 0;
    SpecialFields fields;
    const Map* inner = nullptr;  ///< Maps of maps: the one that the elements will resemble.
};

struct MapOps;

/// A map in the arena. Fields up to `impl` are fixed at creation.
struct alignas(64) Map {
    sync::AtomicWord word;
    std::uint32_t id;  ///< Never reused in a domain; what BPF_OBJ_GET_INFO_BY_FD shows.
    std::uint32_t type;
    std::uint32_t key_size;
    std::uint32_t value_size;
    std::uint32_t max_entries;
    std::uint32_t flags;
    std::uint64_t extra;
    char name[16];
    std::uint32_t btf_id;
    std::uint32_t btf_key_type_id;
    std::uint32_t btf_value_type_id;
    SpecialFields fields;
    InnerShape inner;                            ///< Maps of maps; else type 0.
    platform::Atomic<std::uint32_t> user_count;  ///< Descriptors and pins (usercnt).
    platform::Atomic<std::uint32_t> references;  ///< user_count's one, programs: host only.
    platform::Atomic<std::uint32_t> frozen;      ///< BPF_MAP_FREEZE.
    defer::WorkTotals works;
    void* impl;  ///< The kind's own state, in the arena.
    std::size_t impl_bytes;
};

/// The table of maps (Root::maps).
class MapTable {
public:
    static constexpr std::uint32_t kMapsMax = 256;
    /// Host only; registers sweeper and deferral handlers. Errors: not_enough_memory.
    /// Context: task.
    static std::errc create() noexcept;
    static MapTable& get() noexcept;

    sync::Pool maps;
    platform::Atomic<std::uint32_t> next_id;
    Processors processors;
    SpinLocks locks;
};

/// Creates a map with no user reference yet and one reference. Host only. Errors as the kernel's
/// for MAP_CREATE: invalid_argument (sizes, flags), argument_list_too_long, not_enough_memory,
/// operation_not_supported (a task work slot in a kind that cannot hold one), the text naming the
/// map; not_supported kinds: invalid_argument naming the kind.
/// Context: task.
Result<Map*> create(const MapSpec& spec);

/// References (programs, descriptors). The last put destroys the map once no context in flight
/// names it and grace periods have ended. Host only.
/// Context: task.
void get_reference(Map& map) noexcept;
void put_reference(Map& map) noexcept;
/// User references: descriptors and pins. Each also counts as a reference. The last put cancels the
/// works of all elements, linked, free and spare (K97). Host only.
/// Context: task.
void get_user(Map& map) noexcept;
void put_user(Map& map) noexcept;

/// Refuses later writes by users (the caller asks `frozen` before it serves them); programs go on.
/// Errors: errc_kernel_notsupp (special fields), operation_not_permitted (frozen already).
/// Context: task.
std::errc freeze(Map& map) noexcept;

/// Whether elements are found by a key (array, hash, ...), or are values without one (queue, stack,
/// bloom filter), of which some can be taken out again.
/// Context: any.
bool has_keys(const Map& map) noexcept;
bool has_values_without_keys(const Map& map) noexcept;
bool has_pop(const Map& map) noexcept;
/// Whether programs that may sleep can use the map: a rule of the kernel's.
/// Context: any.
bool may_be_in_sleepable(const Map& map) noexcept;

/// Whether `pointer` is a live Map of this domain.
/// Context: any.
bool is_map(const void* pointer) noexcept;

/// Element operations of programs and users. `key` and `value` are key_size and value_size bytes.
/// All return 0 or the kernel's error as std::errc. The calling thread must be inside a sleepable
/// section of its task.
/// lookup: the value in place, or nullptr.
/// Context: any.
void* lookup(Map& map, const void* key) noexcept;
/// Errors: invalid_argument (flags), argument_list_too_long (full; array index), file_exists
/// (BPF_NOEXIST), no_such_file_or_directory (BPF_EXIST), not_enough_memory (spares used up,
/// counted). Context: any.
std::errc update(Map& map, const void* key, const void* value, std::uint64_t flags) noexcept;
/// Errors: no_such_file_or_directory; invalid_argument (array).
/// Context: any.
std::errc remove(Map& map, const void* key) noexcept;
/// The key after `key` (nullptr: the first). Errors: no_such_file_or_directory (no more).
/// Context: any.
std::errc next_key(Map& map, const void* key, void* next) noexcept;

/// Whether maps of this type are hash tables, as in the kernel.
/// Context: any.
bool is_hash(std::uint32_t type) noexcept;
/// Whether values have a slot for each processor (map/processors.hpp); lookup() returns that of
/// processor 0 then, and update() is update_slot().
/// Context: any.
bool is_per_cpu(const Map& map) noexcept;
/// The slot of another processor, of a value that was found. Precondition: processor <
/// Processors::count().
/// Context: any.
void* slot_of(const Map& map, void* value, std::uint32_t processor) noexcept;
inline constexpr std::uint32_t kEveryProcessor = UINT32_MAX;
/// Writes one processor's slot, in place if the key is there; the slots of a new element are 0
/// otherwise. kEveryProcessor: all of them, `value` holds user_value_bytes().
/// Errors: those of update(). Context: any.
std::errc update_slot(Map& map, const void* key, const void* value, std::uint64_t flags,
                      std::uint32_t processor) noexcept;

/// Kinds without keys. Errors: errc_kernel_notsupp (the kind has it not), invalid_argument (flags),
/// argument_list_too_long (full, without BPF_EXIST), no_such_file_or_directory (empty: `out` is
/// zeroed; bloom filter: not in it), device_or_resource_busy (too many interrupted operations hold
/// memory, counted).
/// Context: any.
std::errc push(Map& map, const void* value, std::uint64_t flags) noexcept;
std::errc pop(Map& map, void* out) noexcept;
/// `value` is what is looked for where the kind is a set (bloom filter), else where it goes.
std::errc peek(Map& map, void* value) noexcept;

/// Copies a value out for a user: special fields read as zero (K84).
/// Context: any.
void copy_value_out(const Map& map, const void* value, void* out) noexcept;
/// Bytes of a value as users give and get it: all slots of a per-CPU value, each rounded up to 8.
/// Context: any.
std::size_t user_value_bytes(const Map& map) noexcept;
/// copy_value_out(), of all slots.
/// Context: any.
void copy_to_users_value(const Map& map, const void* value, void* out) noexcept;
/// Lookup-and-copy, update and lookup-and-delete for users: of kinds without keys they are peek,
/// push and pop. Errors: those, no_such_file_or_directory, not_supported where the kernel has it.
/// Context: task.
std::errc lookup_copy(Map& map, const void* key, void* out, std::uint64_t flags) noexcept;
std::errc update_by_user(Map& map, const void* key, const void* value,
                         std::uint64_t flags) noexcept;
std::errc lookup_and_remove(Map& map, const void* key, void* out, std::uint64_t flags) noexcept;
/// Whether the kind has batch commands: bits of BatchCommand (map_ops.hpp).
/// Context: any.
unsigned batch_commands(const Map& map) noexcept;

/// Calls function(key, value, argument) for each element until it returns non-zero; returns the
/// number of calls (bpf_for_each_map_elem). Elements may come and go meanwhile. Negative errno if
/// the kind has no such walk.
/// Context: any.
long for_each(Map& map, long (*function)(const void* key, void* value, void* argument) noexcept,
              void* argument) noexcept;

/// The key of the element that `value` (anywhere inside it) belongs to: a pointer into the element,
/// or for arrays `*index_storage` filled in. nullptr if it is no value of the map.
/// Context: any.
const void* key_of(const Map& map, const void* value, std::uint32_t* index_storage) noexcept;

/// Whether a program may touch [address, address + size): inside one value of the map (any element,
/// live or in its grace period), and not in a special field. For the checking interpreter.
/// Context: any.
bool may_access_value(const Map& map, std::uintptr_t address, std::size_t size) noexcept;

/// Start of the value that [address, address+1) lies in, 0 if none. Context: any.
std::uintptr_t value_start(const Map& map, std::uintptr_t address) noexcept;

/// The slot of a value; nullptr if the map has none.
/// Context: any.
defer::Slot* task_work_slot(const Map& map, void* value) noexcept;

/// The lock of a value, of whichever kind; nullptr if the map has none.
/// Context: any.
LockWord* lock_word(const Map& map, void* value) noexcept;

/// Array maps: the block of all values (page-aligned for BPF_F_MMAPABLE and data sections), for
/// direct value addresses (BPF_PSEUDO_MAP_VALUE) and mmap. Errors: kernel's -ENOTSUPP elsewhere.
/// Context: task.
std::errc direct_values(const Map& map, void** base, std::size_t* bytes) noexcept;

/// Elements now in the map (exact when nothing moves), and spares waiting for a grace period.
/// Context: task, irq.
struct Usage {
    std::uint64_t elements = 0;
    std::uint64_t waiting = 0;
    std::uint64_t refused_no_memory = 0;
    std::uint64_t bytes = 0;
};
Usage usage(const Map& map) noexcept;

}  // namespace taskwork::map
