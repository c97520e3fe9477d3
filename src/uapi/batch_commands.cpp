// SPDX-License-Identifier: Apache-2.0
//
// The batch commands. A batch's token ("where to go on") is opaque to the caller, who gives it four
// bytes for a hash map, whatever its key. It is the number of elements passed so far: elements that
// come and go between two batches may be missed or seen twice, as in the kernel when a hash is
// changed meanwhile, but every walk ends.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "map/map_ops.hpp"
#include "uapi/command.hpp"
#include "uapi/map_access.hpp"

namespace taskwork::uapi {
namespace {

constexpr int kNotSupported = -static_cast<int>(errc_kernel_notsupp);

bool is_hash(const map::Map& map) {
    switch (map.type) {
    case BPF_MAP_TYPE_HASH:
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_LRU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
    case BPF_MAP_TYPE_HASH_OF_MAPS:
        return true;
    default:
        return false;
    }
}

/// `flags` is looked at by the hash's lookups only, as in the kernel.
int check_flags(const map::Map& map, const union bpf_attr& attr, bool is_lookup) {
    const auto lock = static_cast<std::uint64_t>(BPF_F_LOCK);
    if ((attr.batch.elem_flags & ~lock) != 0 ||
        (is_lookup && is_hash(map) && attr.batch.flags != 0)) {
        return -EINVAL;
    }
    const bool locked = (attr.batch.elem_flags & lock) != 0;
    return locked && map.fields.spin_lock == map::kNoField ? -EINVAL : 0;
}

/// A walk over the elements that collects `wanted` of them behind the first `skip`.
struct Collection {
    const map::Map* map;
    std::uint32_t skip;
    std::uint32_t wanted;
    std::uint32_t count = 0;
    bool more = false;  ///< There was another element.
    std::vector<std::byte> keys;
    std::vector<std::byte> values;

    Collection(const map::Map& of, std::uint32_t skipped, std::uint32_t wanted_count)
        : map(&of), skip(skipped), wanted(wanted_count) {
        // All room beforehand: the walk below must not throw. The caller's count may be anything.
        const std::uint32_t room = std::min(wanted, of.max_entries);
        wanted = room;
        keys.resize(std::size_t{room} * of.key_size);
        values.resize(std::size_t{room} * map::user_value_bytes(of));
    }

    static long visit(const void* key, void* value, void* argument) noexcept {
        auto& self = *static_cast<Collection*>(argument);
        if (self.skip > 0) {
            --self.skip;
            return 0;
        }
        if (self.count == self.wanted) {
            self.more = true;
            return 1;
        }
        std::memcpy(self.key(self.count), key, self.map->key_size);
        map::copy_to_users_value(*self.map, value, self.value(self.count));
        ++self.count;
        return 0;
    }

    /// Deletes what was collected, with the values as they are at that moment. Elements that
    /// somebody else has deleted meanwhile are left out.
    void take_all(map::Map& from) {
        std::uint32_t taken = 0;
        for (std::uint32_t index = 0; index < count; ++index) {
            if (map::lookup_and_remove(from, key(index), value(taken), 0) == no_error) {
                std::memmove(key(taken), key(index), from.key_size);
                ++taken;
            }
        }
        count = taken;
    }

    [[nodiscard]] std::byte* key(std::uint32_t index) {
        return keys.data() + std::size_t{index} * map->key_size;
    }
    [[nodiscard]] std::byte* value(std::uint32_t index) {
        return values.data() + std::size_t{index} * map::user_value_bytes(*map);
    }
};

long put_count(const Command& command, std::uint32_t count) {
    return command.put(offsetof(union bpf_attr, batch.count), count);
}

/// Results to the caller: keys, values, how many, where to go on.
long deliver(const Command& command, const Collection& found, std::uint32_t token) {
    const union bpf_attr& attr = command.attr;
    const std::size_t key_bytes = std::size_t{found.count} * found.map->key_size;
    const std::size_t value_bytes = std::size_t{found.count} * map::user_value_bytes(*found.map);
    if (copy_to_user(attr.batch.keys, found.keys.data(), key_bytes) != no_error ||
        copy_to_user(attr.batch.values, found.values.data(), value_bytes) != no_error ||
        copy_to_user(attr.batch.out_batch, &token, sizeof token) != no_error) {
        return -EFAULT;
    }
    return put_count(command, found.count);
}

/// The batch of a trie goes by its walk: the token is the last key, as the kernel's is.
long walk_batch(const Command& command, const MapAccess& access) {
    const union bpf_attr& attr = command.attr;
    map::Map& map = access.map();
    std::vector<std::byte> key(map.key_size);
    if (attr.batch.in_batch != 0 &&
        copy_from_user(key.data(), attr.batch.in_batch, key.size()) != no_error) {
        return -EFAULT;
    }
    std::vector<std::byte> next(map.key_size);
    std::vector<std::byte> value(map::user_value_bytes(map));
    bool first = attr.batch.in_batch == 0;
    std::uint32_t count = 0;
    long result = 0;
    while (count < attr.batch.count) {
        if (access.next_key(first ? nullptr : key.data(), next.data()) != no_error) {
            result = -ENOENT;
            break;
        }
        first = false;
        key = next;
        if (map::lookup_copy(map, key.data(), value.data(), attr.batch.elem_flags) != no_error) {
            continue;  // deleted meanwhile
        }
        if (copy_to_user(attr.batch.keys + std::uint64_t{count} * key.size(), key.data(),
                         key.size()) != no_error ||
            copy_to_user(attr.batch.values + std::uint64_t{count} * value.size(), value.data(),
                         value.size()) != no_error) {
            return -EFAULT;
        }
        ++count;
    }
    if (count != 0 && copy_to_user(attr.batch.out_batch, key.data(), key.size()) != no_error) {
        return -EFAULT;
    }
    const long error = put_count(command, count);
    return error != 0 ? error : result;
}

long lookup_batch(const Command& command, bool and_delete) {
    const union bpf_attr& attr = command.attr;
    if (!command.ends_at(TW_ATTR_END(batch.flags))) {
        return -EINVAL;
    }
    MapAccess access(attr.batch.map_fd,
                     and_delete ? MapAccess::read | MapAccess::write : MapAccess::read);
    if (access.error() != 0) {
        return access.error();
    }
    map::Map& map = access.map();
    if ((map::batch_commands(map) &
         (and_delete ? map::kBatchLookupAndDelete : map::kBatchLookup)) == 0) {
        return kNotSupported;
    }
    if (const int error = check_flags(map, attr, true); error != 0) {
        return error;
    }
    if (attr.batch.count == 0) {
        return 0;
    }
    if (const long error = put_count(command, 0); error != 0) {
        return error;
    }
    if (map.type == BPF_MAP_TYPE_LPM_TRIE || map.type == BPF_MAP_TYPE_ARRAY_OF_MAPS) {
        return walk_batch(command, access);
    }
    std::uint32_t passed = 0;
    if (attr.batch.in_batch != 0 &&
        copy_from_user(&passed, attr.batch.in_batch, sizeof passed) != no_error) {
        return -EFAULT;
    }
    // What was deleted with earlier batches is not there to be passed over.
    Collection found(map, and_delete ? 0 : passed, attr.batch.count);
    const long walked = map::for_each(map, Collection::visit, &found);
    if (walked < 0) {
        return walked;
    }
    const bool filled = found.count == attr.batch.count;
    if (and_delete) {
        found.take_all(map);
    }
    if (const long error = deliver(command, found, passed + found.count); error != 0) {
        return error;
    }
    // The end is told with the last elements, or, by the array, when nothing is left.
    const bool ended = is_hash(map) ? !found.more : !filled;
    return ended ? -ENOENT : 0;
}

/// MAP_UPDATE_BATCH and MAP_DELETE_BATCH: element by element, until one fails.
long change_batch(const Command& command, bool deletes) {
    const union bpf_attr& attr = command.attr;
    if (!command.ends_at(TW_ATTR_END(batch.flags))) {
        return -EINVAL;
    }
    MapAccess access(attr.batch.map_fd, MapAccess::write);
    if (access.error() != 0) {
        return access.error();
    }
    map::Map& map = access.map();
    if ((map::batch_commands(map) & (deletes ? map::kBatchDelete : map::kBatchUpdate)) == 0) {
        return kNotSupported;
    }
    if (const int error = check_flags(map, attr, false); error != 0) {
        return error;
    }
    if (attr.batch.count == 0) {
        return 0;
    }
    std::vector<std::byte> key(map.key_size);
    std::vector<std::byte> value(deletes ? 0 : map::user_value_bytes(map));
    std::uint32_t done = 0;
    long result = 0;
    for (; done < attr.batch.count; ++done) {
        if (copy_from_user(key.data(), attr.batch.keys + std::uint64_t{done} * key.size(),
                           key.size()) != no_error ||
            copy_from_user(value.data(), attr.batch.values + std::uint64_t{done} * value.size(),
                           value.size()) != no_error) {
            result = -EFAULT;
            break;
        }
        result = deletes ? negative_errno(map::remove(map, key.data()))
                         : access.update(key.data(), value.data(), attr.batch.elem_flags);
        if (result != 0) {
            break;
        }
    }
    const long error = put_count(command, done);
    return error != 0 ? error : result;
}

}  // namespace

long map_lookup_batch(const Command& command) { return lookup_batch(command, false); }

long map_lookup_and_delete_batch(const Command& command) { return lookup_batch(command, true); }

long map_update_batch(const Command& command) { return change_batch(command, false); }

long map_delete_batch(const Command& command) { return change_batch(command, true); }

}  // namespace taskwork::uapi
