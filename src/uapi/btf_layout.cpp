// SPDX-License-Identifier: Apache-2.0
#include "uapi/btf_layout.hpp"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <iterator>

namespace taskwork::uapi {
namespace {

constexpr std::size_t kNameBytesMax = 512;
/// Of text kept: more than any caller's buffer is.
constexpr std::size_t kLogBytesMax = std::size_t{64} << 20;

constexpr const char* kKindNames[] = {
    "UNKNOWN", "INT",     "PTR",      "ARRAY",    "STRUCT",   "UNION",  "ENUM",
    "FWD",     "TYPEDEF", "VOLATILE", "CONST",    "RESTRICT", "FUNC",   "FUNC_PROTO",
    "VAR",     "DATASEC", "FLOAT",    "DECL_TAG", "TYPE_TAG", "ENUM64",
};

std::string encoding_name(std::uint32_t encoding) {
    switch (encoding) {
    case 0:
        return "(none)";
    case BTF_INT_SIGNED:
        return "SIGNED";
    case BTF_INT_CHAR:
        return "CHAR";
    case BTF_INT_BOOL:
        return "BOOL";
    default:
        return "UNKN";
    }
}

std::string number(std::int64_t value) { return std::to_string(value); }

std::string_view with_blank(std::string_view reason) { return reason.empty() ? "" : " "; }

}  // namespace

const char* kind_name(std::uint32_t kind) noexcept {
    return kind < std::size(kKindNames) ? kKindNames[kind] : kKindNames[0];
}

void BtfLayout::set_sections(const std::byte* types, std::size_t types_size,
                             std::string_view strings) {
    words_.assign((types_size + 7) / 8, 0);
    std::memcpy(words_.data(), types, types_size);
    types_size_ = types_size;
    strings_ = strings;
    static constexpr btf_type nothing{};
    types_.assign(1, &nothing);
}

bool BtfLayout::is_identifier(std::uint32_t offset) const {
    const auto allowed = [](unsigned char c) {
        return c < 128 && (std::isalnum(c) != 0 || c == '_' || c == '.');
    };
    const std::string_view text = name(offset);
    return !text.empty() && text.size() <= kNameBytesMax &&
           std::isdigit(static_cast<unsigned char>(text[0])) == 0 &&
           std::all_of(text.begin(), text.end(), allowed);
}

bool BtfLayout::is_section_name(std::uint32_t offset) const {
    const std::string_view text = name(offset);
    return !text.empty() && text.size() <= kNameBytesMax &&
           std::all_of(text.begin(), text.end(),
                       [](unsigned char c) { return c < 128 && std::isprint(c) != 0; });
}

// ---- Text ---------------------------------------------------------------------------------------

void BtfLayout::say(std::string_view text) {
    if (log_ == nullptr) {
        return;
    }
    if (log_->size() > kLogBytesMax) {
        log_->erase(0, kLogBytesMax / 2);
    }
    *log_ += text;
}

std::string BtfLayout::shown(std::uint32_t name_offset) const {
    if (name_offset == 0) {
        return "(anon)";
    }
    return is_name_offset(name_offset) ? std::string(name(name_offset)) : "(invalid-name-offset)";
}

std::string BtfLayout::details_of(const btf_type& type) const {
    switch (btf_kind(&type)) {
    case BTF_KIND_INT: {
        const std::uint32_t encoded = *reinterpret_cast<const std::uint32_t*>(&type + 1);
        return "size=" + number(type.size) + " bits_offset=" + number(BTF_INT_OFFSET(encoded)) +
               " nr_bits=" + number(BTF_INT_BITS(encoded)) +
               " encoding=" + encoding_name(BTF_INT_ENCODING(encoded));
    }
    case BTF_KIND_ARRAY: {
        const struct btf_array& array = *btf_array(&type);
        return "type_id=" + number(array.type) + " index_type_id=" + number(array.index_type) +
               " nr_elems=" + number(array.nelems);
    }
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64:
    case BTF_KIND_DATASEC:
        return "size=" + number(type.size) + " vlen=" + number(btf_vlen(&type));
    case BTF_KIND_FLOAT:
        return "size=" + number(type.size);
    case BTF_KIND_FWD:
        return btf_kflag(&type) ? "union" : "struct";
    case BTF_KIND_VAR:
        return "type_id=" + number(type.type) + " linkage=" + number(btf_var(&type)->linkage);
    case BTF_KIND_DECL_TAG:
        return "type=" + number(type.type) +
               " component_idx=" + number(btf_decl_tag(&type)->component_idx);
    case BTF_KIND_FUNC_PROTO: {
        std::string text = "return=" + number(type.type) + " args=(";
        const btf_param* parameters = btf_params(&type);
        const std::uint32_t count = btf_vlen(&type);
        for (std::uint32_t i = 0; i < count; ++i) {
            text += i == 0 ? "" : ", ";
            text += i + 1 == count && parameters[i].type == 0
                        ? "vararg"
                        : number(parameters[i].type) + " " + shown(parameters[i].name_off);
        }
        return text + (count == 0 ? "void)" : ")");
    }
    default:
        return "type_id=" + number(type.type);
    }
}

void BtfLayout::say_type(std::uint32_t id, const btf_type& type, std::string_view reason,
                         bool details) {
    if (!logs()) {
        return;
    }
    std::string text =
        "[" + number(id) + "] " + kind_name(btf_kind(&type)) + " " + shown(type.name_off);
    if (details) {
        text += " " + details_of(type);
    }
    say(text.append(with_blank(reason)).append(reason) + "\n");
}

void BtfLayout::say_member(const btf_type& owner, const btf_member& member,
                           std::string_view reason) {
    if (!logs()) {
        return;
    }
    std::string text = "\t" + shown(member.name_off) + " type_id=" + number(member.type);
    if (btf_kflag(&owner)) {
        text += " bitfield_size=" + number(BTF_MEMBER_BITFIELD_SIZE(member.offset)) +
                " bits_offset=" + number(BTF_MEMBER_BIT_OFFSET(member.offset));
    } else {
        text += " bits_offset=" + number(member.offset);
    }
    say(text.append(with_blank(reason)).append(reason) + "\n");
}

void BtfLayout::say_variable(const btf_var_secinfo& variable, std::string_view reason) {
    if (!logs()) {
        return;
    }
    std::string text = "\t type_id=" + number(variable.type) +
                       " offset=" + number(variable.offset) + " size=" + number(variable.size);
    say(text.append(with_blank(reason)).append(reason) + "\n");
}

}  // namespace taskwork::uapi
