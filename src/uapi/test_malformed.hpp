// SPDX-License-Identifier: Apache-2.0
//
// BTF written by hand, right and wrong in each way that there is, with the errno and the words by
// which it is refused. Held against our check by btf_check_test.cpp, and against the kernel's by
// tests/fuzz/loading/kernel_test.cpp.
#pragma once

#include <linux/btf.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace taskwork::uapi {

/// A writer that checks nothing.
class RawBtf {
public:
    static constexpr std::uint32_t kKindFlag = 1U << 31;

    RawBtf() {
        header.magic = BTF_MAGIC;
        header.version = BTF_VERSION;
        header.hdr_len = sizeof header;
    }

    /// Offset of a name, which is added.
    std::uint32_t name(const std::string& text) {
        if (text.empty()) {
            return 0;
        }
        const auto offset = static_cast<std::uint32_t>(strings.size());
        strings.append(text.c_str(), text.size() + 1);
        return offset;
    }
    /// Adds a type; its id. `more` are the words behind its btf_type; `flags` are or'ed to info.
    std::uint32_t type(const std::string& name_of, std::uint32_t kind, std::uint32_t vlen,
                       std::uint32_t size_or_type, std::initializer_list<std::uint32_t> more = {},
                       std::uint32_t flags = 0) {
        return type_named(name(name_of), kind, vlen, size_or_type, more, flags);
    }
    std::uint32_t type_named(std::uint32_t name_off, std::uint32_t kind, std::uint32_t vlen,
                             std::uint32_t size_or_type,
                             std::initializer_list<std::uint32_t> more = {},
                             std::uint32_t flags = 0) {
        types.insert(types.end(), {name_off, kind << 24 | vlen | flags, size_or_type});
        types.insert(types.end(), more);
        return ++last_id;
    }
    std::uint32_t integer() { return type("int", BTF_KIND_INT, 0, 4, {kInt}); }
    /// `int name(void)`: the id of the function; its prototype's is one less.
    std::uint32_t function(const std::string& name_of, std::uint32_t linkage = BTF_FUNC_STATIC) {
        const std::uint32_t prototype = type("", BTF_KIND_FUNC_PROTO, 0, 1);
        return type(name_of, BTF_KIND_FUNC, linkage, prototype);
    }

    /// The blob; lengths and offsets are as they should be unless `change` says otherwise.
    [[nodiscard]] std::vector<std::byte>
    bytes(const std::function<void(btf_header&)>& change = {}) const {
        btf_header written = header;
        written.type_len = static_cast<std::uint32_t>(types.size() * 4);
        written.str_off = written.type_len;
        written.str_len = static_cast<std::uint32_t>(strings.size());
        if (change) {
            change(written);
        }
        std::vector<std::byte> all;
        const auto add = [&all](const void* data, std::size_t size) {
            const auto* begin = static_cast<const std::byte*>(data);
            all.insert(all.end(), begin, begin + size);
        };
        add(&written, sizeof written);
        add(header_tail.data(), header_tail.size());
        add(types.data(), types.size() * 4);
        add(strings.data(), strings.size());
        return all;
    }

    /// int, 32 bits, signed.
    static constexpr std::uint32_t kInt = BTF_INT_SIGNED << 24 | 32;

    btf_header header{};
    std::string header_tail;
    std::vector<std::uint32_t> types;
    std::string strings = std::string(1, '\0');
    std::uint32_t last_id = 0;
};

struct MalformedBtf {
    std::string name;
    int error;            ///< Positive; 0: it is right.
    std::string message;  ///< The end of the log, without a newline.
    std::vector<std::byte> bytes;
    std::string difference{};  ///< Why Linux 6.18 says something else.
};

/// Each is right but for one thing, which is the first that is found.
inline std::vector<MalformedBtf> malformed_btf() {
    constexpr int kernel_notsupp = 524;
    std::vector<MalformedBtf> all;
    const auto add = [&all](std::string name, int error, std::string message,
                            std::vector<std::byte> bytes) {
        all.push_back({std::move(name), error, std::move(message), std::move(bytes), {}});
    };
    const auto header = [&add](std::string name, int error, std::string message,
                               const std::function<void(btf_header&)>& change) {
        RawBtf btf;
        btf.integer();
        add(std::move(name), error, std::move(message), btf.bytes(change));
    };
    /// Type 1 is an int.
    const auto types = [&add](std::string name, int error, std::string message,
                              const std::function<void(RawBtf&)>& fill) {
        RawBtf btf;
        btf.integer();
        fill(btf);
        add(std::move(name), error, std::move(message), btf.bytes());
    };
    const auto cut = [](std::size_t size) {
        RawBtf btf;
        btf.integer();
        std::vector<std::byte> bytes = btf.bytes();
        bytes.resize(size);
        return bytes;
    };

    // Header and sections.
    add("nothing_at_all", EINVAL, "hdr_len not found", {});
    add("cut_before_the_length_of_its_header", EINVAL, "hdr_len not found", cut(7));
    add("cut_inside_its_header", EINVAL, "btf_header not found", cut(20));
    add("cut_behind_its_header", EINVAL, "No data", cut(sizeof(btf_header)));
    add("cut_inside_its_types", EINVAL, "Total section length too long", cut(32));
    header("bad_magic", EINVAL, "Invalid magic", [](btf_header& h) { h.magic = 0x9feb; });
    header("version_2", kernel_notsupp, "Unsupported version",
           [](btf_header& h) { h.version = 2; });
    header("flags", kernel_notsupp, "Unsupported flags", [](btf_header& h) { h.flags = 1; });
    header("header_longer_than_all", EINVAL, "btf_header not found",
           [](btf_header& h) { h.hdr_len = 4096; });
    header("header_of_no_length", EINVAL, "Invalid magic", [](btf_header& h) { h.hdr_len = 0; });
    header("header_longer_by_what_is_not_zero", E2BIG, "Unsupported btf_header",
           [](btf_header& h) { h.hdr_len += 8; });
    header("gap_before_the_types", EINVAL, "Unsupported section found",
           [](btf_header& h) { h.type_off = 4; });
    header("types_behind_the_end", EINVAL, "Invalid section offset",
           [](btf_header& h) { h.type_off = 0xfffffff0; });
    header("types_longer_than_all", EINVAL, "Total section length too long",
           [](btf_header& h) { h.type_len = 0xffffffff; });
    header("sections_overlap", EINVAL, "Section overlap found",
           [](btf_header& h) { h.str_off -= 4; });
    header("sections_apart", EINVAL, "Unsupported section found",
           [](btf_header& h) { h.type_len -= 4; });
    header("strings_shorter_than_the_rest", EINVAL, "Unsupported section found",
           [](btf_header& h) { h.str_len -= 1; });
    header("strings_first", EINVAL, "String section is not at the end", [](btf_header& h) {
        h.str_off = 0;
        h.str_len = 5;
        h.type_off = 5;
    });
    add("no_types", EINVAL, "No type found", RawBtf().bytes());
    {
        RawBtf btf;
        btf.header.hdr_len += 4;
        btf.header_tail.assign(4, '\0');
        btf.integer();
        add("header_longer_by_zeros", 0, "", btf.bytes());
        btf.header.hdr_len -= 1;
        btf.header_tail.assign(3, '\0');
        add("types_that_are_not_aligned_in_the_whole", 0, "", btf.bytes());
    }
    {
        RawBtf btf;
        btf.integer();
        btf.strings.back() = 'x';
        add("strings_without_an_end", EINVAL, "Invalid string section", btf.bytes());
        btf.strings.back() = '\0';
        btf.strings.front() = 'x';
        add("strings_whose_first_is_not_empty", EINVAL, "Invalid string section", btf.bytes());
        btf.strings.clear();
        add("no_strings", EINVAL, "Invalid string section", btf.bytes());
    }

    // Types by themselves.
    types("type_cut_off", EINVAL, "[2] meta_left:8 meta_needed:12",
          [](RawBtf& btf) { btf.types.insert(btf.types.end(), {0, BTF_KIND_PTR << 24}); });
    types("reserved_bits", EINVAL, "[2] Invalid btf_info:2010000",
          [](RawBtf& btf) { btf.type("", BTF_KIND_PTR, 0, 1, {}, 1U << 16); });
    types("kind_0", EINVAL, "[2] Invalid kind:0", [](RawBtf& btf) { btf.type("", 0, 0, 0); });
    types("kind_20", EINVAL, "[2] Invalid kind:20", [](RawBtf& btf) { btf.type("", 20, 0, 0); });
    types("name_offset_out_of_range", EINVAL, "[2] Invalid name_offset:4096",
          [](RawBtf& btf) { btf.type_named(4096, BTF_KIND_TYPEDEF, 0, 1); });
    types("int_cut_off", EINVAL, "[2] INT x meta_left:0 meta_needed:4",
          [](RawBtf& btf) { btf.type("x", BTF_KIND_INT, 0, 4); });
    types("int_with_members", EINVAL,
          "[2] INT x size=4 bits_offset=0 nr_bits=32 encoding=SIGNED vlen != 0",
          [](RawBtf& btf) { btf.type("x", BTF_KIND_INT, 1, 4, {RawBtf::kInt}); });
    types(
        "int_with_flag", EINVAL,
        "[2] INT x size=4 bits_offset=0 nr_bits=32 encoding=SIGNED Invalid btf_info kind_flag",
        [](RawBtf& btf) { btf.type("x", BTF_KIND_INT, 0, 4, {RawBtf::kInt}, RawBtf::kKindFlag); });
    types("int_with_reserved_bits", EINVAL, "[2] INT x Invalid int_data:11000020",
          [](RawBtf& btf) { btf.type("x", BTF_KIND_INT, 0, 4, {RawBtf::kInt | 1U << 28}); });
    types("int_larger_than_128_bits", EINVAL,
          "[2] INT x size=32 bits_offset=0 nr_bits=129 encoding=(none) nr_bits exceeds 128",
          [](RawBtf& btf) { btf.type("x", BTF_KIND_INT, 0, 32, {129}); });
    types("int_larger_than_its_size", EINVAL,
          "[2] INT x size=3 bits_offset=0 nr_bits=32 encoding=SIGNED nr_bits exceeds type_size",
          [](RawBtf& btf) { btf.type("x", BTF_KIND_INT, 0, 3, {RawBtf::kInt}); });
    types("int_of_two_encodings", kernel_notsupp,
          "[2] INT x size=4 bits_offset=0 nr_bits=32 encoding=UNKN Unsupported encoding",
          [](RawBtf& btf) { btf.type("x", BTF_KIND_INT, 0, 4, {3U << 24 | 32}); });
    types("pointer_with_members", EINVAL, "[2] PTR (anon) type_id=1 vlen != 0",
          [](RawBtf& btf) { btf.type("", BTF_KIND_PTR, 1, 1); });
    types("pointer_with_flag", EINVAL, "[2] PTR (anon) type_id=1 Invalid btf_info kind_flag",
          [](RawBtf& btf) { btf.type("", BTF_KIND_PTR, 0, 1, {}, RawBtf::kKindFlag); });
    types("pointer_with_a_name", EINVAL, "[2] PTR p type_id=1 Invalid name",
          [](RawBtf& btf) { btf.type("p", BTF_KIND_PTR, 0, 1); });
    types("type_id_larger_than_any", EINVAL, "[2] PTR (anon) type_id=1048576 Invalid type_id",
          [](RawBtf& btf) { btf.type("", BTF_KIND_PTR, 0, 0x100000); });
    types("typedef_without_a_name", EINVAL, "[2] TYPEDEF (anon) type_id=1 Invalid name",
          [](RawBtf& btf) { btf.type("", BTF_KIND_TYPEDEF, 0, 1); });
    types("typedef_of_a_strange_name", EINVAL, "[2] TYPEDEF a-b type_id=1 Invalid name",
          [](RawBtf& btf) { btf.type("a-b", BTF_KIND_TYPEDEF, 0, 1); });
    types("typedef_that_begins_with_a_digit", EINVAL, "[2] TYPEDEF 1a type_id=1 Invalid name",
          [](RawBtf& btf) { btf.type("1a", BTF_KIND_TYPEDEF, 0, 1); });
    types("name_of_512_bytes", 0, "",
          [](RawBtf& btf) { btf.type(std::string(512, 'a'), BTF_KIND_TYPEDEF, 0, 1); });
    types("name_of_513_bytes", EINVAL,
          "[2] TYPEDEF " + std::string(513, 'a') + " type_id=1 Invalid name",
          [](RawBtf& btf) { btf.type(std::string(513, 'a'), BTF_KIND_TYPEDEF, 0, 1); });
    types("type_tag_without_a_value", EINVAL, "[2] TYPE_TAG (anon) type_id=1 Invalid name",
          [](RawBtf& btf) { btf.type("", BTF_KIND_TYPE_TAG, 0, 1); });
    types("forward_with_members", EINVAL, "[2] FWD f struct vlen != 0",
          [](RawBtf& btf) { btf.type("f", BTF_KIND_FWD, 1, 0); });
    types("forward_with_a_type", EINVAL, "[2] FWD f struct type != 0",
          [](RawBtf& btf) { btf.type("f", BTF_KIND_FWD, 0, 1); });
    types("forward_without_a_name", EINVAL, "[2] FWD (anon) struct Invalid name",
          [](RawBtf& btf) { btf.type("", BTF_KIND_FWD, 0, 0); });
    types("array_cut_off", EINVAL, "[2] ARRAY (anon) meta_left:8 meta_needed:12",
          [](RawBtf& btf) { btf.type("", BTF_KIND_ARRAY, 0, 0, {1, 1}); });
    types("array_with_a_name", EINVAL,
          "[2] ARRAY a type_id=1 index_type_id=1 nr_elems=2 Invalid name",
          [](RawBtf& btf) { btf.type("a", BTF_KIND_ARRAY, 0, 0, {1, 1, 2}); });
    types("array_with_members", EINVAL,
          "[2] ARRAY (anon) type_id=1 index_type_id=1 nr_elems=2 vlen != 0",
          [](RawBtf& btf) { btf.type("", BTF_KIND_ARRAY, 1, 0, {1, 1, 2}); });
    types("array_with_a_size", EINVAL,
          "[2] ARRAY (anon) type_id=1 index_type_id=1 nr_elems=2 size != 0",
          [](RawBtf& btf) { btf.type("", BTF_KIND_ARRAY, 0, 4, {1, 1, 2}); });
    types("array_of_void", EINVAL,
          "[2] ARRAY (anon) type_id=0 index_type_id=1 nr_elems=2 Invalid elem",
          [](RawBtf& btf) { btf.type("", BTF_KIND_ARRAY, 0, 0, {0, 1, 2}); });
    types("array_by_void", EINVAL,
          "[2] ARRAY (anon) type_id=1 index_type_id=0 nr_elems=2 Invalid index",
          [](RawBtf& btf) { btf.type("", BTF_KIND_ARRAY, 0, 0, {1, 0, 2}); });
    types("struct_cut_off", EINVAL, "[2] STRUCT s meta_left:12 meta_needed:24",
          [](RawBtf& btf) { btf.type("s", BTF_KIND_STRUCT, 2, 8, {0, 1, 0}); });
    types("struct_of_a_strange_name", EINVAL, "[2] STRUCT s s size=4 vlen=0 Invalid name",
          [](RawBtf& btf) { btf.type("s s", BTF_KIND_STRUCT, 0, 4); });
    types("member_whose_name_is_out_of_range", EINVAL,
          "\t(invalid-name-offset) type_id=1 bits_offset=0 Invalid member name_offset:9999",
          [](RawBtf& btf) { btf.type("s", BTF_KIND_STRUCT, 1, 4, {9999, 1, 0}); });
    types("member_of_void", EINVAL, "\t(anon) type_id=0 bits_offset=0 Invalid type_id",
          [](RawBtf& btf) { btf.type("s", BTF_KIND_STRUCT, 1, 4, {0, 0, 0}); });
    types("members_not_in_order", EINVAL,
          "\t(anon) type_id=1 bits_offset=0 Invalid member bits_offset",
          [](RawBtf& btf) { btf.type("s", BTF_KIND_STRUCT, 2, 8, {0, 1, 32, 0, 1, 0}); });
    types("union_member_behind_the_begin", EINVAL,
          "\t(anon) type_id=1 bits_offset=32 Invalid member bits_offset",
          [](RawBtf& btf) { btf.type("u", BTF_KIND_UNION, 1, 8, {0, 1, 32}); });
    types("member_behind_its_struct", EINVAL,
          "\t(anon) type_id=1 bits_offset=40 Member bits_offset exceeds its struct size",
          [](RawBtf& btf) { btf.type("s", BTF_KIND_STRUCT, 1, 4, {0, 1, 40}); });
    types("enum_of_3_bytes", EINVAL, "[2] ENUM e size=3 vlen=0 Unexpected size",
          [](RawBtf& btf) { btf.type("e", BTF_KIND_ENUM, 0, 3); });
    types("enum_of_0_bytes", EINVAL, "[2] ENUM e size=0 vlen=0 Unexpected size",
          [](RawBtf& btf) { btf.type("e", BTF_KIND_ENUM, 0, 0); });
    types("enum_value_without_a_name", EINVAL, "[2] ENUM e size=4 vlen=1 Invalid name",
          [](RawBtf& btf) { btf.type("e", BTF_KIND_ENUM, 1, 4, {0, 1}); });
    types("enum_value_whose_name_is_out_of_range", EINVAL, "\tInvalid name_offset:9999",
          [](RawBtf& btf) { btf.type("e", BTF_KIND_ENUM, 1, 4, {9999, 1}); });
    types("enum64_cut_off", EINVAL, "[2] ENUM64 e meta_left:8 meta_needed:12",
          [](RawBtf& btf) { btf.type("e", BTF_KIND_ENUM64, 1, 8, {1, 1}); });
    types("prototype_cut_off", EINVAL, "[2] FUNC_PROTO (anon) meta_left:0 meta_needed:8",
          [](RawBtf& btf) { btf.type("", BTF_KIND_FUNC_PROTO, 1, 1); });
    types("prototype_with_a_name", EINVAL, "[2] FUNC_PROTO p return=1 args=(void) Invalid name",
          [](RawBtf& btf) { btf.type("p", BTF_KIND_FUNC_PROTO, 0, 1); });
    types("function_of_unknown_linkage", EINVAL, "[3] FUNC f type_id=2 Invalid func linkage",
          [](RawBtf& btf) { btf.function("f", 3); });
    types("function_without_a_name", EINVAL, "[3] FUNC (anon) type_id=2 Invalid name",
          [](RawBtf& btf) { btf.function(""); });
    types("variable_cut_off", EINVAL, "[2] VAR v meta_left:0 meta_needed:4",
          [](RawBtf& btf) { btf.type("v", BTF_KIND_VAR, 0, 1); });
    types("variable_of_void", EINVAL, "[2] VAR v type_id=0 linkage=0 Invalid type_id",
          [](RawBtf& btf) { btf.type("v", BTF_KIND_VAR, 0, 0, {0}); });
    types("variable_of_unknown_linkage", EINVAL,
          "[2] VAR v type_id=1 linkage=2 Linkage not supported",
          [](RawBtf& btf) { btf.type("v", BTF_KIND_VAR, 0, 1, {2}); });
    types("section_of_size_0", EINVAL, "[2] DATASEC .data size=0 vlen=0 size == 0",
          [](RawBtf& btf) { btf.type(".data", BTF_KIND_DATASEC, 0, 0); });
    types("section_without_a_name", EINVAL, "[2] DATASEC (anon) size=4 vlen=0 Invalid name",
          [](RawBtf& btf) { btf.type("", BTF_KIND_DATASEC, 0, 4); });
    types("section_of_a_strange_name", EINVAL, "[2] DATASEC .da\x01ta size=4 vlen=0 Invalid name",
          [](RawBtf& btf) { btf.type(".da\x01ta", BTF_KIND_DATASEC, 0, 4); });
    types("section_entry_of_void", EINVAL, "\t type_id=0 offset=0 size=4 Invalid type_id",
          [](RawBtf& btf) { btf.type(".data", BTF_KIND_DATASEC, 1, 4, {0, 0, 4}); });
    types("section_entry_behind_the_end", EINVAL, "\t type_id=1 offset=4 size=4 Invalid offset",
          [](RawBtf& btf) { btf.type(".data", BTF_KIND_DATASEC, 1, 4, {1, 4, 4}); });
    types("section_entry_of_size_0", EINVAL, "\t type_id=1 offset=0 size=0 Invalid size",
          [](RawBtf& btf) { btf.type(".data", BTF_KIND_DATASEC, 1, 4, {1, 0, 0}); });
    types("section_entry_that_ends_behind", EINVAL,
          "\t type_id=1 offset=2 size=4 Invalid offset+size",
          [](RawBtf& btf) { btf.type(".data", BTF_KIND_DATASEC, 1, 4, {1, 2, 4}); });
    types("section_entry_whose_end_wraps_around", EINVAL,
          "\t type_id=1 offset=4294967280 size=32 Invalid offset+size", [](RawBtf& btf) {
              btf.type(".data", BTF_KIND_DATASEC, 1, 0xffffffff, {1, 0xfffffff0, 32});
          });
    all.back().difference = "it adds in 32 bits";
    types("float_of_3_bytes", EINVAL, "[2] FLOAT f size=3 Invalid type_size",
          [](RawBtf& btf) { btf.type("f", BTF_KIND_FLOAT, 0, 3); });
    types("declaration_tag_without_a_value", EINVAL,
          "[2] DECL_TAG (anon) type=1 component_idx=-1 Invalid value",
          [](RawBtf& btf) { btf.type("", BTF_KIND_DECL_TAG, 0, 1, {0xffffffff}); });
    types("declaration_tag_of_component_minus_2", EINVAL,
          "[2] DECL_TAG t type=1 component_idx=-2 Invalid component_idx",
          [](RawBtf& btf) { btf.type("t", BTF_KIND_DECL_TAG, 0, 1, {0xfffffffe}); });

    // Types among each other.
    types("type_id_out_of_range", EINVAL, "[2] PTR (anon) type_id=3 Invalid type_id",
          [](RawBtf& btf) { btf.type("", BTF_KIND_PTR, 0, 3); });
    types("pointer_to_a_function", EINVAL, "[2] PTR (anon) type_id=4 Invalid type_id",
          [](RawBtf& btf) {
              btf.type("", BTF_KIND_PTR, 0, 4);
              btf.function("f");
          });
    types("pointer_to_a_variable", EINVAL, "[2] PTR (anon) type_id=3 Invalid type_id",
          [](RawBtf& btf) {
              btf.type("", BTF_KIND_PTR, 0, 3);
              btf.type("v", BTF_KIND_VAR, 0, 1, {0});
          });
    types("pointers_to_void_const_void_forward_and_prototype", 0, "", [](RawBtf& btf) {
        btf.type("", BTF_KIND_PTR, 0, 0);
        btf.type("", BTF_KIND_CONST, 0, 0);
        btf.type("", BTF_KIND_PTR, 0, 3);
        btf.type("f", BTF_KIND_FWD, 0, 0);
        btf.type("", BTF_KIND_PTR, 0, 5);
        btf.type("", BTF_KIND_FUNC_PROTO, 0, 0);
        btf.type("", BTF_KIND_PTR, 0, 7);
    });
    types("typedef_of_itself", EEXIST, "[2] TYPEDEF t type_id=2 Loop detected",
          [](RawBtf& btf) { btf.type("t", BTF_KIND_TYPEDEF, 0, 2); });
    types("modifiers_in_a_ring", EEXIST, "[2] CONST (anon) type_id=3 Loop detected",
          [](RawBtf& btf) {
              btf.type("", BTF_KIND_CONST, 0, 3);
              btf.type("", BTF_KIND_VOLATILE, 0, 4);
              btf.type("", BTF_KIND_RESTRICT, 0, 2);
          });
    types("pointers_in_a_ring", EEXIST, "[2] PTR (anon) type_id=3 Loop detected", [](RawBtf& btf) {
        btf.type("", BTF_KIND_PTR, 0, 3);
        btf.type("", BTF_KIND_CONST, 0, 2);
    });
    types("pointers_in_a_ring_that_a_struct_leads_to", EEXIST,
          "[4] PTR (anon) type_id=3 Loop detected", [](RawBtf& btf) {
              btf.type("s", BTF_KIND_STRUCT, 1, 8, {0, 3, 0});
              btf.type("", BTF_KIND_CONST, 0, 4);
              btf.type("", BTF_KIND_PTR, 0, 3);
          });
    types("struct_of_itself", EEXIST, "[2] STRUCT s size=8 vlen=1 Loop detected",
          [](RawBtf& btf) { btf.type("s", BTF_KIND_STRUCT, 1, 8, {0, 2, 0}); });
    types("struct_and_array_in_a_ring", EEXIST, "[2] STRUCT s size=8 vlen=1 Loop detected",
          [](RawBtf& btf) {
              btf.type("s", BTF_KIND_STRUCT, 1, 8, {0, 3, 0});
              btf.type("", BTF_KIND_ARRAY, 0, 0, {2, 1, 1});
          });
    types("struct_that_points_to_itself", 0, "", [](RawBtf& btf) {
        btf.type("s", BTF_KIND_STRUCT, 1, 8, {0, 3, 0});
        btf.type("", BTF_KIND_PTR, 0, 4);
        btf.type("", BTF_KIND_CONST, 0, 2);
    });
    types("chain_of_33", E2BIG, "[2] CONST (anon) type_id=3 Exceeded max resolving depth:32",
          [](RawBtf& btf) {
              for (std::uint32_t id = 2; id < 35; ++id) {
                  btf.type("", BTF_KIND_CONST, 0, id == 34 ? 1 : id + 1);
              }
          });
    types("chain_of_32", 0, "", [](RawBtf& btf) {
        for (std::uint32_t id = 2; id < 34; ++id) {
            btf.type("", BTF_KIND_CONST, 0, id == 33 ? 1 : id + 1);
        }
    });
    types("array_by_a_pointer", EINVAL,
          "[2] ARRAY (anon) type_id=1 index_type_id=3 nr_elems=2 Invalid index", [](RawBtf& btf) {
              btf.type("", BTF_KIND_ARRAY, 0, 0, {1, 3, 2});
              btf.type("", BTF_KIND_PTR, 0, 1);
          });
    types("array_of_functions", EINVAL,
          "[2] ARRAY (anon) type_id=4 index_type_id=1 nr_elems=2 Invalid elem", [](RawBtf& btf) {
              btf.type("", BTF_KIND_ARRAY, 0, 0, {4, 1, 2});
              btf.function("f");
          });
    types("array_of_7_bits", EINVAL,
          "[2] ARRAY (anon) type_id=3 index_type_id=1 nr_elems=2 Invalid array of int",
          [](RawBtf& btf) {
              btf.type("", BTF_KIND_ARRAY, 0, 0, {3, 1, 2});
              btf.type("x", BTF_KIND_INT, 0, 1, {7});
          });
    types("array_of_more_than_4_gib", EINVAL,
          "[2] ARRAY (anon) type_id=1 index_type_id=1 nr_elems=1073741824 Array size overflows "
          "U32_MAX",
          [](RawBtf& btf) { btf.type("", BTF_KIND_ARRAY, 0, 0, {1, 1, 1U << 30}); });
    types("member_that_does_not_fit", EINVAL,
          "[2] STRUCT s size=4 vlen=1\n\t(anon) type_id=1 bits_offset=8 Member exceeds struct_size",
          [](RawBtf& btf) { btf.type("s", BTF_KIND_STRUCT, 1, 4, {0, 1, 8}); });
    types("array_that_does_not_fit", EINVAL,
          "\t(anon) type_id=3 bits_offset=0 Member exceeds struct_size", [](RawBtf& btf) {
              btf.type("s", BTF_KIND_STRUCT, 1, 4, {0, 3, 0});
              btf.type("", BTF_KIND_ARRAY, 0, 0, {1, 1, 2});
          });
    types("struct_that_does_not_fit", EINVAL,
          "\t(anon) type_id=3 bits_offset=0 Member exceeds struct_size", [](RawBtf& btf) {
              btf.type("s", BTF_KIND_STRUCT, 1, 4, {0, 3, 0});
              btf.type("t", BTF_KIND_STRUCT, 0, 8);
          });
    types("pointer_between_bytes", EINVAL,
          "\t(anon) type_id=3 bits_offset=4 Member is not byte aligned", [](RawBtf& btf) {
              btf.type("s", BTF_KIND_STRUCT, 1, 16, {0, 3, 4});
              btf.type("", BTF_KIND_PTR, 0, 1);
          });
    types("float_that_is_not_aligned", EINVAL,
          "\t(anon) type_id=3 bits_offset=8 Member is not properly aligned", [](RawBtf& btf) {
              btf.type("s", BTF_KIND_STRUCT, 1, 16, {0, 3, 8});
              btf.type("f", BTF_KIND_FLOAT, 0, 4);
          });
    types("member_of_a_forward", EINVAL, "\t(anon) type_id=3 bits_offset=0 Invalid member",
          [](RawBtf& btf) {
              btf.type("s", BTF_KIND_STRUCT, 1, 8, {0, 3, 0});
              btf.type("f", BTF_KIND_FWD, 0, 0);
          });
    types("member_of_const_void", EINVAL, "\t(anon) type_id=3 bits_offset=0 Invalid member",
          [](RawBtf& btf) {
              btf.type("s", BTF_KIND_STRUCT, 1, 8, {0, 3, 0});
              btf.type("", BTF_KIND_CONST, 0, 0);
          });
    types("bit_field_larger_than_its_type", EINVAL,
          "\t(anon) type_id=1 bitfield_size=33 bits_offset=0 Invalid member bitfield_size",
          [](RawBtf& btf) {
              btf.type("s", BTF_KIND_STRUCT, 1, 8, {0, 1, 33U << 24}, RawBtf::kKindFlag);
          });
    types("bit_field_of_a_pointer", EINVAL,
          "\t(anon) type_id=3 bitfield_size=4 bits_offset=0 Invalid member bitfield_size",
          [](RawBtf& btf) {
              btf.type("s", BTF_KIND_STRUCT, 1, 8, {0, 3, 4U << 24}, RawBtf::kKindFlag);
              btf.type("", BTF_KIND_PTR, 0, 1);
          });
    types("bit_field_of_an_enum_larger_than_int", EINVAL,
          "\t(anon) type_id=3 bitfield_size=33 bits_offset=0 Invalid member bitfield_size",
          [](RawBtf& btf) {
              btf.type("s", BTF_KIND_STRUCT, 1, 8, {0, 3, 33U << 24}, RawBtf::kKindFlag);
              btf.type("e", BTF_KIND_ENUM, 0, 8);
          });
    types("int_between_bytes_beside_bit_fields", EINVAL,
          "\t(anon) type_id=1 bitfield_size=0 bits_offset=4 Invalid member offset",
          [](RawBtf& btf) { btf.type("s", BTF_KIND_STRUCT, 1, 8, {0, 1, 4}, RawBtf::kKindFlag); });
    types("member_of_7_bits_beside_bit_fields", EINVAL,
          "\t(anon) type_id=3 bitfield_size=0 bits_offset=0 Invalid member base type",
          [](RawBtf& btf) {
              btf.type("s", BTF_KIND_STRUCT, 1, 8, {0, 3, 0}, RawBtf::kKindFlag);
              btf.type("x", BTF_KIND_INT, 0, 1, {7});
          });
    types("function_of_no_prototype", EINVAL, "[2] FUNC f type_id=1 Invalid type_id",
          [](RawBtf& btf) { btf.type("f", BTF_KIND_FUNC, 0, 1); });
    types("function_whose_argument_has_no_name", EINVAL, "[3] FUNC f type_id=2 Invalid arg#1",
          [](RawBtf& btf) {
              btf.type("", BTF_KIND_FUNC_PROTO, 1, 1, {0, 1});
              btf.type("f", BTF_KIND_FUNC, 0, 2);
          });
    types("prototype_that_returns_a_forward", EINVAL,
          "[2] FUNC_PROTO (anon) return=3 args=(void) Invalid return type", [](RawBtf& btf) {
              btf.type("", BTF_KIND_FUNC_PROTO, 0, 3);
              btf.type("f", BTF_KIND_FWD, 0, 0);
          });
    types("prototype_whose_argument_is_out_of_range", EINVAL,
          "[2] FUNC_PROTO (anon) return=1 args=(1 (anon), 99 (anon)) Invalid arg#2",
          [](RawBtf& btf) { btf.type("", BTF_KIND_FUNC_PROTO, 2, 1, {0, 1, 0, 99}); });
    types("prototype_whose_variable_arguments_have_a_name", EINVAL,
          "[2] FUNC_PROTO (anon) return=1 args=(1 (anon), vararg) Invalid arg#2",
          [](RawBtf& btf) { btf.type("", BTF_KIND_FUNC_PROTO, 2, 1, {0, 1, 1, 0}); });
    types("prototype_whose_first_argument_is_void", EINVAL,
          "[2] FUNC_PROTO (anon) return=1 args=(0 (anon), 1 (anon)) Invalid arg#1",
          [](RawBtf& btf) { btf.type("", BTF_KIND_FUNC_PROTO, 2, 1, {0, 0, 0, 1}); });
    types("variable_of_a_prototype", EINVAL, "[2] VAR v type_id=3 linkage=0 Invalid type_id",
          [](RawBtf& btf) {
              btf.type("v", BTF_KIND_VAR, 0, 3, {0});
              btf.type("", BTF_KIND_FUNC_PROTO, 0, 1);
          });
    types("section_of_no_variable", EINVAL,
          "[2] DATASEC .data size=4 vlen=1\n\t type_id=1 offset=0 size=4 Not a VAR kind member",
          [](RawBtf& btf) { btf.type(".data", BTF_KIND_DATASEC, 1, 4, {1, 0, 4}); });
    types("section_entry_smaller_than_its_variable", EINVAL,
          "\t type_id=3 offset=0 size=2 Invalid size", [](RawBtf& btf) {
              btf.type(".data", BTF_KIND_DATASEC, 1, 4, {3, 0, 2});
              btf.type("v", BTF_KIND_VAR, 0, 1, {0});
          });
    all.back().difference =
        "it does not come back to an entry whose variable is behind the section";
    types("section_entry_smaller_than_the_variable_before_it", EINVAL,
          "\t type_id=2 offset=0 size=2 Invalid size", [](RawBtf& btf) {
              btf.type("v", BTF_KIND_VAR, 0, 1, {0});
              btf.type(".data", BTF_KIND_DATASEC, 1, 4, {2, 0, 2});
          });
    types("declaration_tag_of_an_int", EINVAL,
          "[2] DECL_TAG t type=1 component_idx=-1 Invalid type_id",
          [](RawBtf& btf) { btf.type("t", BTF_KIND_DECL_TAG, 0, 1, {0xffffffff}); });
    types("declaration_tag_of_a_member_that_there_is_not", EINVAL,
          "[2] DECL_TAG t type=3 component_idx=1 Invalid component_idx", [](RawBtf& btf) {
              btf.type("t", BTF_KIND_DECL_TAG, 0, 3, {1});
              btf.type("s", BTF_KIND_STRUCT, 1, 4, {0, 1, 0});
          });
    types("declaration_tag_of_an_argument_that_there_is_not", EINVAL,
          "[4] DECL_TAG t type=3 component_idx=0 Invalid component_idx", [](RawBtf& btf) {
              btf.function("f");
              btf.type("t", BTF_KIND_DECL_TAG, 0, 3, {0});
          });
    types("type_tag_behind_a_modifier", EINVAL, "Type tags don't precede modifiers",
          [](RawBtf& btf) {
              btf.type("", BTF_KIND_CONST, 0, 3);
              btf.type("t", BTF_KIND_TYPE_TAG, 0, 1);
          });
    return all;
}

}  // namespace taskwork::uapi
