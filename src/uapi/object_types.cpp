// SPDX-License-Identifier: Apache-2.0
#include "uapi/object_types.hpp"

#include <bpf/btf.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace taskwork::uapi {
namespace {

/// Types that contain each other: deeper than in any program, not too deep for recursion.
constexpr unsigned kDepthMax = 64;

class Types {
public:
    explicit Types(std::span<const std::byte> raw) : raw_(raw) {}

    ObjectTypes check() {
        ObjectTypes result;
        if (!find_sections() || !find_types() || !check_references() || !check_depths()) {
            result.fault = fault_;
        }
        result.count = static_cast<std::uint32_t>(types_.size());
        result.strings_size = static_cast<std::uint32_t>(strings_.size());
        return result;
    }

private:
    bool refuse(std::string text) {
        fault_ = std::move(text);
        return false;
    }
    bool refuse(std::size_t id, const char* text) {
        return refuse("type " + std::to_string(id) + " " + text);
    }

    bool find_sections() {
        btf_header header;
        if (raw_.size() < sizeof header) {
            return refuse("too short");
        }
        std::memcpy(&header, raw_.data(), sizeof header);
        if (header.magic != BTF_MAGIC || header.version != BTF_VERSION) {
            return refuse("not of a format that is known");
        }
        if (header.hdr_len < sizeof header || header.hdr_len > raw_.size()) {
            return refuse("a header of " + std::to_string(header.hdr_len) + " bytes");
        }
        const std::span<const std::byte> body = raw_.subspan(header.hdr_len);
        const auto inside = [&body](std::uint64_t offset, std::uint64_t size) {
            return offset + size <= body.size();
        };
        if (!inside(header.type_off, header.type_len) || !inside(header.str_off, header.str_len)) {
            return refuse("sections outside of it");
        }
        if (header.type_off % 4 != 0 || header.type_off + header.type_len > header.str_off) {
            return refuse("sections out of order");
        }
        strings_ = body.subspan(header.str_off, header.str_len);
        if (strings_.empty() || strings_.front() != std::byte{} || strings_.back() != std::byte{}) {
            return refuse("names without an end");
        }
        words_.resize(header.type_len / 4);
        if (!words_.empty()) {
            std::memcpy(words_.data(), body.data() + header.type_off, words_.size() * 4);
        }
        return header.type_len % 4 == 0 ? true : refuse("types cut off");
    }

    /// Bytes behind a btf_type; -1: of no kind that is known.
    static std::int64_t bytes_behind(const btf_type& type) {
        const std::int64_t members = btf_vlen(&type);
        switch (btf_kind(&type)) {
        case BTF_KIND_INT:
            return sizeof(std::uint32_t);
        case BTF_KIND_ARRAY:
            return sizeof(struct btf_array);
        case BTF_KIND_STRUCT:
        case BTF_KIND_UNION:
            return members * static_cast<std::int64_t>(sizeof(btf_member));
        case BTF_KIND_ENUM:
            return members * static_cast<std::int64_t>(sizeof(struct btf_enum));
        case BTF_KIND_ENUM64:
            return members * static_cast<std::int64_t>(sizeof(struct btf_enum64));
        case BTF_KIND_FUNC_PROTO:
            return members * static_cast<std::int64_t>(sizeof(btf_param));
        case BTF_KIND_VAR:
            return sizeof(struct btf_var);
        case BTF_KIND_DATASEC:
            return members * static_cast<std::int64_t>(sizeof(btf_var_secinfo));
        case BTF_KIND_DECL_TAG:
            return sizeof(struct btf_decl_tag);
        case BTF_KIND_PTR:
        case BTF_KIND_FWD:
        case BTF_KIND_TYPEDEF:
        case BTF_KIND_VOLATILE:
        case BTF_KIND_CONST:
        case BTF_KIND_RESTRICT:
        case BTF_KIND_FUNC:
        case BTF_KIND_FLOAT:
        case BTF_KIND_TYPE_TAG:
            return 0;
        default:
            return -1;
        }
    }

    bool find_types() {
        static constexpr btf_type kVoid{};
        types_.push_back(&kVoid);
        constexpr std::size_t head = sizeof(btf_type) / 4;
        for (std::size_t at = 0; at < words_.size();) {
            if (words_.size() - at < head) {
                return refuse(types_.size(), "is cut off");
            }
            const auto* type = reinterpret_cast<const btf_type*>(&words_[at]);
            const std::int64_t behind = bytes_behind(*type);
            if (behind < 0) {
                return refuse(types_.size(), "is of no kind that is known");
            }
            at += head + static_cast<std::size_t>(behind) / 4;
            if (at > words_.size()) {
                return refuse(types_.size(), "is cut off");
            }
            types_.push_back(type);
        }
        return true;
    }

    [[nodiscard]] bool is_name(std::uint32_t offset) const { return offset < strings_.size(); }
    [[nodiscard]] bool is_type(std::uint32_t id) const { return id < types_.size(); }

    /// Calls function(name offset, type id) for what the type refers to, besides its own name.
    template <class Function>
    static bool all_references(const btf_type& type, Function function) {
        const std::uint32_t members = btf_vlen(&type);
        const auto each = [members, &function](const auto* first, auto reference) {
            for (std::uint32_t i = 0; i < members; ++i) {
                const auto [name, id] = reference(first[i]);
                if (!function(name, id)) {
                    return false;
                }
            }
            return true;
        };
        using Pair = std::pair<std::uint32_t, std::uint32_t>;
        switch (btf_kind(&type)) {
        case BTF_KIND_ARRAY:
            return function(0, btf_array(&type)->type) && function(0, btf_array(&type)->index_type);
        case BTF_KIND_STRUCT:
        case BTF_KIND_UNION:
            return each(btf_members(&type),
                        [](const btf_member& m) { return Pair{m.name_off, m.type}; });
        case BTF_KIND_ENUM:
            return each(btf_enum(&type), [](const auto& m) { return Pair{m.name_off, 0}; });
        case BTF_KIND_ENUM64:
            return each(btf_enum64(&type), [](const auto& m) { return Pair{m.name_off, 0}; });
        case BTF_KIND_FUNC_PROTO:
            return function(0, type.type) && each(btf_params(&type), [](const btf_param& m) {
                       return Pair{m.name_off, m.type};
                   });
        case BTF_KIND_DATASEC:
            return each(btf_var_secinfos(&type),
                        [](const btf_var_secinfo& m) { return Pair{0, m.type}; });
        case BTF_KIND_INT:
        case BTF_KIND_FLOAT:
        case BTF_KIND_FWD:
            return true;
        default:
            return function(0, type.type);
        }
    }

    bool check_references() {
        for (std::size_t id = 1; id < types_.size(); ++id) {
            const btf_type& type = *types_[id];
            if (!is_name(type.name_off)) {
                return refuse(id, "has a name outside of the section");
            }
            if (!all_references(type, [this](std::uint32_t name, std::uint32_t other) {
                    return is_name(name) && is_type(other);
                })) {
                return refuse(id, "refers to a name or type that is not there");
            }
            // What libbpf takes for granted of these two.
            if (btf_is_func(&type) && !btf_is_func_proto(types_[type.type])) {
                return refuse(id, "is a function of a type that is none of functions");
            }
            if (btf_is_datasec(&type) &&
                !all_references(type, [this](std::uint32_t, std::uint32_t other) {
                    return btf_is_var(types_[other]) || btf_is_func(types_[other]);
                })) {
                return refuse(id, "is a section of what is no variable");
            }
        }
        return true;
    }

    /// What a type is made of: pointers and functions only name others.
    [[nodiscard]] static bool contains_others(const btf_type& type) {
        return !btf_is_ptr(&type) && !btf_is_func(&type) && !btf_is_func_proto(&type) &&
               !btf_is_decl_tag(&type);
    }

    /// Types inside each other, at most, from this one on; 0: too many, or it contains itself.
    unsigned depth_from(std::uint32_t id, unsigned above) {
        if (depths_[id] == 0) {
            if (above == kDepthMax) {
                return 0;
            }
            unsigned depth = 1;
            const auto deeper = [&](std::uint32_t, std::uint32_t other) {
                const unsigned below = depth_from(other, above + 1);
                depth = std::max(depth, below + 1);
                return below != 0;
            };
            if (id != 0 && contains_others(*types_[id]) && !all_references(*types_[id], deeper)) {
                return 0;
            }
            depths_[id] = depth;
        }
        return above + depths_[id] <= kDepthMax + 1 ? depths_[id] : 0;
    }

    bool check_depths() {
        depths_.resize(types_.size());
        for (std::uint32_t id = 1; id < types_.size(); ++id) {
            if (depth_from(id, 0) == 0) {
                return refuse(id, "contains itself, or too many inside each other");
            }
        }
        return true;
    }

    std::span<const std::byte> raw_;
    std::span<const std::byte> strings_;
    std::vector<std::uint32_t> words_;
    std::vector<const btf_type*> types_;
    std::vector<unsigned> depths_;
    std::string fault_;
};

}  // namespace

ObjectTypes check_object_types(std::span<const std::byte> raw) { return Types(raw).check(); }

}  // namespace taskwork::uapi
