// SPDX-License-Identifier: Apache-2.0
#include "cli/btf_value.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>

namespace taskwork::cli {
namespace {

/// Builds types by hand and reads values of them.
class BtfValue : public ::testing::Test {
protected:
    struct Free {
        void operator()(btf* owned_types) const { btf__free(owned_types); }
    };
    std::unique_ptr<btf, Free> owned{btf__new_empty()};
    btf* types = owned.get();
    int int32 = btf__add_int(types, "int", 4, BTF_INT_SIGNED);
    int uint32 = btf__add_int(types, "unsigned int", 4, 0);
    int uint64 = btf__add_int(types, "unsigned long long", 8, 0);
    int character = btf__add_int(types, "char", 1, BTF_INT_SIGNED);
    int byte = btf__add_int(types, "unsigned char", 1, 0);
    int boolean = btf__add_int(types, "_Bool", 1, BTF_INT_BOOL);

    /// The bytes of an object of the test, read as `type_id`, as JSON text.
    template <class T>
    std::string read(int type_id, const T& object) {
        return to_json_text(
            btf_value(types, static_cast<std::uint32_t>(type_id), &object, sizeof object));
    }
};

TEST_F(BtfValue, ints_keep_sign_and_width) {
    EXPECT_EQ(read(int32, std::int32_t{-7}), "-7");
    EXPECT_EQ(read(uint32, std::int32_t{-1}), "4294967295");
    EXPECT_EQ(read(uint64, std::uint64_t{UINT64_MAX}), "18446744073709551615");
    EXPECT_EQ(read(boolean, true), "true");
    EXPECT_EQ(read(boolean, false), "false");
    int wide = btf__add_int(types, "__int128", 16, BTF_INT_SIGNED);
    std::uint64_t halves[2] = {5, 1};
    EXPECT_EQ(read(wide, halves), "\"0x10000000000000005\"");
}

TEST_F(BtfValue, names_and_qualifiers_are_looked_through) {
    int constant = btf__add_const(types, btf__add_typedef(types, "__s32", int32));
    int twice = btf__add_typedef(types, "my_int", btf__add_volatile(types, constant));
    EXPECT_EQ(read(twice, std::int32_t{-3}), "-3");
}

TEST_F(BtfValue, enums_are_names_and_numbers_where_there_is_none) {
    int color = btf__add_enum(types, "color", 4);
    btf__add_enum_value(types, "RED", 0);
    btf__add_enum_value(types, "GREEN", 5);
    EXPECT_EQ(read(color, std::uint32_t{5}), "\"GREEN\"");
    EXPECT_EQ(read(color, std::uint32_t{6}), "6");

    int error = btf__add_enum(types, "error", 4);
    btf__add_enum_value(types, "BUSY", -16);
    EXPECT_EQ(read(error, std::int32_t{-16}), "\"BUSY\"");
    EXPECT_EQ(read(error, std::int32_t{-15}), "-15");

    int wide = btf__add_enum64(types, "wide", 8, false);
    btf__add_enum64_value(types, "TOP", UINT64_MAX);
    EXPECT_EQ(read(wide, std::uint64_t{UINT64_MAX}), "\"TOP\"");
    EXPECT_EQ(read(wide, std::uint64_t{UINT64_MAX - 1}), "18446744073709551614");
}

TEST_F(BtfValue, floats_and_pointers_are_printed) {
    EXPECT_EQ(read(btf__add_float(types, "float", 4), 1.5F), "1.5");
    EXPECT_EQ(read(btf__add_float(types, "double", 8), -0.25), "-0.25");
    EXPECT_EQ(read(btf__add_ptr(types, int32), std::uint64_t{0xffff1234}), "\"0xffff1234\"");
}

TEST_F(BtfValue, char_arrays_are_strings_up_to_the_first_nul) {
    int text = btf__add_array(types, int32, character, 8);
    EXPECT_EQ(read(text, "PATH\0xy"), "\"PATH\"");
    char full[8] = {'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'};
    EXPECT_EQ(read(text, full), "\"abcdefgh\"");
    char empty[8] = {};
    EXPECT_EQ(read(text, empty), "\"\"");
    char foreign[8] = "a\xff\"\n";
    EXPECT_EQ(read(text, foreign), "\"a\xef\xbf\xbd\\\"\\n\"");

    int bytes = btf__add_array(types, int32, byte, 3);
    unsigned char numbers[3] = {1, 2, 255};
    EXPECT_EQ(read(bytes, numbers), "[1,2,255]");
}

TEST_F(BtfValue, arrays_nest) {
    int row = btf__add_array(types, int32, int32, 2);
    int table = btf__add_array(types, int32, row, 2);
    std::int32_t numbers[2][2] = {{1, -2}, {3, 4}};
    EXPECT_EQ(read(table, numbers), "[[1,-2],[3,4]]");
    EXPECT_EQ(read(btf__add_array(types, int32, int32, 0), 'x'), "[]");
}

TEST_F(BtfValue, structs_keep_the_order_of_members_and_lift_anonymous_ones) {
    struct Object {
        std::int32_t zebra;
        union {
            std::uint32_t word;
            std::uint8_t low;
        };
        struct {
            std::uint64_t first;
        } apple;
    } object{-1, {0x102}, {9}};
    int anonymous = btf__add_union(types, nullptr, 4);
    btf__add_field(types, "word", uint32, 0, 0);
    btf__add_field(types, "low", byte, 0, 0);
    int inner = btf__add_struct(types, "inner", 8);
    btf__add_field(types, "first", uint64, 0, 0);
    int outer = btf__add_struct(types, "outer", sizeof object);
    btf__add_field(types, "zebra", int32, 0, 0);
    btf__add_field(types, nullptr, anonymous, 32, 0);
    btf__add_field(types, "apple", inner, 64, 0);
    EXPECT_EQ(read(outer, object), R"({"zebra":-1,"word":258,"low":2,"apple":{"first":9}})");
}

TEST_F(BtfValue, bitfields_are_cut_out_and_sign_extended) {
    struct {
        std::int32_t a : 3;
        std::uint32_t b : 7;
        std::uint32_t c : 22;
        std::uint64_t d : 1;
        std::uint64_t e : 60;
    } object{-2, 100, 0x3fffff, 1, 0xfedcba987654321};
    int type = btf__add_struct(types, "flags", sizeof object);
    btf__add_field(types, "a", int32, 0, 3);
    btf__add_field(types, "b", uint32, 3, 7);
    btf__add_field(types, "c", uint32, 10, 22);
    btf__add_field(types, "d", uint64, 32, 1);
    btf__add_field(types, "e", uint64, 64, 60);
    EXPECT_EQ(read(type, object), R"({"a":-2,"b":100,"c":4194303,"d":1,"e":1147797409030816545})");
}

TEST_F(BtfValue, a_bitfield_may_reach_into_a_ninth_byte) {
    unsigned char bytes[9] = {0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01};
    int type = btf__add_struct(types, "packed", sizeof bytes);
    btf__add_field(types, "wide", uint64, 3, 62);
    EXPECT_EQ(read(type, bytes), R"({"wide":4611686018427387903})");
}

TEST_F(BtfValue, fields_that_the_runtime_owns_are_empty) {
    int work = btf__add_struct(types, "bpf_task_work", 8);
    btf__add_field(types, "__opaque", uint64, 0, 0);
    int value = btf__add_struct(types, "value", 16);
    btf__add_field(types, "work", work, 0, 0);
    btf__add_field(types, "runs", uint64, 64, 0);
    std::uint64_t words[2] = {0x200000001240, 3};
    EXPECT_EQ(read(value, words), R"({"work":{},"runs":3})");
}

TEST_F(BtfValue, data_sections_are_objects_of_their_variables) {
    int events = btf__add_var(types, "events", BTF_VAR_GLOBAL_ALLOCATED, uint64);
    int name =
        btf__add_var(types, "name", BTF_VAR_STATIC, btf__add_array(types, int32, character, 8));
    int section = btf__add_datasec(types, ".bss", 16);
    btf__add_datasec_var_info(types, events, 0, 8);
    btf__add_datasec_var_info(types, name, 8, 8);
    struct {
        std::uint64_t events = 12;
        char name[8] = "abc";
    } bytes;
    EXPECT_EQ(read(section, bytes), R"({"events":12,"name":"abc"})");
}

TEST_F(BtfValue, a_type_that_reaches_beyond_the_bytes_reads_as_null) {
    EXPECT_EQ(read(uint64, std::uint32_t{1}), "null");
    int pair = btf__add_struct(types, "pair", 8);
    btf__add_field(types, "first", uint32, 0, 0);
    btf__add_field(types, "second", uint32, 32, 0);
    EXPECT_EQ(read(pair, std::uint32_t{1}), R"({"first":1,"second":null})");
    EXPECT_EQ(read(12345, std::uint32_t{1}), "null");
}

TEST_F(BtfValue, a_type_that_contains_itself_ends) {
    int loop = btf__add_typedef(types, "loop", btf__type_cnt(types));
    EXPECT_EQ(read(loop, std::uint32_t{1}), "null");
}

TEST_F(BtfValue, bytes_without_a_type_are_hex) {
    EXPECT_EQ(read(0, std::uint16_t{0x1ff}), R"(["0xff","0x01"])");
}

TEST(BpftoolText, has_the_layout_of_bpftool_map_dump) {
    Json elements = Json::parse(
        R"([{"key":0,"value":{"n":1,"in":[{"a":[0,1]},{"a":[2,3]}]}},{"key":1,"value":{}}])");
    EXPECT_EQ(to_bpftool_text(elements), R"([{
        "key": 0,
        "value": {
            "n": 1,
            "in": [{
                    "a": [0,1
                    ]
                },{
                    "a": [2,3
                    ]
                }
            ]
        }
    },{
        "key": 1,
        "value": {}
    }
])");
}

}  // namespace
}  // namespace taskwork::cli
