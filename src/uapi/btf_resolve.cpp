// SPDX-License-Identifier: Apache-2.0
//
// Types are followed until one ends a chain: to find loops and chains that are too long, with a
// stack of our own, and to know sizes. A chain ends where the size is known: that of a pointer
// whatever it points to, so what is behind a pointer is followed on its own account. That is why a
// struct may hold pointers to itself, but not itself, and no pointer may lead back to itself
// through pointers and modifiers alone.
#include "uapi/btf_resolve.hpp"

#include <algorithm>
#include <cerrno>

namespace taskwork::uapi {
namespace {

constexpr std::size_t kDepthMax = 32;
constexpr std::uint32_t kPointerBytes = 8;
constexpr std::uint32_t kCopyBitsMax = 128;

bool is_void(const btf_type& type) { return btf_kind(&type) == BTF_KIND_UNKN; }
bool has_own_size(const btf_type& type) {
    return btf_is_int(&type) || btf_is_composite(&type) || btf_is_any_enum(&type) ||
           btf_is_datasec(&type) || btf_is_float(&type);
}
/// Never a part of a value, or unknown.
bool is_sizeless(const btf_type* type) {
    return type == nullptr || is_void(*type) || btf_is_fwd(type) || btf_is_func(type) ||
           btf_is_func_proto(type) || btf_is_decl_tag(type);
}
/// Refers to others, but nothing may refer to it.
bool is_source_only(const btf_type& type) {
    return btf_is_var(&type) || btf_is_decl_tag(&type) || btf_is_datasec(&type);
}
bool is_resolved_by_itself(const btf_type& type) {
    return !(is_modifier(type) || btf_is_ptr(&type) || btf_is_composite(&type) ||
             btf_is_array(&type) || btf_is_var(&type) || btf_is_func(&type) ||
             btf_is_decl_tag(&type) || btf_is_datasec(&type));
}
/// An int that fills its bytes, of a size that there is.
bool is_plain_int(const btf_type& type) {
    const std::uint32_t bits = btf_int_bits(&type);
    return btf_int_offset(&type) == 0 &&
           (bits == 8 || bits == 16 || bits == 32 || bits == 64 || bits == 128);
}
std::uint32_t bytes_of_bits(std::uint64_t bits) {
    return static_cast<std::uint32_t>((bits + 7) / 8);
}

class Resolver {
public:
    explicit Resolver(BtfLayout& layout)
        : layout_(layout), visits_(layout.count(), Visit::none), ends_(layout.count()),
          sizes_(layout.count()) {}

    int run() {
        for (std::uint32_t id = 1; id < layout_.count(); ++id) {
            const btf_type& type = *layout_.type(id);
            if (!is_resolved_by_itself(type) && visits_[id] != Visit::done) {
                if (const int error = resolve(id); error != 0) {
                    return error;
                }
            }
            if (btf_is_func_proto(&type)) {
                if (const int error = check_prototype(id, type); error != 0) {
                    return error;
                }
            }
        }
        return check_tags();
    }

private:
    enum class Visit : std::uint8_t { none, open, done };
    /// What ends a chain, by what it began with.
    enum class Mode { unknown, pointer, value };
    struct Open {
        std::uint32_t id;
        std::uint32_t member;  ///< The next to be looked at.
    };

    int refuse(std::uint32_t id, std::string_view reason) {
        layout_.say_type(id, *layout_.type(id), reason);
        return -EINVAL;
    }
    /// Which struct it belongs to is said before.
    int refuse_member(const btf_member& member, std::string_view reason) {
        const std::uint32_t id = stack_.back().id;
        layout_.say_type(id, *layout_.type(id));
        layout_.say_member(*layout_.type(id), member, reason);
        return -EINVAL;
    }
    int refuse_variable(const btf_var_secinfo& variable, std::string_view reason) {
        const std::uint32_t id = stack_.back().id;
        layout_.say_type(id, *layout_.type(id));
        layout_.say_variable(variable, reason);
        return -EINVAL;
    }

    [[nodiscard]] bool ends_chain(const btf_type& type) const {
        switch (mode_) {
        case Mode::pointer:
            return !is_modifier(type) && !btf_is_ptr(&type);
        case Mode::value:
            return !is_modifier(type) && !btf_is_array(&type) && !btf_is_composite(&type);
        case Mode::unknown:
            break;
        }
        return is_resolved_by_itself(type);
    }
    [[nodiscard]] bool must_follow(std::uint32_t id) const {
        return !ends_chain(*layout_.type(id)) && visits_[id] != Visit::done;
    }

    int resolve(std::uint32_t id);
    int push(std::uint32_t id);
    void done(std::uint32_t end = 0, std::uint32_t size = 0);
    bool sized(std::uint32_t& id, std::uint32_t* size = nullptr) const;
    int step();
    int follow_target(const btf_type& type, bool& wait);
    int reference(const btf_type& type);
    int variable(const btf_type& type);
    int array(const btf_type& type);
    int composite(const btf_type& type);
    int check_member(const btf_type& owner, const btf_member& member);
    int check_int_member(const btf_type& owner, const btf_member& member, const btf_type& type);
    int function(const btf_type& type);
    int declaration_tag(const btf_type& type);
    int section(const btf_type& type);
    int check_prototype(std::uint32_t id, const btf_type& type);
    int check_tags();

    BtfLayout& layout_;
    std::vector<Visit> visits_;
    std::vector<std::uint32_t> ends_;   ///< By id: where a modifier, pointer or variable leads to.
    std::vector<std::uint32_t> sizes_;  ///< By id: of an array.
    std::vector<Open> stack_;
    Mode mode_ = Mode::unknown;
};

int Resolver::push(std::uint32_t id) {
    if (stack_.size() == kDepthMax) {
        return -E2BIG;
    }
    if (visits_[id] != Visit::none) {
        return -EEXIST;
    }
    visits_[id] = Visit::open;
    stack_.push_back({id, 0});
    const btf_type& type = *layout_.type(id);
    if (mode_ == Mode::unknown && btf_is_ptr(&type)) {
        mode_ = Mode::pointer;
    } else if (mode_ == Mode::unknown && (btf_is_composite(&type) || btf_is_array(&type))) {
        mode_ = Mode::value;
    }
    return 0;
}

void Resolver::done(std::uint32_t end, std::uint32_t size) {
    const std::uint32_t id = stack_.back().id;
    ends_[id] = end;
    sizes_[id] = size;
    visits_[id] = Visit::done;
    stack_.pop_back();
}

/// Whether values of the type have a size; `id` is then the type that has it.
bool Resolver::sized(std::uint32_t& id, std::uint32_t* size) const {
    const btf_type* type = layout_.type(id);
    if (is_sizeless(type)) {
        return false;
    }
    if (is_modifier(*type) || btf_is_var(type)) {
        id = ends_[id];
        type = layout_.type(id);
        if (is_sizeless(type)) {
            return false;
        }
    }
    if (size != nullptr) {
        *size = has_own_size(*type) ? type->size : btf_is_array(type) ? sizes_[id] : kPointerBytes;
    }
    return has_own_size(*type) || btf_is_array(type) || btf_is_ptr(type);
}

int Resolver::resolve(std::uint32_t id) {
    mode_ = Mode::unknown;
    stack_.clear();
    int error = push(id);
    while (error == 0 && !stack_.empty()) {
        error = step();
    }
    if (error == -E2BIG) {
        layout_.say_type(id, *layout_.type(id),
                         "Exceeded max resolving depth:" + std::to_string(kDepthMax));
    } else if (error == -EEXIST) {
        layout_.say_type(id, *layout_.type(id), "Loop detected");
    }
    return error;
}

/// Goes on with what is on top: pushes what it waits for, or is done with it.
int Resolver::step() {
    const btf_type& type = *layout_.type(stack_.back().id);
    switch (btf_kind(&type)) {
    case BTF_KIND_VAR:
        return variable(type);
    case BTF_KIND_ARRAY:
        return array(type);
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
        return composite(type);
    case BTF_KIND_FUNC:
        return function(type);
    case BTF_KIND_DECL_TAG:
        return declaration_tag(type);
    case BTF_KIND_DATASEC:
        return section(type);
    default:
        return reference(type);
    }
}

/// Of a pointer, modifier or variable. `wait`: its target had to be pushed first.
int Resolver::follow_target(const btf_type& type, bool& wait) {
    const btf_type* target = layout_.type(type.type);
    if (target == nullptr || is_source_only(*target)) {
        return refuse(stack_.back().id, "Invalid type_id");
    }
    wait = true;
    if (must_follow(type.type)) {
        return push(type.type);
    }
    // A modifier inside a struct was followed to a pointer and no further.
    if (!is_modifier(type) && is_modifier(*target)) {
        const std::uint32_t end = ends_[type.type];
        if (btf_is_ptr(layout_.type(end)) && must_follow(end)) {
            return push(end);
        }
    }
    wait = false;
    return 0;
}

int Resolver::reference(const btf_type& type) {
    bool wait = false;
    if (const int error = follow_target(type, wait); error != 0 || wait) {
        return error;
    }
    std::uint32_t end = type.type;
    if (!sized(end)) {
        end = visits_[end] == Visit::done ? ends_[end] : end;
        const btf_type& last = *layout_.type(end);
        if (!is_void(last) && !btf_is_fwd(&last) && !btf_is_func_proto(&last)) {
            return refuse(stack_.back().id, "Invalid type_id");
        }
    }
    done(end);
    return 0;
}

int Resolver::variable(const btf_type& type) {
    bool wait = false;
    if (const int error = follow_target(type, wait); error != 0 || wait) {
        return error;
    }
    std::uint32_t end = type.type;
    if (!sized(end)) {
        return refuse(stack_.back().id, "Invalid type_id");
    }
    done(end);
    return 0;
}

int Resolver::array(const btf_type& type) {
    const std::uint32_t id = stack_.back().id;
    const struct btf_array& array = *btf_array(&type);
    const btf_type* index = layout_.type(array.index_type);
    if (is_sizeless(index) || is_source_only(*index)) {
        return refuse(id, "Invalid index");
    }
    if (must_follow(array.index_type)) {
        return push(array.index_type);
    }
    std::uint32_t end = array.index_type;
    if (!sized(end) || !btf_is_int(layout_.type(end)) || !is_plain_int(*layout_.type(end))) {
        return refuse(id, "Invalid index");
    }
    const btf_type* element = layout_.type(array.type);
    if (is_sizeless(element) || is_source_only(*element)) {
        return refuse(id, "Invalid elem");
    }
    if (must_follow(array.type)) {
        return push(array.type);
    }
    std::uint32_t size = 0;
    end = array.type;
    if (!sized(end, &size)) {
        return refuse(id, "Invalid elem");
    }
    if (btf_is_int(layout_.type(end)) && !is_plain_int(*layout_.type(end))) {
        return refuse(id, "Invalid array of int");
    }
    if (array.nelems != 0 && size > UINT32_MAX / array.nelems) {
        return refuse(id, "Array size overflows U32_MAX");
    }
    done(end, size * array.nelems);
    return 0;
}

int Resolver::composite(const btf_type& type) {
    for (std::uint32_t i = stack_.back().member; i < btf_vlen(&type); ++i) {
        const btf_member& member = btf_members(&type)[i];
        const btf_type* of = layout_.type(member.type);
        if (is_sizeless(of) || is_source_only(*of)) {
            return refuse_member(member, "Invalid member");
        }
        if (must_follow(member.type)) {
            stack_.back().member = i;
            return push(member.type);
        }
        if (const int error = check_member(type, member); error != 0) {
            return error;
        }
    }
    done();
    return 0;
}

int Resolver::check_int_member(const btf_type& owner, const btf_member& member,
                               const btf_type& type) {
    const bool flag = btf_kflag(&owner);
    std::uint32_t bits = btf_int_bits(&type);
    std::uint64_t at = flag ? BTF_MEMBER_BIT_OFFSET(member.offset) : member.offset;
    if (flag) {
        const std::uint32_t wanted = BTF_MEMBER_BITFIELD_SIZE(member.offset);
        if (!is_plain_int(type)) {
            return refuse_member(member, "Invalid member base type");
        }
        if (wanted == 0 && at % 8 != 0) {
            return refuse_member(member, "Invalid member offset");
        }
        if (wanted > bits) {
            return refuse_member(member, "Invalid member bitfield_size");
        }
        bits = wanted == 0 ? bits : wanted;
    } else {
        at += btf_int_offset(&type);
        if (at > UINT32_MAX) {
            return refuse_member(member, "bits_offset exceeds U32_MAX");
        }
    }
    const std::uint64_t copied = bits + at % 8;
    if (copied > kCopyBitsMax) {
        return refuse_member(member, "nr_copy_bits exceeds 128");
    }
    if (owner.size < at / 8 || owner.size - at / 8 < bytes_of_bits(copied)) {
        return refuse_member(member, "Member exceeds struct_size");
    }
    return 0;
}

int Resolver::check_member(const btf_type& owner, const btf_member& member) {
    std::uint32_t end = member.type;
    std::uint32_t size = 0;
    if (!sized(end, &size)) {
        return refuse_member(member, "Invalid member");
    }
    const btf_type& type = *layout_.type(end);
    if (btf_is_int(&type)) {
        return check_int_member(owner, member, type);
    }
    const bool flag = btf_kflag(&owner);
    const std::uint32_t at = flag ? BTF_MEMBER_BIT_OFFSET(member.offset) : member.offset;
    const std::uint32_t field_bits = flag ? BTF_MEMBER_BITFIELD_SIZE(member.offset) : 0;
    if (flag && btf_is_any_enum(&type)) {
        constexpr std::uint32_t int_bits = 32;
        if (field_bits == 0 && at % 8 != 0) {
            return refuse_member(member, "Member is not byte aligned");
        }
        if (field_bits > int_bits) {
            return refuse_member(member, "Invalid member bitfield_size");
        }
        if (owner.size < bytes_of_bits(at + (field_bits == 0 ? int_bits : field_bits))) {
            return refuse_member(member, "Member exceeds struct_size");
        }
        return 0;
    }
    if (field_bits != 0) {
        return refuse_member(member, "Invalid member bitfield_size");
    }
    if (btf_is_float(&type)) {
        if (at % (8 * std::min(kPointerBytes, size)) != 0) {
            return refuse_member(member, "Member is not properly aligned");
        }
    } else if (at % 8 != 0) {
        return refuse_member(member, "Member is not byte aligned");
    }
    if (owner.size - at / 8 < size) {
        return refuse_member(member, "Member exceeds struct_size");
    }
    return 0;
}

int Resolver::function(const btf_type& type) {
    const std::uint32_t id = stack_.back().id;
    const btf_type* prototype = layout_.type(type.type);
    if (prototype == nullptr || !btf_is_func_proto(prototype)) {
        return refuse(id, "Invalid type_id");
    }
    const btf_param* parameters = btf_params(prototype);
    for (std::uint32_t i = 0; i < btf_vlen(prototype); ++i) {
        if (parameters[i].name_off == 0 && parameters[i].type != 0) {
            return refuse(id, "Invalid arg#" + std::to_string(i + 1));
        }
    }
    done();
    return 0;
}

int Resolver::declaration_tag(const btf_type& type) {
    const std::uint32_t id = stack_.back().id;
    const btf_type* target = layout_.type(type.type);
    if (target == nullptr || !(btf_is_func(target) || btf_is_composite(target) ||
                               btf_is_var(target) || btf_is_typedef(target))) {
        return refuse(id, "Invalid type_id");
    }
    if (must_follow(type.type)) {
        return push(type.type);
    }
    const std::int32_t component = btf_decl_tag(&type)->component_idx;
    if (component != -1) {
        std::uint32_t count = 0;
        if (btf_is_composite(target)) {
            count = btf_vlen(target);
        } else if (btf_is_func(target)) {
            count = btf_vlen(layout_.type(target->type));
        }
        if (static_cast<std::uint32_t>(component) >= count) {
            return refuse(id, "Invalid component_idx");
        }
    }
    done();
    return 0;
}

int Resolver::section(const btf_type& type) {
    for (std::uint32_t i = stack_.back().member; i < btf_vlen(&type); ++i) {
        const btf_var_secinfo& variable = btf_var_secinfos(&type)[i];
        const btf_type* of = layout_.type(variable.type);
        if (of == nullptr || !btf_is_var(of)) {
            return refuse_variable(variable, "Not a VAR kind member");
        }
        if (must_follow(variable.type)) {
            stack_.back().member = i;
            return push(variable.type);
        }
        std::uint32_t end = variable.type;
        std::uint32_t size = 0;
        if (!sized(end, &size)) {
            return refuse_variable(variable, "Invalid type");
        }
        if (variable.size < size) {
            return refuse_variable(variable, "Invalid size");
        }
    }
    done();
    return 0;
}

int Resolver::check_prototype(std::uint32_t id, const btf_type& type) {
    /// 1: right, 0: not, negative: it could not be resolved.
    const auto check = [this](std::uint32_t of) {
        const btf_type* wanted = layout_.type(of);
        if (wanted == nullptr || is_source_only(*wanted)) {
            return 0;
        }
        if (!is_resolved_by_itself(*wanted) && visits_[of] != Visit::done) {
            if (const int error = resolve(of); error != 0) {
                return error;
            }
        }
        return sized(of) ? 1 : 0;
    };
    if (type.type != 0) {
        if (const int right = check(type.type); right != 1) {
            return right < 0 ? right : refuse(id, "Invalid return type");
        }
    }
    std::uint32_t count = btf_vlen(&type);
    const btf_param* parameters = btf_params(&type);
    const auto wrong = [&](std::uint32_t i) {
        return refuse(id, "Invalid arg#" + std::to_string(i + 1));
    };
    if (count != 0 && parameters[count - 1].type == 0) {  // variable arguments
        if (parameters[count - 1].name_off != 0) {
            return wrong(count - 1);
        }
        --count;
    }
    for (std::uint32_t i = 0; i < count; ++i) {
        const btf_param& parameter = parameters[i];
        if (!layout_.is_name_offset(parameter.name_off) ||
            (parameter.name_off != 0 && !layout_.is_identifier(parameter.name_off))) {
            return wrong(i);
        }
        if (const int right = check(parameter.type); right != 1) {
            return right < 0 ? right : wrong(i);
        }
    }
    return 0;
}

/// Type tags come before other modifiers.
int Resolver::check_tags() {
    for (std::uint32_t id = 1; id < layout_.count(); ++id) {
        const btf_type* type = layout_.type(id);
        bool tags = is_modifier(*type) && btf_is_type_tag(type);
        for (std::size_t length = 0; is_modifier(*type); type = layout_.type(type->type)) {
            if (++length > kDepthMax) {
                layout_.say("Max chain length or cycle detected");
                return -ELOOP;
            }
            if (btf_is_type_tag(type) && !tags) {
                layout_.say("Type tags don't precede modifiers");
                return -EINVAL;
            }
            tags = btf_is_type_tag(type);
        }
    }
    return 0;
}

}  // namespace

int resolve_types(BtfLayout& layout) { return Resolver(layout).run(); }

}  // namespace taskwork::uapi
