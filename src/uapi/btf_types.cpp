// SPDX-License-Identifier: Apache-2.0
#include "uapi/btf_types.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>

#include "base/errc.hpp"

namespace taskwork::uapi {
namespace {

constexpr int kNotSupported = -static_cast<int>(errc_kernel_notsupp);
constexpr std::uint32_t kInfoMask = 0x9f00ffff;
constexpr std::uint32_t kIntMask = 0x0fffffff;
constexpr std::uint32_t kIntBitsMax = 128;

/// Of a type by itself: what follows its btf_type, and the fields that every kind has.
class TypeCheck {
public:
    TypeCheck(BtfLayout& layout, std::uint32_t id, const btf_type& type, std::size_t left)
        : layout_(layout), id_(id), type_(type), left_(left) {}

    /// Bytes behind the btf_type, or a negative errno.
    std::int64_t run();

private:
    using Check = std::int64_t;

    Check refuse(std::string_view reason, int error = -EINVAL, bool details = true) {
        layout_.say_type(id_, type_, reason, details);
        return error;
    }
    Check accept(std::size_t size) {
        layout_.say_type(id_, type_);
        return static_cast<Check>(size);
    }
    /// False: cut off, and said so.
    bool has(std::size_t size) {
        if (left_ < size) {
            refuse("meta_left:" + std::to_string(left_) + " meta_needed:" + std::to_string(size),
                   -EINVAL, false);
        }
        return left_ >= size;
    }
    [[nodiscard]] std::uint32_t length() const { return btf_vlen(&type_); }
    [[nodiscard]] static bool is_type_id(std::uint32_t id) {
        return id != 0 && id <= BtfLayout::kTypeIdMax;
    }
    [[nodiscard]] bool is_named() const {
        return type_.name_off != 0 && layout_.is_identifier(type_.name_off);
    }
    [[nodiscard]] bool is_unnamed_or_named() const { return type_.name_off == 0 || is_named(); }

    Check integer();
    Check reference();
    Check forward();
    Check array();
    Check composite();
    Check enumeration();
    template <class Value>
    Check values(const Value* values);
    Check function_prototype();
    Check function();
    Check variable();
    Check section();
    Check floating();
    Check declaration_tag();

    BtfLayout& layout_;
    std::uint32_t id_;
    const btf_type& type_;
    std::size_t left_;
};

TypeCheck::Check TypeCheck::integer() {
    if (!has(sizeof(std::uint32_t))) {
        return -EINVAL;
    }
    if (length() != 0) {
        return refuse("vlen != 0");
    }
    if (btf_kflag(&type_)) {
        return refuse("Invalid btf_info kind_flag");
    }
    const std::uint32_t encoded = *reinterpret_cast<const std::uint32_t*>(&type_ + 1);
    if ((encoded & ~kIntMask) != 0) {
        return refuse("Invalid int_data:" + hexadecimal(encoded), -EINVAL, false);
    }
    const std::uint32_t bits = BTF_INT_BITS(encoded) + BTF_INT_OFFSET(encoded);
    if (bits > kIntBitsMax) {
        return refuse("nr_bits exceeds " + std::to_string(kIntBitsMax));
    }
    if ((bits + 7) / 8 > type_.size) {
        return refuse("nr_bits exceeds type_size");
    }
    const std::uint32_t encoding = BTF_INT_ENCODING(encoded);
    if (encoding != 0 && encoding != BTF_INT_SIGNED && encoding != BTF_INT_CHAR &&
        encoding != BTF_INT_BOOL) {
        return refuse("Unsupported encoding", kNotSupported);
    }
    return accept(sizeof encoded);
}

TypeCheck::Check TypeCheck::reference() {
    if (length() != 0) {
        return refuse("vlen != 0");
    }
    if (btf_kflag(&type_) && !btf_is_type_tag(&type_)) {
        return refuse("Invalid btf_info kind_flag");
    }
    if (type_.type > BtfLayout::kTypeIdMax) {
        return refuse("Invalid type_id");
    }
    const bool right_name = btf_is_typedef(&type_)    ? is_named()
                            : btf_is_type_tag(&type_) ? !layout_.name(type_.name_off).empty()
                                                      : type_.name_off == 0;
    if (!right_name) {
        return refuse("Invalid name");
    }
    return accept(0);
}

TypeCheck::Check TypeCheck::forward() {
    if (length() != 0) {
        return refuse("vlen != 0");
    }
    if (type_.type != 0) {
        return refuse("type != 0");
    }
    if (!is_named()) {
        return refuse("Invalid name");
    }
    return accept(0);
}

TypeCheck::Check TypeCheck::array() {
    if (!has(sizeof(struct btf_array))) {
        return -EINVAL;
    }
    if (type_.name_off != 0) {
        return refuse("Invalid name");
    }
    if (length() != 0) {
        return refuse("vlen != 0");
    }
    if (btf_kflag(&type_)) {
        return refuse("Invalid btf_info kind_flag");
    }
    if (type_.size != 0) {
        return refuse("size != 0");
    }
    const struct btf_array& array = *btf_array(&type_);
    if (!is_type_id(array.type)) {
        return refuse("Invalid elem");
    }
    if (!is_type_id(array.index_type)) {
        return refuse("Invalid index");
    }
    return accept(sizeof array);
}

TypeCheck::Check TypeCheck::composite() {
    const std::size_t size = length() * sizeof(btf_member);
    if (!has(size)) {
        return -EINVAL;
    }
    if (!is_unnamed_or_named()) {
        return refuse("Invalid name");
    }
    accept(size);
    const btf_member* members = btf_members(&type_);
    std::uint32_t last_offset = 0;
    for (std::uint32_t i = 0; i < length(); ++i) {
        const btf_member& member = members[i];
        const auto wrong = [&](std::string_view reason) {
            layout_.say_member(type_, member, reason);
            return Check{-EINVAL};
        };
        if (!layout_.is_name_offset(member.name_off)) {
            return wrong("Invalid member name_offset:" + std::to_string(member.name_off));
        }
        if (member.name_off != 0 && !layout_.is_identifier(member.name_off)) {
            return wrong("Invalid name");
        }
        if (!is_type_id(member.type)) {
            return wrong("Invalid type_id");
        }
        const std::uint32_t offset = btf_member_bit_offset(&type_, i);
        if ((btf_is_union(&type_) && offset != 0) || offset < last_offset) {
            return wrong("Invalid member bits_offset");
        }
        if ((std::uint64_t{offset} + 7) / 8 > type_.size) {
            return wrong("Member bits_offset exceeds its struct size");
        }
        layout_.say_member(type_, member);
        last_offset = offset;
    }
    return static_cast<Check>(size);
}

template <class Value>
TypeCheck::Check TypeCheck::values(const Value* values) {
    for (std::uint32_t i = 0; i < length(); ++i) {
        const Value& value = values[i];
        if (!layout_.is_name_offset(value.name_off)) {
            layout_.say("\tInvalid name_offset:" + std::to_string(value.name_off));
            return -EINVAL;
        }
        if (value.name_off == 0 || !layout_.is_identifier(value.name_off)) {
            return refuse("Invalid name");
        }
        if (!layout_.logs()) {
            continue;
        }
        std::string number;
        if constexpr (sizeof(Value) == sizeof(struct btf_enum64)) {
            const std::uint64_t all = std::uint64_t{value.val_hi32} << 32 | value.val_lo32;
            number = btf_kflag(&type_) ? std::to_string(static_cast<std::int64_t>(all))
                                       : std::to_string(all);
        } else {
            number = btf_kflag(&type_) ? std::to_string(value.val)
                                       : std::to_string(static_cast<std::uint32_t>(value.val));
        }
        layout_.say("\t" + layout_.shown(value.name_off) + " val=" + number + "\n");
    }
    return static_cast<Check>(length() * sizeof(Value));
}

TypeCheck::Check TypeCheck::enumeration() {
    const bool wide = btf_is_enum64(&type_);
    const std::size_t size =
        length() * (wide ? sizeof(struct btf_enum64) : sizeof(struct btf_enum));
    if (!has(size)) {
        return -EINVAL;
    }
    if (type_.size > 8 || !std::has_single_bit(type_.size)) {
        return refuse("Unexpected size");
    }
    if (!is_unnamed_or_named()) {
        return refuse("Invalid name");
    }
    accept(size);
    return wide ? values(btf_enum64(&type_)) : values(btf_enum(&type_));
}

TypeCheck::Check TypeCheck::function_prototype() {
    const std::size_t size = length() * sizeof(btf_param);
    if (!has(size)) {
        return -EINVAL;
    }
    if (type_.name_off != 0) {
        return refuse("Invalid name");
    }
    if (btf_kflag(&type_)) {
        return refuse("Invalid btf_info kind_flag");
    }
    return accept(size);
}

TypeCheck::Check TypeCheck::function() {
    if (!is_named()) {
        return refuse("Invalid name");
    }
    if (length() > BTF_FUNC_GLOBAL) {
        return refuse("Invalid func linkage");
    }
    if (btf_kflag(&type_)) {
        return refuse("Invalid btf_info kind_flag");
    }
    return accept(0);
}

TypeCheck::Check TypeCheck::variable() {
    if (!has(sizeof(struct btf_var))) {
        return -EINVAL;
    }
    if (length() != 0) {
        return refuse("vlen != 0");
    }
    if (btf_kflag(&type_)) {
        return refuse("Invalid btf_info kind_flag");
    }
    if (!is_named()) {
        return refuse("Invalid name");
    }
    if (!is_type_id(type_.type)) {
        return refuse("Invalid type_id");
    }
    const std::uint32_t linkage = btf_var(&type_)->linkage;
    if (linkage != BTF_VAR_STATIC && linkage != BTF_VAR_GLOBAL_ALLOCATED) {
        return refuse("Linkage not supported");
    }
    return accept(sizeof(struct btf_var));
}

TypeCheck::Check TypeCheck::section() {
    const std::size_t size = length() * sizeof(btf_var_secinfo);
    if (!has(size)) {
        return -EINVAL;
    }
    if (type_.size == 0) {
        return refuse("size == 0");
    }
    if (btf_kflag(&type_)) {
        return refuse("Invalid btf_info kind_flag");
    }
    if (type_.name_off == 0 || !layout_.is_section_name(type_.name_off)) {
        return refuse("Invalid name");
    }
    accept(size);
    std::uint64_t sum = 0;
    std::uint64_t last_end = 0;
    for (std::uint32_t i = 0; i < length(); ++i) {
        const btf_var_secinfo& variable = btf_var_secinfos(&type_)[i];
        const auto wrong = [&](std::string_view reason) {
            layout_.say_variable(variable, reason);
            return Check{-EINVAL};
        };
        if (!is_type_id(variable.type)) {
            return wrong("Invalid type_id");
        }
        if (variable.offset < last_end || variable.offset >= type_.size) {
            return wrong("Invalid offset");
        }
        if (variable.size == 0 || variable.size > type_.size) {
            return wrong("Invalid size");
        }
        last_end = std::uint64_t{variable.offset} + variable.size;
        if (last_end > type_.size) {
            return wrong("Invalid offset+size");
        }
        layout_.say_variable(variable);
        sum += variable.size;
    }
    if (type_.size < sum) {
        return refuse("Invalid btf_info size");
    }
    return static_cast<Check>(size);
}

TypeCheck::Check TypeCheck::floating() {
    if (length() != 0) {
        return refuse("vlen != 0");
    }
    if (btf_kflag(&type_)) {
        return refuse("Invalid btf_info kind_flag");
    }
    const std::uint32_t sizes[] = {2, 4, 8, 12, 16};
    if (std::find(std::begin(sizes), std::end(sizes), type_.size) == std::end(sizes)) {
        return refuse("Invalid type_size");
    }
    return accept(0);
}

TypeCheck::Check TypeCheck::declaration_tag() {
    if (!has(sizeof(struct btf_decl_tag))) {
        return -EINVAL;
    }
    if (layout_.name(type_.name_off).empty()) {
        return refuse("Invalid value");
    }
    if (length() != 0) {
        return refuse("vlen != 0");
    }
    if (btf_decl_tag(&type_)->component_idx < -1) {
        return refuse("Invalid component_idx");
    }
    return accept(sizeof(struct btf_decl_tag));
}

std::int64_t TypeCheck::run() {
    const std::string id = "[" + std::to_string(id_) + "] ";
    if ((type_.info & ~kInfoMask) != 0) {
        layout_.say(id + "Invalid btf_info:" + hexadecimal(type_.info));
        return -EINVAL;
    }
    const std::uint32_t kind = btf_kind(&type_);
    if (kind == BTF_KIND_UNKN || kind > BTF_KIND_ENUM64) {
        layout_.say(id + "Invalid kind:" + std::to_string(kind));
        return -EINVAL;
    }
    if (!layout_.is_name_offset(type_.name_off)) {
        layout_.say(id + "Invalid name_offset:" + std::to_string(type_.name_off));
        return -EINVAL;
    }
    switch (kind) {
    case BTF_KIND_INT:
        return integer();
    case BTF_KIND_FWD:
        return forward();
    case BTF_KIND_ARRAY:
        return array();
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
        return composite();
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64:
        return enumeration();
    case BTF_KIND_FUNC_PROTO:
        return function_prototype();
    case BTF_KIND_FUNC:
        return function();
    case BTF_KIND_VAR:
        return variable();
    case BTF_KIND_DATASEC:
        return section();
    case BTF_KIND_FLOAT:
        return floating();
    case BTF_KIND_DECL_TAG:
        return declaration_tag();
    default:
        return reference();
    }
}

}  // namespace

std::string hexadecimal(std::uint32_t value) {
    char digits[9];
    std::snprintf(digits, sizeof digits, "%x", value);
    return digits;
}

int check_types(BtfLayout& layout) {
    std::size_t size = 0;
    for (std::size_t offset = 0; offset < layout.types_size(); offset += size) {
        const std::size_t left = layout.types_size() - offset;
        const std::uint32_t id = layout.count();
        if (left < sizeof(btf_type)) {
            layout.say("[" + std::to_string(id) + "] meta_left:" + std::to_string(left) +
                       " meta_needed:" + std::to_string(sizeof(btf_type)));
            return -EINVAL;
        }
        const auto& type = *layout.at<btf_type>(offset);
        const std::int64_t behind = TypeCheck(layout, id, type, left - sizeof type).run();
        if (behind < 0) {
            return static_cast<int>(behind);
        }
        if (id == BtfLayout::kTypeIdMax) {
            layout.say("Exceeded max num of types");
            return -E2BIG;
        }
        layout.add(&type);
        size = sizeof type + static_cast<std::size_t>(behind);
    }
    return 0;
}

}  // namespace taskwork::uapi
