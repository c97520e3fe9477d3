// SPDX-License-Identifier: Apache-2.0
//
// For the programs of this folder: what the verifier is expected to say of each, as declaration
// tags that `taskwork verify --expect` reads (src/cli/verify_tags.hpp), and short forms of what
// they have in common.
//
//     REJECTED("R0 !read_ok")
//     PROGRAM(no_result, "perf_event", "exit;")
//
// The kernel is asked, too (kernel_test.cpp). Where it is known to say something else, the program
// says so, and why:
//
//     KERNEL_ACCEPTS(because)           the kernel accepts what we reject
//     KERNEL_REJECTS(phrase, because)   the kernel rejects what we accept
//     KERNEL_SAYS(phrase, because)      both reject, in other words
//     KERNEL_NOT_ASKED(because)         it would come to harm
#ifndef TASKWORK_TESTS_VERIFIER_BPF_H
#define TASKWORK_TESTS_VERIFIER_BPF_H

#include <taskwork/bpf/task_work.bpf.h>

#define TW_STRING_OF(text) #text
#define TW_STRING(text) TW_STRING_OF(text)
#define TW_TAG(text) __attribute__((btf_decl_tag("comment:" TW_STRING(__COUNTER__) ":test_" text)))
#define TW_OUR_TAG(text) __attribute__((btf_decl_tag("taskwork:" text)))

#define ACCEPTED TW_TAG("expect_success")
#define REJECTED(phrase) TW_TAG("expect_failure") TW_TAG("expect_msg=" phrase)

#define KERNEL_ACCEPTS(because) TW_OUR_TAG("kernel accepts, because " because)
#define KERNEL_REJECTS(phrase, because)                                                            \
    TW_OUR_TAG("kernel says " phrase) TW_OUR_TAG("kernel rejects, because " because)
#define KERNEL_SAYS(phrase, because)                                                               \
    TW_OUR_TAG("kernel says " phrase) TW_OUR_TAG("kernel words, because " because)
#define KERNEL_NOT_ASKED(because) TW_OUR_TAG("kernel not asked, because " because)
/// Linux 7.x counts registers where 6.18 counts arguments; ours is 7.x's wording.
#define KERNEL_COUNTS_ARGUMENTS(phrase) KERNEL_SAYS(phrase, "7.x counts registers, 6.18 arguments")

/// A program in assembler. `%=` makes labels unique; operands: HELPER(name), MAP(name), VALUE(...).
/// (No argument: clang gives it no name, and then the kernel refuses the types of the whole
/// object.)
#define PROGRAM(name, section, code, ...)                                                          \
    SEC("?" section) __attribute__((naked)) int name(void) { asm volatile(code : : __VA_ARGS__ :); }
/// A function of it, static or global.
#define FUNCTION(linkage, name, code, ...)                                                         \
    linkage __attribute__((naked, noinline, used)) int name(void) {                                \
        asm volatile(code : : __VA_ARGS__ :);                                                      \
    }
#define HELPER(name) [name] "i"(BPF_FUNC_##name)
#define MAP(name) [name] "i"(&name)
#define VALUE(name, value) [name] "i"(value)
#define LOOKS_UP(map) HELPER(map_lookup_elem), MAP(map)

/// R0 is the element 0 of the map, or NULL. The key is at R10 - 4.
#define LOOKUP(map)                                                                                \
    "r1 = 0; *(u32*)(r10 - 4) = r1; r2 = r10; r2 += -4; r1 = %[" #map "] ll; "                     \
    "call %[map_lookup_elem]; "
/// The same; leaves at `out` if there is none.
#define ELEMENT(map) LOOKUP(map) "if r0 == 0 goto out_%=; "
#define OUT "out_%=: r0 = 0; exit; "

/// Keeps the compiler from knowing a value, and from leaving out what makes it.
#define UNKNOWN(variable) asm volatile("" : "+r"(variable))

#define ARRAY_OF(name, entries, value_type)                                                        \
    struct {                                                                                       \
        __uint(type, BPF_MAP_TYPE_ARRAY);                                                          \
        __uint(max_entries, entries);                                                              \
        __type(key, __u32);                                                                        \
        __type(value, value_type);                                                                 \
    } name SEC(".maps")
#define HASH_OF(name, entries, value_type)                                                         \
    struct {                                                                                       \
        __uint(type, BPF_MAP_TYPE_HASH);                                                           \
        __uint(max_entries, entries);                                                              \
        __uint(map_flags, BPF_F_NO_PREALLOC);                                                      \
        __type(key, __u32);                                                                        \
        __type(value, value_type);                                                                 \
    } name SEC(".maps")

struct words {
    __u64 word[6];
};

#ifndef TW_LICENSE
#define TW_LICENSE "GPL"
#endif
char LICENSE[] SEC("license") = TW_LICENSE;

#endif  // TASKWORK_TESTS_VERIFIER_BPF_H
