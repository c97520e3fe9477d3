// SPDX-License-Identifier: Apache-2.0
//
// A map with one element of every kind of type that BTF tells apart, for those who print maps.
// Filled once by the first event (or by the syscall program `fill`). Its values:
//
//     key    name "first", number -7
//     value  u8 200, s8 -100, u16 60000, s16 -30000, u32 4000000000, s32 -2000000000,
//            u64 18446744073709551615, s64 -9223372036854775808, flag true, letter 'x' (120),
//            text "a \"quoted\"\tline", full "12345678" without a NUL,
//            numbers [1, -2, 3], grid [[1, 2], [3, 4]], colour GREEN (7),
//            nested (bit fields) low 5, high -3, wide 1000, anonymous 42 (in a struct without a
//            name), either bits 1065353216, signed_bits the same (a union), pointer 4096, alias 12

#include "check.bpf.h"

enum colour { RED = 3, GREEN = 7, BLUE = 9 };

typedef __u32 alias_t;
typedef alias_t alias_of_alias_t;

struct typed_key {
    char name[8];
    __s32 number;
};

struct typed_value {
    __u8 u8;
    __s8 s8;
    __u16 u16;
    __s16 s16;
    __u32 u32;
    __s32 s32;
    __u64 u64;
    __s64 s64;
    bool flag;
    char letter;
    char text[24];
    char full[8];  // without a NUL
    __s32 numbers[3];
    __u8 grid[2][2];
    enum colour colour;
    struct {
        __u32 low : 4;
        __s32 high : 4;
        __u32 wide : 24;
    } nested;
    struct {
        __u32 anonymous;
    };
    union {
        __u32 bits;
        __s32 signed_bits;
    } either;
    const void* pointer;
    const volatile alias_of_alias_t alias;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 8);
    __type(key, struct typed_key);
    __type(value, struct typed_value);
} typed SEC(".maps");

static const struct typed_value typed_value = {
    .u8 = 200,
    .s8 = -100,
    .u16 = 60000,
    .s16 = -30000,
    .u32 = 4000000000u,
    .s32 = -2000000000,
    .u64 = ~0ull,
    .s64 = -0x7fffffffffffffffll - 1,
    .flag = true,
    .letter = 'x',
    .text = "a \"quoted\"\tline",
    .full = "12345678",
    .numbers = {1, -2, 3},
    .grid = {{1, 2}, {3, 4}},
    .colour = GREEN,
    .nested = {.low = 5, .high = -3, .wide = 1000},
    .anonymous = 42,
    .either = {.bits = 0x3f800000},
    .pointer = (const void*)4096,
    .alias = 12,
};

static __always_inline void fill_map(void) {
    struct typed_key key = {.name = "first", .number = -7};
    bpf_map_update_elem(&typed, &key, &typed_value, BPF_ANY);
}

SEC("syscall")
int fill(void* arguments) {
    fill_map();
    return 0;
}

SEC("perf_event")
int in_nmi(struct bpf_perf_event_data* event) {
    if (__sync_fetch_and_add(&result.events, 1) == 0) {
        fill_map();
    }
    return 0;
}
