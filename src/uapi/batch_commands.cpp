// SPDX-License-Identifier: Apache-2.0
//
// The batch commands. A batch's token ("where to go on") is opaque to the caller, who gives it four
// bytes for a hash map, whatever its key: as in the kernel it is the next bucket, and a batch is of
// whole buckets. A key stays in its bucket, so a walk finds whatever is in the map from its
// beginning to its end, whatever else comes and goes meanwhile. Elsewhere it is the last key.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "map/hash_table.hpp"
#include "map/map_ops.hpp"
#include "uapi/command.hpp"
#include "uapi/map_access.hpp"

namespace taskwork::uapi {
namespace {

constexpr int kNotSupported = -static_cast<int>(errc_kernel_notsupp);

/// `flags` is looked at by the hash's lookups only, as in the kernel.
int check_flags(const map::Map& map, const union bpf_attr& attr, bool is_lookup) {
    const auto lock = static_cast<std::uint64_t>(BPF_F_LOCK);
    if ((attr.batch.elem_flags & ~lock) != 0 ||
        (is_lookup && map::is_hash(map.type) && attr.batch.flags != 0)) {
        return -EINVAL;
    }
    const bool locked = (attr.batch.elem_flags & lock) != 0;
    return locked && map.fields.spin_lock == map::kNoField ? -EINVAL : 0;
}

/// The elements of a batch of a hash, bucket by bucket.
class Collection {
public:
    /// `takes`: out of the map.
    Collection(map::Map& of, std::uint32_t wanted, std::uint64_t flags, bool takes)
        : map_(of), wanted_(wanted), flags_(flags), takes_(takes) {
        // The caller's count may be anything.
        make_room(std::min(wanted, of.max_entries));
    }

    /// The elements of one more bucket. Errors: no_space_on_device (they are too many for what is
    /// left of the wanted), and then none is added; lock_value()'s, and then some may have been
    /// taken out and added.
    std::errc add(std::uint64_t bucket) {
        for (;;) {
            bucket_count_ = 0;
            error_ = no_error;
            long calls = 0;
            table().for_each_in(bucket, visit, this, calls);
            if (error_ != std::errc::value_too_large) {
                break;
            }
            // The walk must not throw: what it found missing is made behind it.
            make_room(std::min(std::uint64_t{room_} * 2, std::uint64_t{wanted_}));
        }
        if (error_ != no_error) {
            return error_;
        }
        if (takes_) {
            take();
        }
        count_ += bucket_count_;
        return error_;
    }

    [[nodiscard]] std::uint32_t count() const { return count_; }
    [[nodiscard]] map::HashTable& table() const { return map::HashTable::of(map_); }
    [[nodiscard]] const std::vector<std::byte>& keys() const { return keys_; }
    [[nodiscard]] const std::vector<std::byte>& values() const { return values_; }

private:
    static long visit(const void* key, void* value, void* argument) noexcept {
        return static_cast<Collection*>(argument)->put(key, value) == no_error ? 0 : 1;
    }
    std::errc put(const void* key, void* value) noexcept {
        const std::uint32_t index = count_ + bucket_count_;
        if (index == wanted_ || index == room_) {
            error_ = index == wanted_ ? std::errc::no_space_on_device : std::errc::value_too_large;
            return error_;
        }
        if (!takes_) {
            const bool locked = (flags_ & BPF_F_LOCK) != 0;
            error_ = locked ? map::lock_value(map_, value) : no_error;
            if (error_ != no_error) {
                return error_;
            }
            map::copy_to_users_value(map_, value, value_at(index));
            if (locked) {
                map::unlock_value(map_, value);
            }
        }
        map::copy_bytes(key_at(index), key, map_.key_size);
        ++bucket_count_;
        return no_error;
    }
    /// Deletes what was found in the bucket, with the values as they are at that moment. Elements
    /// that somebody else has deleted meanwhile are left out.
    void take() {
        const std::uint32_t found = std::exchange(bucket_count_, 0);
        for (std::uint32_t i = 0; i < found; ++i) {
            const std::uint32_t to = count_ + bucket_count_;
            const std::errc error =
                map::lookup_and_remove(map_, key_at(count_ + i), value_at(to), flags_);
            if (error == no_error) {
                std::memmove(key_at(to), key_at(count_ + i), map_.key_size);
                ++bucket_count_;
            } else if (error != std::errc::no_such_file_or_directory) {
                error_ = error;
                return;
            }
        }
    }
    void make_room(std::uint64_t elements) {
        room_ = static_cast<std::uint32_t>(elements);
        keys_.resize(elements * map_.key_size);
        values_.resize(elements * map::user_value_bytes(map_));
    }
    std::byte* key_at(std::uint32_t index) {
        return keys_.data() + std::size_t{index} * map_.key_size;
    }
    std::byte* value_at(std::uint32_t index) {
        return values_.data() + std::size_t{index} * map::user_value_bytes(map_);
    }

    map::Map& map_;
    const std::uint32_t wanted_;
    const std::uint64_t flags_;
    const bool takes_;
    std::uint32_t room_ = 0;
    std::uint32_t count_ = 0;         ///< Of the buckets before;
    std::uint32_t bucket_count_ = 0;  ///< and of this one.
    std::errc error_ = no_error;
    std::vector<std::byte> keys_;
    std::vector<std::byte> values_;
};

long put_count(const Command& command, std::uint32_t count) {
    return command.put(offsetof(union bpf_attr, batch.count), count);
}

/// The first `count` keys and values, how many, and where to go on; `result` if all goes well.
long deliver(const Command& command, const map::Map& map, std::uint32_t count,
             const std::vector<std::byte>& keys, const std::vector<std::byte>& values,
             const void* token, std::size_t token_bytes, long result) {
    const union bpf_attr& attr = command.attr;
    if (copy_to_user(attr.batch.keys, keys.data(), std::size_t{count} * map.key_size) != no_error ||
        copy_to_user(attr.batch.values, values.data(),
                     std::size_t{count} * map::user_value_bytes(map)) != no_error ||
        copy_to_user(attr.batch.out_batch, token, token_bytes) != no_error) {
        return -EFAULT;
    }
    const long error = put_count(command, count);
    return error != 0 ? error : result;
}

/// The batch of a hash.
long bucket_batch(const Command& command, map::Map& map, bool and_delete) {
    const union bpf_attr& attr = command.attr;
    std::uint32_t bucket = 0;
    if (attr.batch.in_batch != 0 &&
        copy_from_user(&bucket, attr.batch.in_batch, sizeof bucket) != no_error) {
        return -EFAULT;
    }
    Collection found(map, attr.batch.count, attr.batch.elem_flags, and_delete);
    const std::uint64_t buckets = found.table().bucket_count();
    if (bucket >= buckets) {
        return -ENOENT;
    }
    std::errc error = no_error;
    while (bucket < buckets && (error = found.add(bucket)) == no_error) {
        ++bucket;
    }
    long result = error == no_error ? -ENOENT : negative_errno(error);
    if (error == std::errc::no_space_on_device && found.count() != 0) {
        result = 0;  // the next batch begins with it
    }
    return deliver(command, map, found.count(), found.keys(), found.values(), &bucket,
                   sizeof bucket, result);
}

/// The batch of any other kind goes by its walk: the token is the last key, as the kernel's is.
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
    std::vector<std::byte> keys;
    std::vector<std::byte> values;
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
        const std::errc error =
            map::lookup_copy(map, key.data(), value.data(), attr.batch.elem_flags);
        if (error == std::errc::no_such_file_or_directory) {
            continue;  // deleted meanwhile
        }
        if (error != no_error) {
            return negative_errno(error);
        }
        keys.insert(keys.end(), key.begin(), key.end());
        values.insert(values.end(), value.begin(), value.end());
        ++count;
    }
    return deliver(command, map, count, keys, values, key.data(), count == 0 ? 0 : key.size(),
                   result);
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
    return map::is_hash(map.type) ? bucket_batch(command, map, and_delete)
                                  : walk_batch(command, access);
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
