// SPDX-License-Identifier: Apache-2.0
#include "cli/btf_value.hpp"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <optional>
#include <string_view>

namespace taskwork::cli {

namespace {

/// Types nest; a BTF that nests deeper than this is made to hurt.
constexpr unsigned kDepthMax = 64;

constexpr std::array<std::string_view, 10> kRuntimeOwned = {
    "bpf_task_work", "bpf_timer",     "bpf_wq",      "bpf_spin_lock", "bpf_res_spin_lock",
    "bpf_list_head", "bpf_list_node", "bpf_rb_root", "bpf_rb_node",   "bpf_refcount",
};

/// Up to 8 bytes, little-endian, as an unsigned number.
std::uint64_t load_bits(const std::byte* data, std::size_t size) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, data, size);
    return bits;
}

std::int64_t sign_extend(std::uint64_t bits, unsigned width) {
    if (width == 0 || width >= 64) {
        return static_cast<std::int64_t>(bits);
    }
    unsigned shift = 64 - width;
    return static_cast<std::int64_t>(bits << shift) >> shift;
}

class Reader {
public:
    explicit Reader(const btf* types) : types_(types) {}

    Json value(std::uint32_t type_id, const std::byte* data, std::size_t size, unsigned depth);

private:
    [[nodiscard]] std::string_view name(std::uint32_t offset) const {
        const char* text = btf__name_by_offset(types_, offset);
        return text ? text : "";
    }
    /// Behind typedefs and qualifiers; nullptr if there is no such type.
    [[nodiscard]] const btf_type* skip_names(std::uint32_t type_id) const;
    [[nodiscard]] bool is_char(std::uint32_t type_id) const;

    Json number(const btf_type& type, std::uint64_t bits, unsigned width);
    Json array(const btf_type& type, const std::byte* data, std::size_t size, unsigned depth);
    Json section(const btf_type& type, const std::byte* data, std::size_t size, unsigned depth);
    void add_members(Json& object, const btf_type& type, const std::byte* data, std::size_t size,
                     unsigned depth);
    Json bitfield(std::uint32_t type_id, const std::byte* data, std::size_t size,
                  unsigned bit_offset, unsigned width);

    const btf* types_;
};

const btf_type* Reader::skip_names(std::uint32_t type_id) const {
    for (unsigned i = 0; i < kDepthMax; ++i) {
        const btf_type* type = btf__type_by_id(types_, type_id);
        if (type == nullptr || !(btf_is_mod(type) || btf_is_typedef(type))) {
            return type;
        }
        type_id = type->type;
    }
    return nullptr;
}

bool Reader::is_char(std::uint32_t type_id) const {
    // Not behind a typedef: who writes `__u8` or `byte_t` does not mean text.
    for (unsigned i = 0; i < kDepthMax; ++i) {
        const btf_type* type = btf__type_by_id(types_, type_id);
        if (type == nullptr) {
            return false;
        }
        if (btf_is_mod(type)) {
            type_id = type->type;
            continue;
        }
        return btf_is_int(type) && type->size == 1 &&
               (btf_int_encoding(type) == BTF_INT_CHAR || name(type->name_off) == "char");
    }
    return false;
}

/// An int or an enum of `width` bits.
Json Reader::number(const btf_type& type, std::uint64_t bits, unsigned width) {
    if (btf_is_int(&type)) {
        if (btf_int_encoding(&type) == BTF_INT_BOOL) {
            return bits != 0;
        }
        if (btf_int_encoding(&type) == BTF_INT_SIGNED) {
            return sign_extend(bits, width);
        }
        return bits;
    }
    // By the bits that are there: compilers that do not mark signed enums write them alike.
    std::uint64_t mask = width < 64 ? (std::uint64_t{1} << width) - 1 : UINT64_MAX;
    for (unsigned i = 0; i < btf_vlen(&type); ++i) {
        std::uint64_t entry = 0;
        std::uint32_t entry_name = 0;
        if (btf_is_enum(&type)) {
            entry = static_cast<std::uint64_t>(std::int64_t{btf_enum(&type)[i].val});
            entry_name = btf_enum(&type)[i].name_off;
        } else {
            entry = btf_enum64_value(&btf_enum64(&type)[i]);
            entry_name = btf_enum64(&type)[i].name_off;
        }
        if ((entry & mask) == bits) {
            return std::string(name(entry_name));
        }
    }
    if (btf_kflag(&type)) {
        return sign_extend(bits, width);
    }
    return bits;
}

Json Reader::array(const btf_type& type, const std::byte* data, std::size_t size, unsigned depth) {
    const struct btf_array& info = *btf_array(&type);
    if (is_char(info.type)) {
        const char* text = reinterpret_cast<const char*>(data);
        return std::string(text, strnlen(text, std::min<std::size_t>(info.nelems, size)));
    }
    Json list = Json::array();
    std::int64_t stride = btf__resolve_size(types_, info.type);
    for (std::uint32_t i = 0; stride > 0 && i < info.nelems; ++i) {
        std::size_t at = static_cast<std::size_t>(stride) * i;
        if (at + static_cast<std::size_t>(stride) > size) {
            break;
        }
        list.push_back(value(info.type, data + at, static_cast<std::size_t>(stride), depth + 1));
    }
    return list;
}

Json Reader::section(const btf_type& type, const std::byte* data, std::size_t size,
                     unsigned depth) {
    Json object = Json::object();
    for (unsigned i = 0; i < btf_vlen(&type); ++i) {
        const btf_var_secinfo& place = btf_var_secinfos(&type)[i];
        const btf_type* variable = btf__type_by_id(types_, place.type);
        if (variable == nullptr || !btf_is_var(variable)) {
            continue;
        }
        Json& member = object[std::string(name(variable->name_off))];
        if (place.offset <= size && place.size <= size - place.offset) {
            member = value(variable->type, data + place.offset, place.size, depth + 1);
        }
    }
    return object;
}

Json Reader::bitfield(std::uint32_t type_id, const std::byte* data, std::size_t size,
                      unsigned bit_offset, unsigned width) {
    const btf_type* type = skip_names(type_id);
    std::size_t first = bit_offset / 8;
    unsigned shift = bit_offset % 8;
    std::size_t bytes = (shift + width + 7) / 8;
    if (type == nullptr || !(btf_is_int(type) || btf_is_any_enum(type)) || width > 64 ||
        first + bytes > size) {
        return nullptr;
    }
    std::uint64_t bits = load_bits(data + first, std::min<std::size_t>(bytes, 8)) >> shift;
    if (bytes > 8) {  // the ninth byte: the top of a wide field that starts in mid-byte
        bits |= load_bits(data + first + 8, 1) << (64 - shift);
    }
    if (width < 64) {
        bits &= (std::uint64_t{1} << width) - 1;
    }
    return number(*type, bits, width);
}

void Reader::add_members(Json& object, const btf_type& type, const std::byte* data,
                         std::size_t size, unsigned depth) {
    for (unsigned i = 0; i < btf_vlen(&type); ++i) {
        const btf_member& member = btf_members(&type)[i];
        unsigned bit_offset = btf_member_bit_offset(&type, i);
        unsigned width = btf_member_bitfield_size(&type, i);
        std::size_t offset = bit_offset / 8;
        std::string_view member_name = name(member.name_off);

        if (width != 0) {
            if (!member_name.empty()) {
                object[std::string(member_name)] =
                    bitfield(member.type, data, size, bit_offset, width);
            }
            continue;
        }
        std::size_t left = offset <= size ? size - offset : 0;
        const btf_type* inner = skip_names(member.type);
        if (member_name.empty()) {
            if (inner != nullptr && btf_is_composite(inner) && depth < kDepthMax) {
                add_members(object, *inner, data + offset, std::min<std::size_t>(inner->size, left),
                            depth + 1);
            }
            continue;
        }
        object[std::string(member_name)] = value(member.type, data + offset, left, depth + 1);
    }
}

Json Reader::value(std::uint32_t type_id, const std::byte* data, std::size_t size, unsigned depth) {
    const btf_type* type = skip_names(type_id);
    if (type == nullptr || depth > kDepthMax) {
        return nullptr;
    }
    switch (btf_kind(type)) {
    case BTF_KIND_INT:
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64:
        if (type->size > size) {
            return nullptr;
        }
        if (type->size > 8) {
            return fmt::format("0x{:x}{:016x}", load_bits(data + 8, type->size - 8),
                               load_bits(data, 8));
        }
        if (btf_is_int(type) && btf_int_offset(type) + btf_int_bits(type) < type->size * 8u) {
            return bitfield(type_id, data, size, btf_int_offset(type), btf_int_bits(type));
        }
        return number(*type, load_bits(data, type->size), type->size * 8);
    case BTF_KIND_FLOAT:
        if (type->size == sizeof(float) && size >= sizeof(float)) {
            float number = 0;
            std::memcpy(&number, data, sizeof number);
            return number;
        }
        if (type->size == sizeof(double) && size >= sizeof(double)) {
            double number = 0;
            std::memcpy(&number, data, sizeof number);
            return number;
        }
        return nullptr;
    case BTF_KIND_PTR:
        return size < 8 ? Json(nullptr) : Json(fmt::format("0x{:x}", load_bits(data, 8)));
    case BTF_KIND_ARRAY:
        return array(*type, data, size, depth);
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION: {
        Json object = Json::object();
        for (std::string_view owned : kRuntimeOwned) {
            if (name(type->name_off) == owned) {
                return object;
            }
        }
        add_members(object, *type, data, std::min<std::size_t>(type->size, size), depth);
        return object;
    }
    case BTF_KIND_DATASEC:
        return section(*type, data, size, depth);
    case BTF_KIND_VAR:
        return value(type->type, data, size, depth + 1);
    default:
        return nullptr;
    }
}

/// The layout of bpftool: braces open on the line of their name, members on lines of their own,
/// scalars of a list in one row, objects of a list chained as "},{".
class BpftoolPrinter {
public:
    explicit BpftoolPrinter(unsigned depth) : depth_(depth) {}

    void print(const Json& value) {
        if (value.is_object()) {
            text_ += '{';
            ++depth_;
            bool first = true;
            for (const auto& [key, member] : value.items()) {
                text_ += first ? "" : ",";
                first = false;
                line();
                text_ += to_json_text(Json(key)) + ": ";
                print(member);
            }
            --depth_;
            if (!first) {
                line();
            }
            text_ += '}';
        } else if (value.is_array()) {
            text_ += '[';
            ++depth_;
            bool first = true;
            for (const Json& element : value) {
                text_ += first ? "" : ",";
                first = false;
                print(element);
            }
            --depth_;
            if (!first) {
                line();
            }
            text_ += ']';
        } else {
            text_ += to_json_text(value);
        }
    }

    std::string take() { return std::move(text_); }

private:
    void line() { text_ += '\n' + std::string(std::size_t{4} * depth_, ' '); }

    std::string text_;
    unsigned depth_;
};

}  // namespace

Json btf_value(const btf* types, std::uint32_t type_id, const void* data, std::size_t size) {
    if (types == nullptr || type_id == 0) {
        return hex_bytes(data, size);
    }
    return Reader(types).value(type_id, static_cast<const std::byte*>(data), size, 0);
}

Json hex_bytes(const void* data, std::size_t size) {
    Json list = Json::array();
    const auto* bytes = static_cast<const unsigned char*>(data);
    for (std::size_t i = 0; i < size; ++i) {
        list.push_back(fmt::format("0x{:02x}", bytes[i]));
    }
    return list;
}

std::string to_bpftool_text(const Json& value, unsigned depth) {
    BpftoolPrinter printer(depth);
    printer.print(value);
    return printer.take();
}

std::string to_json_text(const Json& value) {
    return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace taskwork::cli
