// SPDX-License-Identifier: Apache-2.0
//
// MAP_CREATE, MAP_FREEZE and the operations on single elements.
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "map/map_in_map.hpp"
#include "uapi/command.hpp"
#include "uapi/descriptors.hpp"
#include "uapi/map_access.hpp"
#include "uapi/mapping.hpp"
#include "uapi/registry.hpp"

namespace taskwork::uapi {
namespace {

constexpr int kNotSupported = -static_cast<int>(errc_kernel_notsupp);

/// BPF_F_TOKEN_FD, newer than the headers.
constexpr std::uint32_t kTokenFlag = 1U << 16;

/// The kernel's btf_type_id_size() and map_check_btf(): do the declared types fit the sizes?
bool types_fit(const BtfObject& btf, const union bpf_attr& attr) {
    if (btf.size_of(attr.btf_value_type_id) != attr.value_size) {
        return false;
    }
    const btf_type* value = btf__type_by_id(btf.types(), attr.btf_value_type_id);
    const bool is_section = btf_is_datasec(value) || btf_is_var(value);
    if (attr.map_type == BPF_MAP_TYPE_ARRAY || attr.map_type == BPF_MAP_TYPE_PERCPU_ARRAY) {
        if (attr.btf_key_type_id == 0 && attr.map_type == BPF_MAP_TYPE_ARRAY) {
            // Keyless: .data, .bss and .rodata only.
            return attr.max_entries == 1 && is_section;
        }
        const int key_id = btf__resolve_type(btf.types(), attr.btf_key_type_id);
        const btf_type* key =
            key_id < 0 ? nullptr : btf__type_by_id(btf.types(), static_cast<std::uint32_t>(key_id));
        return key != nullptr && btf_is_int(key) && key->size == 4 && attr.key_size == 4;
    }
    if (attr.map_type == BPF_MAP_TYPE_BLOOM_FILTER) {
        return attr.btf_key_type_id == 0;
    }
    return attr.btf_key_type_id != 0 && btf.size_of(attr.btf_key_type_id) == attr.key_size;
}

/// What the descriptor's user may do (BPF_F_RDONLY, BPF_F_WRONLY).
struct Access {
    bool read = true;
    bool write = true;
};

std::optional<Access> access_of(std::uint32_t flags) {
    const bool read_only = (flags & BPF_F_RDONLY) != 0;
    const bool write_only = (flags & BPF_F_WRONLY) != 0;
    if (read_only && write_only) {
        return std::nullopt;
    }
    return Access{!write_only, !read_only};
}

/// Copies in the key of an operation; an empty one where the kind has none. Negative errno if not.
int copy_key(const map::Map& map, std::uint64_t from, std::vector<std::byte>& key) {
    key.resize(map.key_size);
    if (map.key_size == 0) {
        return from == 0 ? 0 : -EINVAL;
    }
    return copy_from_user(key.data(), from, key.size()) == no_error ? 0 : -EFAULT;
}

bool may_use_lock_flag(const map::Map& map, std::uint64_t flags) {
    return (flags & BPF_F_LOCK) == 0 || map.fields.spin_lock != map::kNoField;
}

/// MAP_LOOKUP_ELEM and MAP_LOOKUP_AND_DELETE_ELEM.
long lookup(const Command& command, bool and_delete) {
    const union bpf_attr& attr = command.attr;
    if (!command.ends_at(TW_ATTR_END(flags)) ||
        (attr.flags & ~static_cast<std::uint64_t>(BPF_F_LOCK)) != 0) {
        return -EINVAL;
    }
    MapAccess access(attr.map_fd,
                     and_delete ? MapAccess::read | MapAccess::write : MapAccess::read);
    if (access.error() != 0) {
        return access.error();
    }
    map::Map& map = access.map();
    if (!may_use_lock_flag(map, attr.flags)) {
        return -EINVAL;
    }
    std::vector<std::byte> key;
    if (const int error = copy_key(map, attr.key, key); error != 0) {
        return error;
    }
    if (and_delete && map::is_outer(map)) {
        return kNotSupported;
    }
    std::vector<std::byte> value(map::user_value_bytes(map));
    if (map.type == BPF_MAP_TYPE_BLOOM_FILTER && !and_delete &&
        copy_from_user(value.data(), attr.value, value.size()) != no_error) {
        return -EFAULT;  // what is asked for
    }
    const std::errc error = and_delete
                                ? map::lookup_and_remove(map, key.data(), value.data(), attr.flags)
                                : map::lookup_copy(map, key.data(), value.data(), attr.flags);
    if (error != no_error) {
        return negative_errno(error);
    }
    return copy_to_user(attr.value, value.data(), value.size()) == no_error ? 0 : -EFAULT;
}

/// A map that this thread was refused for what its values hold. Libraries ask again at once without
/// types, and would get a map in which programs take for plain data what is none.
struct Refusal {
    union bpf_attr attr{};
    const char* field = nullptr;  ///< nullptr: nothing was refused.
};
thread_local Refusal latest_refusal;

bool is_same_but_for_types(const union bpf_attr& attr, const union bpf_attr& refused) {
    return attr.btf_value_type_id == 0 && attr.map_type == refused.map_type &&
           attr.key_size == refused.key_size && attr.value_size == refused.value_size &&
           attr.max_entries == refused.max_entries && attr.map_flags == refused.map_flags &&
           std::memcmp(attr.map_name, refused.map_name, sizeof attr.map_name) == 0;
}

long refuse_field(const union bpf_attr& attr, const char* field) {
    latest_refusal = {attr, field};
    return refuse(-EOPNOTSUPP, std::string("map '") + attr.map_name + "': values with a " + field +
                                   " are not supported");
}

}  // namespace

long map_create(const Command& command) {
    const union bpf_attr& attr = command.attr;
    if (!command.ends_at(TW_ATTR_END(map_extra))) {
        return -EINVAL;
    }
    const Refusal refusal = std::exchange(latest_refusal, {});
    if (attr.btf_vmlinux_value_type_id != 0 || attr.map_ifindex != 0 ||
        (attr.btf_key_type_id != 0 && attr.btf_value_type_id == 0)) {
        return -EINVAL;
    }
    if (attr.map_type != BPF_MAP_TYPE_BLOOM_FILTER && attr.map_extra != 0) {
        return -EINVAL;
    }
    const std::optional<Access> access = access_of(attr.map_flags);
    if (!access || !is_object_name(attr.map_name)) {
        return -EINVAL;
    }
    if (refusal.field != nullptr && is_same_but_for_types(attr, refusal.attr)) {
        return refuse_field(attr, refusal.field);
    }
    map::MapSpec spec;
    std::memcpy(spec.name, attr.map_name, sizeof spec.name);
    spec.type = attr.map_type;
    spec.key_size = attr.key_size;
    spec.value_size = attr.value_size;
    spec.max_entries = attr.max_entries;
    spec.extra = attr.map_extra;
    // The descriptor's, not the map's; a ring buffer takes none of them.
    const auto of_descriptor = attr.map_type == BPF_MAP_TYPE_RINGBUF
                                   ? std::uint32_t{0}
                                   : std::uint32_t{BPF_F_RDONLY | BPF_F_WRONLY};
    spec.flags = attr.map_flags & ~(of_descriptor | kTokenFlag);

    std::shared_ptr<BtfObject> btf;
    if (attr.btf_value_type_id != 0) {
        int error = 0;
        const auto handle = object_as<BtfHandle>(static_cast<int>(attr.btf_fd), error);
        if (handle == nullptr) {
            return error;
        }
        btf = handle->btf();
        if (btf->is_kernel()) {
            return -EACCES;
        }
        if (!types_fit(*btf, attr)) {
            return refuse(-EINVAL, std::string("map '") + spec.name +
                                       "': its BTF types do not fit its sizes");
        }
        spec.fields = btf->special_fields(attr.btf_value_type_id);
        if (map::has_any(spec.fields) &&
            (attr.map_flags & (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG)) != 0) {
            return -EACCES;
        }
        if (const std::string_view field = btf->absent_field(attr.btf_value_type_id);
            !field.empty()) {
            return refuse_field(attr, field.data());
        }
        // Special fields, which this kind does not hold, are refused before.
        const btf_type* key = btf__type_by_id(btf->types(), attr.btf_key_type_id);
        if (attr.map_type == BPF_MAP_TYPE_LPM_TRIE && !map::has_any(spec.fields) &&
            (key == nullptr || !btf_is_struct(key))) {
            return refuse(-EINVAL,
                          std::string("map '") + spec.name + "': its key's type is no struct");
        }
        spec.btf_id = btf->id();
        spec.btf_key_type_id = attr.btf_key_type_id;
        spec.btf_value_type_id = attr.btf_value_type_id;
    }

    // Its errors come behind those of everything else.
    int inner_error = 0;
    std::shared_ptr<MapObject> inner;
    if (attr.map_type == BPF_MAP_TYPE_ARRAY_OF_MAPS || attr.map_type == BPF_MAP_TYPE_HASH_OF_MAPS) {
        inner = object_as<MapObject>(static_cast<int>(attr.inner_map_fd), inner_error);
        spec.inner = inner == nullptr ? nullptr : &inner->map();
    }

    Result<map::Map*> created = map::create(spec);
    if (!created && created.error().code == std::errc::bad_file_descriptor) {
        return refuse(inner_error, created.error().text);
    }
    if (!created) {
        return refuse(negative_errno(created.error().code), created.error().text);
    }
    map::Map& map = **created;
    if (attr.map_type == BPF_MAP_TYPE_STACK_TRACE && btf != nullptr) {
        map::put_reference(map);
        return kNotSupported;  // has no types
    }
    if ((attr.map_flags & kTokenFlag) != 0) {
        // Looked at last, and no descriptor of ours is a token.
        map::put_reference(map);
        return wrong_descriptor(0);
    }
    auto object = std::make_shared<MapObject>(map, access->read, access->write);
    map::put_reference(map);  // create()'s own; the descriptor has one now
    if (btf != nullptr) {
        retain(map, std::move(btf));
    }
    return install_map(std::move(object));
}

long install_map(std::shared_ptr<MapObject> object) {
    const bool polled = object->map().type == BPF_MAP_TYPE_RINGBUF;
    return install_descriptor(std::move(object), polled ? Backing::eventfd : Backing::memfd,
                              "bpf-map");
}

long map_lookup_elem(const Command& command) { return lookup(command, false); }

long map_lookup_and_delete_elem(const Command& command) { return lookup(command, true); }

long map_update_elem(const Command& command) {
    const union bpf_attr& attr = command.attr;
    if (!command.ends_at(TW_ATTR_END(flags))) {
        return -EINVAL;
    }
    MapAccess access(attr.map_fd, MapAccess::write);
    if (access.error() != 0) {
        return access.error();
    }
    map::Map& map = access.map();
    if (!may_use_lock_flag(map, attr.flags)) {
        return -EINVAL;
    }
    std::vector<std::byte> key;
    if (const int error = copy_key(map, attr.key, key); error != 0) {
        return error;
    }
    std::vector<std::byte> value(map::user_value_bytes(map));
    if (copy_from_user(value.data(), attr.value, value.size()) != no_error) {
        return -EFAULT;
    }
    return access.update(key.data(), value.data(), attr.flags);
}

long map_delete_elem(const Command& command) {
    const union bpf_attr& attr = command.attr;
    if (!command.ends_at(TW_ATTR_END(key))) {
        return -EINVAL;
    }
    MapAccess access(attr.map_fd, MapAccess::write);
    if (access.error() != 0) {
        return access.error();
    }
    std::vector<std::byte> key;
    if (const int error = copy_key(access.map(), attr.key, key); error != 0) {
        return error;
    }
    return negative_errno(map::remove(access.map(), key.data()));
}

long map_get_next_key(const Command& command) {
    const union bpf_attr& attr = command.attr;
    if (!command.ends_at(TW_ATTR_END(next_key))) {
        return -EINVAL;
    }
    MapAccess access(attr.map_fd, MapAccess::read);
    if (access.error() != 0) {
        return access.error();
    }
    map::Map& map = access.map();
    std::vector<std::byte> key;
    if (attr.key != 0) {
        if (const int error = copy_key(map, attr.key, key); error != 0) {
            return error;
        }
    }
    std::vector<std::byte> next(map.key_size);
    if (const std::errc error = access.next_key(attr.key == 0 ? nullptr : key.data(), next.data());
        error != no_error) {
        return negative_errno(error);
    }
    return copy_to_user(attr.next_key, next.data(), next.size()) == no_error ? 0 : -EFAULT;
}

long map_freeze(const Command& command) {
    const union bpf_attr& attr = command.attr;
    if (!command.ends_at(TW_ATTR_END(map_fd))) {
        return -EINVAL;
    }
    int error = 0;
    const auto object = object_as<MapObject>(static_cast<int>(attr.map_fd), error);
    if (object == nullptr) {
        return error;
    }
    map::Map& map = object->map();
    if (map::has_any(map.fields)) {
        return kNotSupported;
    }
    if (!object->may_write()) {
        return -EPERM;  // a second freeze, too
    }
    return negative_errno(freeze_unmapped(map));
}

}  // namespace taskwork::uapi
